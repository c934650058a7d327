import Foundation
import KogataBundle
import KogataChat
import KogataEngine
import KogataTokenizer

#if KOGATA_ONNX
    import KogataONNX
#endif

/// The options of every command that runs a model.
let engineOptions = [
    Option("--artifact", "FORMAT", "onnx or coreml. [default: coreml where the system has Core ML]"),
    Option("--compute-units", "UNITS", "For Core ML: cpuOnly, cpuAndGPU, cpuAndNeuralEngine, all. [default: by form]"),
    Option("--onnxruntime", "FILE", "onnxruntime's library. [default: KOGATA_ONNXRUNTIME, else the system's]"),
    Option("--threads", "N", "Threads of onnxruntime. [default: one for each processor, at most 4]"),
]

/// A bundle whose files are as they were exported. There is no other way to an engine in this program.
struct OpenedBundle {
    let bundle: ModelBundle

    /// Throws `BundleError.notIntact` before anything but the manifest was read.
    init(_ arguments: Arguments) throws {
        bundle = try ModelBundle(at: try arguments.bundle())
        try bundle.verify()
    }

    func tokenizer() throws -> Tokenizer { try Tokenizer(folder: bundle.tokenizerFolder) }

    /// The engine that the options ask for. It isn't loaded yet.
    func engine(_ arguments: Arguments) throws -> any Engine {
        let format = try format(arguments)
        let source = try EngineSource(bundle: bundle, artifact: try bundle.artifact(format: format))
        switch format {
        case .coreml: return try coreML(source, try units(arguments))
        case .onnx:
            if arguments.has("--compute-units") { throw UsageError("--compute-units is for Core ML.") }
            return try onnx(source, arguments)
        }
    }

    private func format(_ arguments: Arguments) throws -> ArtifactFormat {
        if let text = arguments.text("--artifact") {
            guard let format = ArtifactFormat(rawValue: text) else {
                throw UsageError("--artifact takes onnx or coreml, not '\(text)'.")
            }
            return format
        }
        #if canImport(CoreML)
            if bundle.manifest.artifacts.contains(where: { $0.format == .coreml }) { return .coreml }
        #endif
        return .onnx
    }

    private func units(_ arguments: Arguments) throws -> ComputeUnits? {
        guard let text = arguments.text("--compute-units") else { return nil }
        guard let units = ComputeUnits(rawValue: text) else {
            let known = ComputeUnits.allCases.map(\.rawValue).joined(separator: ", ")
            throw UsageError("--compute-units takes one of \(known), not '\(text)'.")
        }
        return units
    }

    private func coreML(_ source: EngineSource, _ units: ComputeUnits?) throws -> any Engine {
        #if canImport(CoreML)
            return try CoreMLEngine(source: source, computeUnits: units)
        #else
            throw EngineError.runtimeAbsent("Core ML exists on Apple's systems only: use --artifact onnx.")
        #endif
    }

    private func onnx(_ source: EngineSource, _ arguments: Arguments) throws -> any Engine {
        #if KOGATA_ONNX
            return try OnnxEngine(
                source: source, library: arguments.text("--onnxruntime"), threads: try arguments.count("--threads"))
        #else
            throw EngineError.runtimeAbsent(
                """
                This kogata-swift was built without onnxruntime's C header. Install the header, or name its folder in \
                KOGATA_ONNXRUNTIME_INCLUDE, and build again.
                """)
        #endif
    }
}

/// A line of a file of texts: an object with "text", "prompt" or "messages".
struct TextLine: Decodable {
    let messages: [Message]

    private enum CodingKeys: String, CodingKey {
        case text, prompt, messages
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        if let messages = try values.decodeIfPresent([Message].self, forKey: .messages) {
            self.messages = messages
        } else {
            let text = try values.decodeIfPresent(String.self, forKey: .text)
            messages = [.user(try text ?? values.decode(String.self, forKey: .prompt))]
        }
    }

    /// Reads a `.jsonl` file.
    static func read(_ path: String) throws -> [TextLine] {
        guard let data = FileManager.default.contents(atPath: path) else { throw UsageError("\(path) can't be read.") }
        return try data.split(separator: UInt8(ascii: "\n")).enumerated().map { number, line in
            do {
                return try JSONDecoder().decode(TextLine.self, from: line)
            } catch {
                throw UsageError("\(path), line \(number + 1): must be an object with \"text\" or \"messages\".")
            }
        }
    }
}

/// Prints a value as one line of JSON.
func printJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    standardOutput(String(decoding: try encoder.encode(value), as: UTF8.self) + "\n")
}
