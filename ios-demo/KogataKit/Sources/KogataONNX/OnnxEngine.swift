import COnnxRuntime
import Foundation
import KogataEngine

/// Runs `onnx/model.onnx` in onnxruntime, on the CPU.
public actor OnnxEngine: Engine {
    public nonisolated let facts: EngineFacts
    public private(set) var cachedTokens: [Int] = []

    private let source: EngineSource
    private let libraryPath: String?
    private let threads: Int
    private var session: OnnxSession?
    private var library: OnnxLibrary?
    private var cache: [String: OnnxValue] = [:]

    private static let ids: Set<String> = ["input_ids", "attention_mask", "position_ids", "token_type_ids"]
    private static let past = "past_key_values."

    /// library: path of onnxruntime's library; nil: the one that the environment's KOGATA_ONNXRUNTIME names, else the
    /// system's. threads: nil: one per processor, at most 4, because small models don't gain from more.
    /// prefillChunk: tokens of a prompt in one call. It bounds the memory of the logits.
    public init(source: EngineSource, library: String? = nil, threads: Int? = nil, prefillChunk: Int = 256) throws {
        try source.requireKnownInputs { OnnxEngine.ids.contains($0) || $0.hasPrefix(OnnxEngine.past) }
        self.source = source
        self.threads = max(1, threads ?? min(4, ProcessInfo.processInfo.activeProcessorCount))
        libraryPath = library
        facts = source.facts(runtime: "onnx", computeUnits: .cpuOnly, prefillChunk: prefillChunk)
    }

    public func load() throws {
        guard session == nil else { return }
        let library = try OnnxLibrary(path: libraryPath)
        session = try OnnxSession(library: library, model: source.model, threads: threads)
        self.library = library
        try reset()
    }

    public func feed(_ ids: [Int], at position: Int, rows: LogitRows) throws -> [[Float]] {
        guard let session, let library else { throw EngineError.notLoaded }
        guard (0...cachedTokens.count).contains(position) else {
            throw EngineError.noSuchPosition(position, count: cachedTokens.count)
        }
        let total = position + ids.count
        var inputs = try inputs(library, ["input_ids": ids, "position_ids": Array(position..<total)], masked: total)
        for (name, value) in cache { inputs[name] = try value.prefix(position) }
        let names = source.outputNames.filter { $0 == "logits" || $0.hasPrefix("present.") }
        let results = try session.run(inputs, outputs: names)
        guard let logits = results["logits"] else { throw EngineError.missingOutput("logits") }
        for name in cache.keys {
            let present = "present." + name.dropFirst(OnnxEngine.past.count)
            guard let value = results[present] else { throw EngineError.missingOutput(present) }
            cache[name] = value
        }
        cachedTokens = Array(cachedTokens.prefix(position)) + ids
        let count = rows == .last ? 1 : ids.count
        return try logits.floats(name: "logits", lastRows: count).lastRows(count)
    }

    public func reset() throws {
        cachedTokens = []
        guard let library else { return }
        for port in source.ports.inputs where port.name.hasPrefix(OnnxEngine.past) {
            let type = try elementType(port.dtype, name: port.name)
            guard port.shape.count == 4, case .fixed(let heads) = port.shape[1], case .fixed(let width) = port.shape[3]
            else { throw EngineError.unexpectedShape(name: port.name, shape: []) }
            cache[port.name] = try OnnxValue(shape: [1, heads, 0, width], type: type, library: library)
        }
    }

    public func encode(_ ids: [Int], types: [Int]) throws -> EncoderOutput {
        guard let session, let library else { throw EngineError.notLoaded }
        let inputs = try inputs(library, ["input_ids": ids, "token_type_ids": types], masked: ids.count)
        let results = try session.run(inputs, outputs: EncoderOutput.needed(of: source.outputNames))
        var tensors: [String: FloatTensor] = [:]
        for (name, value) in results { tensors[name] = try value.floats(name: name) }
        return try EncoderOutput(outputs: tensors, count: ids.count)
    }

    /// The inputs that the model declares, of those given, and a mask that hides nothing.
    private func inputs(_ library: OnnxLibrary, _ given: [String: [Int]], masked: Int) throws -> [String: OnnxValue] {
        let all = given.merging(["attention_mask": [Int](repeating: 1, count: masked)]) { $1 }
        var values: [String: OnnxValue] = [:]
        for port in source.ports.inputs {
            guard let numbers = all[port.name] else { continue }
            values[port.name] = try OnnxValue(numbers, dtype: port.dtype, library: library)
        }
        return values
    }

    private func elementType(_ dtype: String, name: String) throws -> ONNXTensorElementDataType {
        switch dtype {
        case "float32": ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
        case "float16": ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
        default: throw EngineError.unsupportedType(name: name, type: dtype)
        }
    }
}
