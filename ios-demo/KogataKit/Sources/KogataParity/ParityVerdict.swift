import Foundation

/// A device report judged by the limits in device.json, as `kogata check BUNDLE --device-report FILE` judges it.
public struct ParityVerdict: Sendable {
    /// A limit that was broken.
    public struct Broken: Sendable, Equatable {
        /// "tokenizer", "chat", "decode", "embed" or "scores".
        public let section: String
        public let metric: String
        /// nil: the metric isn't a number, or wasn't computed, which can't pass.
        public let value: Double?
        public let limit: String
        public let reason: String
    }

    /// A vector that fails by itself.
    public struct Failing: Sendable, Equatable {
        public let id: String
        public let reason: String
    }

    public let broken: [Broken]
    public let failing: [Failing]
    /// Every section's metrics.
    public let metrics: [String: [String: Double]]
    private let count: Int

    public var passed: Bool { broken.isEmpty }

    /// Throws `ParityError.noGates` if device.json has no limits for the artifact.
    public init(_ report: DeviceReport, _ vectors: DeviceVectors) throws {
        let artifact = report.runtime.artifact
        guard let gates = vectors.gates[artifact] else { throw ParityError.noGates(artifact: artifact) }
        let allowed = gates.first { $0.metric == "vectors_beyond" }?.allowed ?? [:]
        let errors = Dictionary(report.results.errors.map { ($0.id, $0.message) }) { first, _ in first }
        var broken: [Broken] = []
        var failing: [Failing] = []
        var metrics: [String: [String: Double]] = [:]
        for section in sections(vectors, report.results, allowed) where !section.expected.isEmpty {
            var made = section.made
            let absent = section.expected.filter { !section.answered.contains($0) }
            made.metrics["missing"] = Double(absent.count)
            for id in absent { made.wrong[id] = errors[id].map { "was not run: \($0)" } ?? "has no answer" }
            broken += limits(gates, hold: made.metrics, section)
            failing += section.expected.compactMap { id in made.wrong[id].map { Failing(id: id, reason: $0) } }
            metrics[section.name] = made.metrics
        }
        self.broken = broken
        self.failing = failing
        self.metrics = metrics
        count = vectors.count
    }

    /// The verdict in some lines: broken limits with their reasons, and the vectors that fail.
    public var summary: String {
        if passed { return "passed: \(count) vectors are within their limits" }
        var lines = ["failed: \(broken.count) limits are broken"]
        for one in broken {
            lines.append("  \(one.section): \(one.metric) is \(one.value.map(shown) ?? "not a number"), \(one.limit)")
            if !one.reason.isEmpty { lines.append("    because \(one.reason)") }
        }
        if !failing.isEmpty { lines.append("vectors:") }
        lines += failing.prefix(20).map { "  \($0.id) \($0.reason)" }
        if failing.count > 20 { lines.append("  and \(failing.count - 20) more") }
        return lines.joined(separator: "\n")
    }
}

/// One section of the vectors with its answers.
private struct Section {
    let name: String
    let expected: [String]
    let answered: Set<String>
    var made: Comparison

    var isTokens: Bool { name == "tokenizer" || name == "chat" }
}

private func sections(
    _ vectors: DeviceVectors, _ results: DeviceReport.Results, _ allowed: [String: Double]
) -> [Section] {
    let kind = OutputKind(task: vectors.task, activation: vectors.activation)
    var decode = compare(paired(vectors.decode, results.decode, \.id, \.id), nearTie: vectors.nearTie)
    var embed = compare(paired(vectors.embed, results.embed, \.id, \.id), kind: kind)
    var scores = compare(paired(vectors.scores, results.scores, \.id, \.id), kind: kind)
    decode.judgeLosses(allowed: allowed)
    embed.judgeLosses(allowed: allowed)
    scores.judgeLosses(allowed: allowed)
    return [
        Section(
            name: "tokenizer", expected: vectors.tokenizer.map(\.id), answered: Set(results.tokenizer.map(\.id)),
            made: compare(vectors.tokenizer.map { ($0.id, $0.ids) }, results.tokenizer)),
        Section(
            name: "chat", expected: vectors.chat.map(\.id), answered: Set(results.chat.map(\.id)),
            made: compare(vectors.chat.map { ($0.id, $0.ids) }, results.chat)),
        Section(
            name: "decode", expected: vectors.decode.map(\.id), answered: Set(results.decode.map(\.id)), made: decode),
        Section(name: "embed", expected: vectors.embed.map(\.id), answered: Set(results.embed.map(\.id)), made: embed),
        Section(
            name: "scores", expected: vectors.scores.map(\.id), answered: Set(results.scores.map(\.id)), made: scores),
    ]
}

/// Vectors with the first answer to each.
private func paired<Vector, Answer>(
    _ vectors: [Vector], _ answers: [Answer], _ id: (Vector) -> String, _ answerID: (Answer) -> String
) -> [(Vector, Answer)] {
    let given = Dictionary(answers.map { (answerID($0), $0) }) { first, _ in first }
    return vectors.compactMap { vector in given[id(vector)].map { (vector, $0) } }
}

/// The limits that a section's metrics break. A metric that isn't there fails, as one that isn't a number does.
private func limits(
    _ gates: [DeviceVectors.Gate], hold metrics: [String: Double], _ section: Section
) -> [ParityVerdict.Broken] {
    var broken = gates.compactMap { gate -> ParityVerdict.Broken? in
        guard (gate.metric == "ids_differ") == section.isTokens || gate.metric == "missing" else { return nil }
        let value = metrics[gate.metric] ?? .nan
        let holds = gate.max.map { value <= $0 } ?? gate.min.map { value >= $0 } ?? false
        guard !holds else { return nil }
        let limit = gate.max.map { "at most \(shown($0))" } ?? gate.min.map { "at least \(shown($0))" } ?? "no limit"
        return ParityVerdict.Broken(
            section: section.name, metric: gate.metric, value: value.isNaN ? nil : value, limit: limit,
            reason: gate.reason)
    }
    if let count = metrics["shapes"] {
        let reason = "outputs must have the reference's shape"
        broken.append(
            ParityVerdict.Broken(
                section: section.name, metric: "shapes", value: count, limit: "at most 0", reason: reason))
    }
    return broken
}
