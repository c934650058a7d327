import Foundation
import KogataBundle
import KogataChat
import KogataEngine
import KogataTokenizer

/// Runs the vectors of a bundle on an engine.
public struct ParityRun: Sendable {
    /// A lower log-probability is written as this one: e⁻¹⁰⁰ is nothing.
    static let lowest = -100.0

    private let bundle: ModelBundle
    private let vectors: DeviceVectors
    private let engine: any Engine
    private let tokenizer: Result<Tokenizer, any Error>
    private let chat: Result<ChatTemplate, any Error>

    /// bundle: verified. engine: of one of its artifacts. A tokenizer or a chat template that can't be opened fails its
    /// vectors, not the run.
    public init(bundle: ModelBundle, vectors: DeviceVectors, engine: any Engine) {
        self.bundle = bundle
        self.vectors = vectors
        self.engine = engine
        tokenizer = Result { try Tokenizer(folder: bundle.tokenizerFolder) }
        chat = Result { try ChatTemplate(folder: bundle.tokenizerFolder) }
    }

    /// Runs every vector. progress: gets the share of vectors that were run, 0 … 1. Throws if the model can't be loaded,
    /// and `CancellationError`; a vector that fails is an error in the report.
    public func report(progress: (@Sendable (Double) -> Void)? = nil) async throws -> DeviceReport {
        let started = ContinuousClock().now
        try await engine.load()
        let loaded = started.duration(to: ContinuousClock().now).inSeconds
        try await engine.warmUp()
        var results = DeviceReport.Results()
        var done = 0
        func run<Vector, Answer>(
            _ list: [Vector], _ id: (Vector) -> String, _ answer: (Vector) async throws -> Answer
        ) async throws -> [Answer] {
            var answers: [Answer] = []
            for vector in list {
                try Task.checkCancellation()
                do {
                    answers.append(try await answer(vector))
                } catch let error where !(error is CancellationError) {
                    let message = (error as? any LocalizedError)?.errorDescription ?? "\(error)"
                    let failed = DeviceReport.Failed(id: id(vector), message: String(message.prefix(2000)))
                    results.errors.append(failed)
                }
                done += 1
                progress?(Double(done) / Double(max(1, vectors.count)))
            }
            return answers
        }
        let tokenizerAnswers = try await run(vectors.tokenizer, \.id, tokens)
        let chatAnswers = try await run(vectors.chat, \.id, conversation)
        let decodeAnswers = try await run(vectors.decode, \.id, decoded)
        let embedAnswers = try await run(vectors.embed, \.id, embedded)
        let scoreAnswers = try await run(vectors.scores, \.id, scored)
        results.tokenizer = tokenizerAnswers
        results.chat = chatAnswers
        results.decode = decodeAnswers
        results.embed = embedAnswers
        results.scores = scoreAnswers
        var speed = try await SpeedTest(engine: engine).run(vectors)
        speed.loadSeconds = loaded
        return report(results, speed)
    }

    private func report(_ results: DeviceReport.Results, _ speed: DeviceReport.Speed) -> DeviceReport {
        let facts = engine.facts
        return DeviceReport(
            bundle: DeviceReport.Bound(name: bundle.manifest.name, digest: bundle.digest), device: .current,
            runtime: DeviceReport.Runtime(
                engine: facts.runtime, artifact: facts.artifact, form: facts.form,
                computeUnits: facts.computeUnits.rawValue),
            results: results, speed: speed)
    }

    private func tokens(_ vector: DeviceVectors.IDs) throws -> DeviceReport.IDs {
        DeviceReport.IDs(id: vector.id, ids: try tokenizer.get().encode(vector.text))
    }

    private func conversation(_ vector: DeviceVectors.Chat) throws -> DeviceReport.IDs {
        let prompt = try chat.get().prompt(for: vector.messages)
        return DeviceReport.IDs(id: vector.id, ids: try tokenizer.get().encode(prompt, addSpecialTokens: false))
    }

    /// First the whole text, then the continuation token by token. The cache that the first leaves behind must not
    /// change the second.
    private func decoded(_ vector: DeviceVectors.Decode) async throws -> DeviceReport.Decode {
        try await engine.reset()
        let rows = try await engine.logits(for: vector.ids, from: vector.first)
        let logprobs = zip(rows, vector.top).map { row, top in logProbabilities(row, of: top.ids) }
        let prompt = Array(vector.ids.prefix(vector.first + 1))
        let options = GenerationOptions(maxTokens: vector.continuation.count)
        let answer = try await engine.generate(prompt, options: options).collect()
        return DeviceReport.Decode(
            id: vector.id, logprobs: logprobs, top1: rows.map(mostLikely), continuation: answer.ids)
    }

    private func embedded(_ vector: DeviceVectors.Values) async throws -> DeviceReport.Values {
        let output = try await engine.output(for: vector.ids, types: vector.types ?? [])
        guard let values = output.sentence ?? output.tokens?.first else {
            throw EngineError.missingOutput("sentence_embedding")
        }
        return DeviceReport.Values(id: vector.id, values: values.map(written))
    }

    private func scored(_ vector: DeviceVectors.Values) async throws -> DeviceReport.Values {
        let output = try await engine.output(for: vector.ids, types: vector.types ?? [])
        guard var rows = output.logits else { throw EngineError.missingOutput("logits") }
        if let positions = vector.positions, !positions.isEmpty {
            guard positions.allSatisfy(rows.indices.contains) else {
                throw EngineError.noSuchPosition(positions.max() ?? 0, count: rows.count)
            }
            rows = positions.map { rows[$0] }
        }
        return DeviceReport.Values(id: vector.id, values: rows.joined().map(written))
    }
}

/// The id of the largest number, the lowest id among equals; NaN is never the largest.
func mostLikely(_ row: [Float]) -> Int {
    var best = 0
    for (id, value) in row.enumerated() where value > row[best] || row[best].isNaN { best = id }
    return best
}

/// The natural log-probabilities of some ids, with 5 digits; nil where they aren't finite.
func logProbabilities(_ row: [Float], of ids: [Int]) -> [Double?] {
    let largest = Double(row.max() ?? 0)
    let total = row.reduce(0.0) { $0 + exp(Double($1) - largest) }
    return ids.map { id in
        guard row.indices.contains(id) else { return nil }
        let value = Double(row[id]) - largest - log(total)
        return value.isNaN ? nil : (max(value, ParityRun.lowest) * 1e5).rounded() / 1e5
    }
}

/// A number with as many digits as tell it from its neighbours; nil where it isn't finite.
private func written(_ value: Float) -> Double? {
    value.isFinite ? Double("\(value)") : nil
}

extension Duration {
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
