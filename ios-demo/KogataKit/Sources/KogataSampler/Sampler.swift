/// Chooses the next token from logits.
///
/// The filters work in the order of transformers' `generate`: repetition penalty, temperature, top-k, top-p, min-p.
public struct Sampler: Sendable {
    public let options: SamplingOptions
    private var generator: SplitMix64

    /// - Throws: `SamplerError.badOptions`, which names every option that is out of range.
    public init(options: SamplingOptions = .greedy) throws {
        let problems = options.problems
        guard problems.isEmpty else { throw SamplerError.badOptions(problems) }
        self.options = options
        generator = SplitMix64(seed: options.seed)
    }

    /// The id of the next token.
    ///
    /// - Parameters:
    ///   - logits: one number per token of the vocabulary; -infinity excludes a token.
    ///   - history: ids of the prompt and of the answer so far; used by the repetition penalty.
    /// - Throws: `SamplerError.badLogits`, `.noToken` or `.badHistory`.
    public mutating func sample(_ logits: [Float], history: [Int] = []) throws -> Int {
        if options.temperature == 0 {
            let scores = try penalized(logits, history: history)
            return try highest(scores)
        }
        let tokens = try distribution(logits, history: history)
        let mark = generator.uniform()  // one number per token, however many tokens there are to choose from
        var sum = 0.0
        for (id, probability) in tokens {
            sum += probability
            if mark < sum { return id }
        }
        return tokens.last { $0.probability > 0 }?.id ?? tokens[0].id  // the sum may round to slightly less than 1
    }

    /// The tokens that can be chosen, by rising id, with probabilities that add up to 1. For a temperature of 0 it is the
    /// one most likely token.
    ///
    /// - Throws: as `sample`.
    public func distribution(_ logits: [Float], history: [Int] = []) throws -> [(id: Int, probability: Double)] {
        let scores = try penalized(logits, history: history)
        guard options.temperature > 0 else { return [(try highest(scores), 1)] }
        var kept = scores.indices.filter { scores[$0] > -.infinity }
        guard !kept.isEmpty else { throw SamplerError.noToken }
        let scaled = scores.map { $0 / options.temperature }
        if let topK = options.topK, topK < kept.count {
            let limit = kLargest(topK, of: kept.map { scaled[$0] })
            kept = kept.filter { scaled[$0] >= limit }  // equal scores stay together, as in transformers
        }
        if options.topP < 1 { kept = nucleus(kept, scaled) }
        if options.minP > 0 {
            let probabilities = softmax(kept, scaled)
            let limit = Double(options.minP) * (probabilities.max() ?? 0)
            kept = zip(kept, probabilities).filter { $0.1 >= limit }.map(\.0)
        }
        return Array(zip(kept, softmax(kept, scaled))).map { (id: $0.0, probability: $0.1) }
    }

    private func penalized(_ logits: [Float], history: [Int]) throws -> [Float] {
        let broken = logits.reduce(0) { $0 + ($1.isNaN || $1 == .infinity ? 1 : 0) }
        guard broken == 0 else { throw SamplerError.badLogits(count: broken, of: logits.count) }
        guard options.repetitionPenalty != 1 else { return logits }
        var scores = logits
        for id in Set(history) {
            guard scores.indices.contains(id) else {
                throw SamplerError.badHistory(id: id, vocabularySize: scores.count)
            }
            let penalty = options.repetitionPenalty
            scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty
        }
        return scores
    }

    /// The smallest set of the most likely tokens whose probabilities reach `topP`; at least one token.
    private func nucleus(_ ids: [Int], _ scaled: [Float]) -> [Int] {
        let probabilities = softmax(ids, scaled)
        let rest = 1 - Double(options.topP)
        // Tokens that are less likely than this can't reach `rest` together. They needn't be sorted, and most are such.
        let negligible = rest / Double(ids.count)
        let order = ids.indices.filter { probabilities[$0] > negligible }
            .sorted { (probabilities[$0], ids[$1]) < (probabilities[$1], ids[$0]) }
        var sum = ids.indices.reduce(0.0) { $0 + (probabilities[$1] > negligible ? 0 : probabilities[$1]) }
        let kept = order.drop { index in
            sum += probabilities[index]
            return sum <= rest && index != order.last
        }
        let fallback = ids.indices.max { probabilities[$0] < probabilities[$1] }.map { [ids[$0]] } ?? []
        return kept.isEmpty ? fallback : kept.map { ids[$0] }.sorted()
    }
}

/// The id of the highest score, the lowest id among equals.
private func highest(_ scores: [Float]) throws -> Int {
    var best: Int?
    for (id, score) in scores.enumerated() where score > best.map({ scores[$0] }) ?? -.infinity { best = id }
    guard let best else { throw SamplerError.noToken }
    return best
}

private func softmax(_ ids: [Int], _ scores: [Float]) -> [Double] {
    let top = Double(ids.map { scores[$0] }.max() ?? 0)
    let weights = ids.map { portableExp(Double(scores[$0]) - top) }
    let sum = weights.reduce(0, +)
    return weights.map { $0 / sum }
}

/// The k-th largest of `values`; 1 ≤ k ≤ count. A heap of the k largest is cheaper than sorting a whole vocabulary.
private func kLargest(_ k: Int, of values: [Float]) -> Float {
    var heap = Array(values[..<k].sorted())  // the smallest first; a sorted array is a heap
    for value in values[k...] where value > heap[0] {
        heap[0] = value
        var parent = 0
        while true {
            var child = 2 * parent + 1
            if child + 1 < k && heap[child + 1] < heap[child] { child += 1 }
            guard child < k && heap[child] < heap[parent] else { break }
            heap.swapAt(parent, child)
            parent = child
        }
    }
    return heap[0]
}
