import KogataEngine

/// A model whose next token is a sum over its whole text: a wrong cache gives a wrong token.
actor FakeEngine: Engine {
    static let vocabulary = 97

    nonisolated let facts: EngineFacts
    private(set) var cachedTokens: [Int] = []
    /// The tokens of every call of `feed`.
    private(set) var calls: [[Int]] = []
    private(set) var loads = 0

    init(context: Int = 64, prefillChunk: Int = 4, task: String = "text-generation") {
        facts = EngineFacts(
            runtime: "fake", artifact: "fake", form: "fake", task: task, computeUnits: .cpuOnly, context: context,
            vocabularySize: FakeEngine.vocabulary, prefillChunk: prefillChunk)
    }

    /// The greedy continuation, computed without a cache.
    static func continuation(of prompt: [Int], count: Int) -> [Int] {
        var text = prompt
        for _ in 0..<count { text.append(next(after: text)) }
        return Array(text.dropFirst(prompt.count))
    }

    static func next(after text: [Int]) -> Int {
        text.enumerated().reduce(7) { ($0 + ($1.offset + 3) * ($1.element + 1)) % vocabulary }
    }

    func load() { loads += 1 }

    func feed(_ ids: [Int], at position: Int, rows: LogitRows) throws -> [[Float]] {
        guard position <= cachedTokens.count else { throw EngineError.noSuchPosition(position, count: 0) }
        calls.append(ids)
        cachedTokens = Array(cachedTokens.prefix(position)) + ids
        let ends = rows == .last ? [cachedTokens.count] : Array((position + 1)...cachedTokens.count)
        return ends.map { end in
            var row = [Float](repeating: 0, count: FakeEngine.vocabulary)
            row[FakeEngine.next(after: Array(cachedTokens.prefix(end)))] = 1
            return row
        }
    }

    func reset() { cachedTokens = [] }

    /// Two logits: the number of tokens, and the sum of the types.
    func encode(_ ids: [Int], types: [Int]) -> EncoderOutput {
        EncoderOutput(logits: [[Float(ids.count), Float(types.reduce(0, +))]])
    }

    func forgetCalls() { calls = [] }
}

/// Every token is a text; what isn't in the table is "?".
struct FakeText: TokenTextDecoder {
    var table: [Int: String] = [:]
    var end = ""

    mutating func append(_ id: Int) -> String { table[id] ?? "?" }
    mutating func finish() -> String { end }
}
