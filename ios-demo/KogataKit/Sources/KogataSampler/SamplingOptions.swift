import Foundation

/// How the next token is chosen. The names and meanings are those of transformers' `GenerationConfig`.
public struct SamplingOptions: Equatable, Sendable {
    /// Divides the logits. 0 is greedy: always the most likely token.
    public var temperature: Float
    /// Only the so many most likely tokens; nil: all.
    public var topK: Int?
    /// Only the most likely tokens whose probabilities add up to this; 1: all.
    public var topP: Float
    /// Only tokens that are at least this times as likely as the most likely one; 0: all.
    public var minP: Float
    /// Makes tokens that were there before less likely. 1: no change; below 1: more likely.
    public var repetitionPenalty: Float
    /// The same seed and logits give the same tokens on every platform.
    public var seed: UInt64

    public static let greedy = SamplingOptions(temperature: 0)

    public init(
        temperature: Float = 1, topK: Int? = nil, topP: Float = 1, minP: Float = 0, repetitionPenalty: Float = 1,
        seed: UInt64 = 0
    ) {
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.repetitionPenalty = repetitionPenalty
        self.seed = seed
    }

    /// Every option that is out of range, in words.
    var problems: [String] {
        var problems: [String] = []
        if !(temperature >= 0 && temperature.isFinite) { problems.append("temperature must be 0 or a positive number") }
        if let topK, topK < 1 { problems.append("top-k must be at least 1") }
        if !(0...1).contains(topP) { problems.append("top-p must be between 0 and 1") }
        if !(0...1).contains(minP) { problems.append("min-p must be between 0 and 1") }
        if !(repetitionPenalty > 0 && repetitionPenalty.isFinite) {
            problems.append("the repetition penalty must be a positive number")
        }
        return problems
    }
}

/// Why no token could be chosen. Each case describes itself in a sentence.
public enum SamplerError: Error, Equatable, Sendable {
    /// Options out of range, in words.
    case badOptions([String])
    /// The model returned logits that are NaN or +infinity. A wrong choice of a token would hide it.
    case badLogits(count: Int, of: Int)
    /// No token has a probability: there are no logits, or all are -infinity.
    case noToken
    /// An id in the history is not below the number of logits.
    case badHistory(id: Int, vocabularySize: Int)
}

extension SamplerError: LocalizedError {
    public var errorDescription: String? {
        switch self {
        case .badOptions(let problems):
            "These sampling options can't be used: \(problems.joined(separator: "; "))."
        case .badLogits(let count, let total):
            "\(count) of the model's \(total) logits are not finite numbers. Try other compute units."
        case .noToken:
            "The model gives no token a probability."
        case .badHistory(let id, let size):
            "The history contains token \(id), but the model has \(size) tokens only."
        }
    }
}
