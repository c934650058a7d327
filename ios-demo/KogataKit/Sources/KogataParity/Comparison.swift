import Foundation

/// One section's answers compared with the checkpoint's. The metrics have the names and meanings of `kogata check`.
struct Comparison {
    /// NaN fails every limit.
    var metrics: [String: Double] = [:]
    /// Vector → its error: KL in nats, 1 - cosine, or the largest error of a score.
    var losses: [String: Double] = [:]
    /// What the losses are, for people.
    var measure = "error"
    /// Vector → what is wrong with its answer by itself.
    var wrong: [String: String] = [:]

    /// Vectors whose error is larger than what is allowed for them. A vector that nothing is stated for is one, too.
    mutating func judgeLosses(allowed: [String: Double]) {
        var count = 0
        for (id, loss) in losses where !(loss <= allowed[id] ?? -1) {
            count += 1
            guard wrong[id] == nil else { continue }
            wrong[id] =
                loss.isNaN
                ? "has values that are NaN or infinite"
                : "has a \(measure) of \(shown(loss)), allowed are \(shown(allowed[id] ?? 0))"
        }
        metrics["vectors_beyond"] = Double(count)
    }
}

/// Token ids must be the same.
func compare(_ vectors: [(id: String, ids: [Int])], _ answers: [DeviceReport.IDs]) -> Comparison {
    let given = Dictionary(answers.map { ($0.id, $0.ids) }) { first, _ in first }
    var made = Comparison(measure: "difference")
    for (id, expected) in vectors {
        guard let ids = given[id], ids != expected else { continue }
        let first = zip(expected, ids).prefix { $0 == $1 }.count
        let parts = [expected, ids].map { Array($0.dropFirst(first).prefix(8)) }
        made.wrong[id] = "has other ids from token \(first) on: \(parts[0]) in the vectors, \(parts[1]) here"
    }
    made.metrics["ids_differ"] = Double(made.wrong.count)
    return made
}

/// A decoder's answers to its vectors.
func compare(_ pairs: [(DeviceVectors.Decode, DeviceReport.Decode)], nearTie: Double) -> Comparison {
    var made = Comparison(measure: "KL")
    var divergences: [Double] = []
    var agreeing = 0
    var ties = 0
    var notFinite = 0
    var inconsistent = 0
    var torn = 0
    var misshapen = 0
    for (vector, answer) in pairs {
        let widths = zip(answer.logprobs, vector.top).allSatisfy { $0.count == $1.ids.count }
        guard widths, answer.logprobs.count == vector.top.count, answer.top1.count == vector.top.count else {
            made.wrong[vector.id] = "has the wrong number of log-probabilities"
            misshapen += 1
            continue
        }
        let decoded = DecodedVector(vector: vector, answer: answer)
        divergences += decoded.divergences
        made.losses[vector.id] = mean(decoded.divergences)
        agreeing += decoded.agreeing
        ties += decoded.ties(nearTie)
        notFinite += answer.logprobs.joined().filter { $0 == nil }.count
        if let said = decoded.torn(nearTie) {
            torn += 1
            made.wrong[vector.id] = said
        }
        if let said = decoded.contradiction {
            inconsistent += 1
            made.wrong[vector.id] = said
        }
    }
    if misshapen > 0 { made.metrics["shapes"] = Double(misshapen) }
    guard !divergences.isEmpty else { return made }
    let count = Double(divergences.count)
    made.metrics.merge([
        "kl": mean(divergences), "top1_or_tie": Double(agreeing + ties) / count, "top1": Double(agreeing) / count,
        "continuations_differ": Double(torn), "inconsistent": Double(inconsistent), "non_finite": Double(notFinite),
    ]) { $1 }
    return made
}

/// A decoder's vector with the answer to it.
private struct DecodedVector {
    let vector: DeviceVectors.Decode
    let answer: DeviceReport.Decode

    /// The least probability of the ids that aren't stated: below it, the digits of the others decide.
    private static let leastRest = 1e-5
    /// Nats, or probability: rounded digits of the same logits differ by less.
    private static let sure = 0.01

    /// KL(checkpoint ‖ device) at each position in nats, over the stated ids and one bucket for all others.
    var divergences: [Double] {
        zip(vector.top, answer.logprobs).map { top, row in
            let p = withRest(top.logprobs)
            let q = withRest(row.map { $0 ?? .nan })
            let sum = zip(p, q).reduce(0.0) { $0 + exp($1.0) * ($1.0 - $1.1) }
            return sum.isNaN ? sum : max(sum, 0)  // rounded digits make it negative
        }
    }

    /// Positions with the same most likely token.
    var agreeing: Int { zip(vector.top, answer.top1).filter { $0.ids[0] == $1 }.count }

    /// Positions whose other choice is as good as equal in the checkpoint.
    func ties(_ nearTie: Double) -> Int {
        zip(vector.top, answer.top1).filter { top, own in
            guard own != top.ids[0], let place = top.ids.firstIndex(of: own) else { return false }
            return top.logprobs[0] - top.logprobs[place] < nearTie
        }.count
    }

    /// Why these can't be log-probabilities of one distribution with this most likely token.
    var contradiction: String? {
        for (index, (top, best)) in zip(vector.top, answer.top1).enumerated() {
            let row = answer.logprobs[index].compactMap { $0 }
            guard row.count == top.ids.count, let highest = row.max() else { continue }
            let mass = row.reduce(0) { $0 + exp(min($1, 1)) }
            let position = "position \(vector.first + index)"
            if mass > 1 + DecodedVector.sure { return "\(position): the probabilities add up to \(shown(mass))" }
            if let place = top.ids.firstIndex(of: best) {
                if row[place] < highest - DecodedVector.sure {
                    return "\(position): top1 is \(best), but another token has a higher log-probability"
                }
            } else if exp(highest) > 1 - mass + DecodedVector.sure {
                return "\(position): top1 is \(best), but the other tokens leave it too little probability"
            }
        }
        return nil
    }

    /// Where the continuation, made token by token, leaves the device's own logits of the text at once.
    func torn(_ nearTie: Double) -> String? {
        let following = vector.ids.dropFirst(vector.first + 1)
        let said = answer.continuation
        for (step, (top, best)) in zip(vector.top, answer.top1).enumerated() where step < said.count {
            if said[step] != best {
                let places = [best, said[step]].compactMap { top.ids.firstIndex(of: $0) }
                let pair = places.compactMap { answer.logprobs[step][$0] }
                if pair.count == 2, abs(pair[0] - pair[1]) < nearTie { return nil }
                return "the continuation has token \(said[step]) at step \(step + 1), the text's logits say \(best)"
            }
            guard step < following.count, said[step] == following[following.startIndex + step] else { return nil }
        }
        guard said.count < vector.continuation.count else { return nil }
        return "the continuation ends after \(said.count) of \(vector.continuation.count) tokens"
    }

    private func withRest(_ logprobs: [Double]) -> [Double] {
        let stated = logprobs.map { $0.isNaN ? $0 : min(max($0, ParityRun.lowest), 0) }
        let rest = 1 - stated.reduce(0) { $0 + exp($1) }
        return stated + [log(rest.isNaN ? rest : max(rest, DecodedVector.leastRest))]
    }
}

func mean(_ numbers: [Double]) -> Double { numbers.reduce(0, +) / Double(numbers.count) }

/// A number with four digits.
func shown(_ number: Double) -> String { String(format: "%.4g", number) }
