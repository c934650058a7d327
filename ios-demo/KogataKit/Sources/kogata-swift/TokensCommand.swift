import Foundation
import KogataBundle
import KogataTokenizer

enum TokensCommand: Command {
    static let name = "tokens"
    static let usage = "BUNDLE [TEXT]"
    static let summary = "Prints a text's token ids. BUNDLE may also be a folder with tokenizer.json, or the file."
    static let options = [
        Option("--no-special", nil, "Add no special tokens."),
        Option("--jsonl", "FILE", "Each line is a JSON text or a list of ids: print ids and texts as JSON. -: stdin."),
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let file = arguments.text("--jsonl")
        guard arguments.words.count == (file == nil ? 2 : 1) else { throw UsageError("Give one text.") }
        let tokenizer = try open(try arguments.bundle())
        let addSpecialTokens = !arguments.has("--no-special")
        if let file {
            try writeLines(tokenizer, file: file, addSpecialTokens: addSpecialTokens)
        } else {
            let ids = tokenizer.encode(arguments.words[1], addSpecialTokens: addSpecialTokens)
            for id in ids { standardOutput("\(id)\t\(tokenizer.token(of: id) ?? "")\n") }
            standardOutput(tokenizer.decode(ids) + "\n")
        }
        return .success
    }

    /// A bundle is verified before its tokenizer is opened.
    private static func open(_ place: URL) throws -> Tokenizer {
        if place.pathExtension == "json" {
            guard let json = try? Data(contentsOf: place) else { throw TokenizerError.noFile(path: place.path) }
            return try Tokenizer(json: json)
        }
        guard FileManager.default.fileExists(atPath: place.appendingPathComponent("SHA256SUMS").path) else {
            return try Tokenizer(folder: place)
        }
        let bundle = try ModelBundle(at: place)
        try bundle.verify()
        return try Tokenizer(folder: bundle.tokenizerFolder)
    }

    /// text: decoded with special tokens; plain: without; stream: decoded id by id, without.
    private struct Line: Encodable {
        let ids: [Int]
        let text: String
        let plain: String
        let stream: String
    }

    private static func writeLines(_ tokenizer: Tokenizer, file: String, addSpecialTokens: Bool) throws {
        let read =
            file == "-"
            ? FileHandle.standardInput.readDataToEndOfFile() : FileManager.default.contents(atPath: file)
        guard let input = read else { throw UsageError("\(file) can't be read.") }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var output = Data()
        for (number, line) in input.split(separator: UInt8(ascii: "\n")).enumerated() {
            guard let ids = ids(of: line, tokenizer, addSpecialTokens: addSpecialTokens) else {
                throw UsageError("Line \(number + 1) of \(file) is neither a JSON text nor a list of ids.")
            }
            output += try encoder.encode(self.line(ids, tokenizer))
            output.append(UInt8(ascii: "\n"))
        }
        FileHandle.standardOutput.write(output)
    }

    /// The ids of a text, or the ids that stand there. nil for anything else.
    private static func ids(of line: Data, _ tokenizer: Tokenizer, addSpecialTokens: Bool) -> [Int]? {
        let decoder = JSONDecoder()
        if let text = try? decoder.decode(String.self, from: line) {
            return tokenizer.encode(text, addSpecialTokens: addSpecialTokens)
        }
        return try? decoder.decode([Int].self, from: line)
    }

    private static func line(_ ids: [Int], _ tokenizer: Tokenizer) -> Line {
        var stream = tokenizer.stream()
        let parts = ids.map { stream.append($0) } + [stream.finish()]
        let texts = [false, true].map { tokenizer.decode(ids, skipSpecialTokens: $0) }
        return Line(ids: ids, text: texts[0], plain: texts[1], stream: parts.joined())
    }
}
