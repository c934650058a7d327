import Foundation

/// What an encoder's outputs are, which decides how they are compared.
enum OutputKind {
    case embeddings
    /// Logits over classes; sigmoid: each class by itself is a yes or no.
    case classes(sigmoid: Bool)
    /// Free numbers: of a reranker or a regression.
    case scores

    init(task: String, activation: String?) {
        if task == "text-ranking" || activation == "identity" {
            self = .scores
        } else if ["text-classification", "token-classification", "question-answering"].contains(task) {
            self = .classes(sigmoid: activation == "sigmoid")
        } else {
            self = .embeddings
        }
    }
}

/// The PSNR in dB of errors that float16 hardware may make: outputs that are nearer to each other count as equal.
private let tieDecibels = 40.0

/// An encoder's answers to its vectors.
func compare(_ pairs: [(DeviceVectors.Values, DeviceReport.Values)], kind: OutputKind) -> Comparison {
    var made = Comparison()
    let fitting = pairs.filter { $0.values.count == $1.values.count }
    for (vector, answer) in pairs where vector.values.count != answer.values.count {
        made.wrong[vector.id] = "has \(answer.values.count) values instead of \(vector.values.count)"
    }
    if !made.wrong.isEmpty { made.metrics["shapes"] = Double(made.wrong.count) }
    guard !fitting.isEmpty else { return made }
    let outputs = fitting.map { vector, answer in
        Outputs(
            id: vector.id, rows: max(1, vector.rows ?? 1), reference: vector.values,
            answer: answer.values.map { $0 ?? .nan })
    }
    made.metrics["non_finite"] = Double(outputs.reduce(0) { $0 + $1.answer.filter { !$0.isFinite }.count })
    switch kind {
    case .embeddings: compareEmbeddings(outputs, into: &made)
    case .classes(let sigmoid): compareClasses(outputs, sigmoid: sigmoid, into: &made)
    case .scores: compareScores(outputs, into: &made)
    }
    return made
}

/// One vector's outputs on both sides, row after row.
private struct Outputs {
    let id: String
    let rows: Int
    let reference: [Double]
    let answer: [Double]
}

private func compareEmbeddings(_ outputs: [Outputs], into made: inout Comparison) {
    made.measure = "1 - cosine"
    let cosines = outputs.map { cosine($0.reference, $0.answer) }
    for (output, value) in zip(outputs, cosines) { made.losses[output.id] = 1 - value }
    made.metrics["cosine_mean"] = mean(cosines)
    made.metrics["cosine_min"] = cosines.contains(where: \.isNaN) ? .nan : cosines.min() ?? .nan
    // Whether each text is nearest to itself; equal texts count as one.
    let found = outputs.enumerated().filter { _, output in
        let all = outputs.map { cosine($0.reference, output.answer) }
        let own = cosine(output.reference, output.answer)
        return own >= (all.max() ?? .nan) - 1e-9
    }
    made.metrics["self_retrieval"] = Double(found.count) / Double(outputs.count)
}

private func compareClasses(_ outputs: [Outputs], sigmoid: Bool, into made: inout Comparison) {
    made.measure = "KL"
    let tie = tieGap(outputs)
    var divergences: [Double] = []
    var agreeing = 0
    for output in outputs {
        let rows = [output.reference, output.answer].map { classRows($0, rows: output.rows, sigmoid: sigmoid) }
        let own = zip(rows[0], rows[1]).map { divergence(logSoftmax($0), logSoftmax($1)) }
        made.losses[output.id] = mean(own)
        divergences += own
        for (reference, answer) in zip(rows[0], rows[1]) {
            let best = place(of: reference)
            let chosen = place(of: answer)
            if best == chosen || reference[best] - reference[chosen] < tie { agreeing += 1 }
        }
    }
    made.metrics["kl"] = mean(divergences)
    made.metrics["top1_or_tie"] = Double(agreeing) / Double(divergences.count)
}

private func compareScores(_ outputs: [Outputs], into made: inout Comparison) {
    made.measure = "largest error"
    let tie = tieGap(outputs)
    for output in outputs {
        let errors = zip(output.reference, output.answer).map { abs($0 - $1) }
        made.losses[output.id] = errors.contains(where: \.isNaN) ? .nan : errors.max() ?? .nan
    }
    let width = outputs.map(\.reference.count).min() ?? 0
    var lost = 0.0
    var spread = 0.0
    var squares = 0.0
    var counted = 0
    var ordered = 0
    for column in 0..<width {
        let reference = outputs.map { $0.reference[column] }
        let answer = outputs.map { $0.answer[column] }
        let middle = mean(reference)
        for (a, b) in zip(reference, answer) {
            lost += (a - b) * (a - b)
            spread += (a - middle) * (a - middle)
            squares += a * a
        }
        for i in reference.indices {
            for j in reference.indices where reference[i] - reference[j] > tie {
                counted += 1
                if answer[i] > answer[j] { ordered += 1 }
            }
        }
    }
    // Scores that are all the same are measured by the difference that counts as a tie.
    let least = max(spread > 0 ? spread : squares, Double(outputs.count * width) * tie * tie)
    made.metrics["unexplained"] = least > 0 ? lost / least : (lost == 0 ? 0 : .infinity)
    made.metrics["order"] = counted == 0 ? 1 : Double(ordered) / Double(counted)
}

/// Outputs of the checkpoint that are nearer to each other than this count as equal.
private func tieGap(_ outputs: [Outputs]) -> Double {
    (outputs.flatMap(\.reference).map(abs).max() ?? 0) * pow(10, -tieDecibels / 20)
}

/// The rows of logits of one text. Of independent classes, each logit is a row against 0.
private func classRows(_ values: [Double], rows: Int, sigmoid: Bool) -> [[Double]] {
    if sigmoid { return values.map { [0, $0] } }
    let width = values.count / rows
    return (0..<rows).map { Array(values[($0 * width)..<(($0 + 1) * width)]) }
}

private func place(of row: [Double]) -> Int {
    row.indices.max { row[$0] < row[$1] || row[$0] == row[$1] && $0 > $1 } ?? 0
}

private func logSoftmax(_ row: [Double]) -> [Double] {
    let largest = row.max() ?? 0
    let total = log(row.reduce(0) { $0 + exp($1 - largest) })
    return row.map { $0 - largest - total }
}

private func divergence(_ p: [Double], _ q: [Double]) -> Double {
    let sum = zip(p, q).reduce(0.0) { $0 + exp($1.0) * ($1.0 - $1.1) }
    return sum.isNaN ? sum : max(sum, 0)
}

private func cosine(_ a: [Double], _ b: [Double]) -> Double {
    var (dot, left, right) = (0.0, 0.0, 0.0)
    for (x, y) in zip(a, b) {
        dot += x * y
        left += x * x
        right += y * y
    }
    let value = dot / (left * right).squareRoot()
    return value.isNaN ? value : min(1, max(-1, value))
}
