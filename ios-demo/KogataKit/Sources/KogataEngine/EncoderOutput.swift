import Foundation

/// An array of numbers that a runtime returned, in row-major order.
public struct FloatTensor: Sendable, Equatable {
    public let shape: [Int]
    public let values: [Float]

    public init(shape: [Int], values: [Float]) {
        self.shape = shape
        self.values = values
    }

    /// The last `count` rows of `[1, rows, width]`.
    package func lastRows(_ count: Int) -> [[Float]] {
        let width = shape.last ?? 0
        let first = values.count / max(1, width) - count
        return (0..<count).map { Array(values[((first + $0) * width)..<((first + $0 + 1) * width)]) }
    }

    /// The first `count` rows of `[1, rows, width]`.
    func firstRows(_ count: Int) -> [[Float]] {
        let width = shape.last ?? 0
        return (0..<count).map { Array(values[($0 * width)..<(($0 + 1) * width)]) }
    }
}

/// What an encoder returned for one text of n tokens, without padding.
public struct EncoderOutput: Sendable, Equatable {
    /// `[n][hidden]`, if the model has embeddings of tokens.
    public let tokens: [[Float]]?
    /// `[hidden]`, if the checkpoint states a pooling.
    public let sentence: [Float]?
    /// The logits of a head: one row of labels for a text, a row for every token, or two rows over the tokens (starts
    /// and ends of answers).
    public let logits: [[Float]]?

    public init(tokens: [[Float]]? = nil, sentence: [Float]? = nil, logits: [[Float]]? = nil) {
        self.tokens = tokens
        self.sentence = sentence
        self.logits = logits
    }

    /// Takes a runtime's outputs of one text apart. Throws if none of them is known or a shape isn't expected.
    public init(outputs: [String: FloatTensor], count: Int) throws {
        let tokens = outputs["token_embeddings"] ?? outputs["last_hidden_state"]
        if let tokens, tokens.shape.count != 3 || tokens.shape[1] < count {
            throw EngineError.unexpectedShape(name: "token_embeddings", shape: tokens.shape)
        }
        let logits = outputs["logits"]
        if let logits, !(2...3).contains(logits.shape.count) || logits.shape.count == 3 && logits.shape[1] < count {
            throw EngineError.unexpectedShape(name: "logits", shape: logits.shape)
        }
        if let starts = outputs["start_logits"], let ends = outputs["end_logits"] {
            self.init(logits: [starts, ends].map { Array($0.values.prefix(count)) })
            return
        }
        let sentence = outputs["sentence_embedding"]
        guard tokens != nil || logits != nil || sentence != nil else { throw EngineError.missingOutput("logits") }
        self.init(
            tokens: tokens?.firstRows(count), sentence: sentence?.values,
            logits: logits.map { $0.firstRows($0.shape.count == 2 ? 1 : count) })
    }

    /// The outputs that `init(outputs:count:)` reads, of those that a model has.
    public static func needed(of names: [String]) -> [String] {
        if names.contains("logits") { return ["logits"] }
        if names.contains("start_logits") { return ["start_logits", "end_logits"] }
        if names.contains("sentence_embedding") { return ["sentence_embedding"] }
        return names.filter { ["token_embeddings", "last_hidden_state"].contains($0) }
    }
}

/// How logits become scores; `model.scores` in the manifest.
public enum ScoreFunction: String, Sendable, CaseIterable {
    case softmax
    case sigmoid
    case identity

    /// One score for each logit.
    public func scores(_ logits: [Float]) -> [Float] {
        switch self {
        case .identity: return logits
        case .sigmoid: return logits.map { 1 / (1 + exp(-$0)) }
        case .softmax:
            let largest = logits.max() ?? 0
            let powers = logits.map { exp($0 - largest) }
            let total = powers.reduce(0, +)
            return powers.map { $0 / total }
        }
    }
}

extension Engine {
    /// Everything that an encoder returns for a text, special tokens included. types: which of two texts each token
    /// belongs to, 0 or 1; empty: all belong to the first.
    public func output(for ids: [Int], types: [Int] = []) async throws -> EncoderOutput {
        guard !facts.generatesText else { throw EngineError.wrongTask(facts.task, needed: "embeddings or labels") }
        try facts.check(ids)
        try await load()
        return try encode(ids, types: types.isEmpty ? ids.map { _ in 0 } : types)
    }

    /// The embedding of a text: pooled as the checkpoint states it, or the first token's where it states nothing.
    public func embed(_ ids: [Int]) async throws -> [Float] {
        let output = try await output(for: ids)
        guard let vector = output.sentence ?? output.tokens?.first else {
            throw EngineError.wrongTask(facts.task, needed: "embeddings")
        }
        return vector
    }

    /// The score of each label of a text, in the order of the manifest's `model.labels`.
    public func classify(_ ids: [Int], types: [Int] = [], scores: ScoreFunction) async throws -> [Float] {
        guard let logits = try await output(for: ids, types: types).logits, logits.count == 1 else {
            throw EngineError.wrongTask(facts.task, needed: "classification of texts")
        }
        return scores.scores(logits[0])
    }
}
