import Foundation
import KogataBundle
import KogataEngine
import KogataParity
import Observation

/// Sentences by meaning.
@MainActor @Observable
final class SentenceSearch {
    struct Sentence: Decodable, Sendable { let language, text: String }
    struct Hit: Identifiable, Sendable {
        let id: Int
        let text: String
        let score: Float
    }

    private(set) var hits: [Hit] = []
    private(set) var progress: Double?
    private(set) var problem: String?
    private var index: [(text: String, vector: [Float])] = []

    /// Computes the embedding of every sentence, once.
    func prepare(_ model: OpenModel) async {
        guard index.isEmpty, progress == nil else { return }
        await guarded {
            guard let file = Bundle.main.url(forResource: "sentences", withExtension: "json") else { return }
            let sentences = try JSONDecoder().decode([Sentence].self, from: Data(contentsOf: file))
            var made: [(String, [Float])] = []
            for sentence in sentences {
                made.append((sentence.text, try await embedding(of: sentence.text, model)))
                progress = Double(made.count) / Double(sentences.count)
            }
            index = made
        }
        progress = nil
    }

    func find(_ text: String, _ model: OpenModel) async {
        await guarded {
            let query = try await embedding(of: text, model)
            let scored = index.enumerated().map { Hit(id: $0, text: $1.text, score: cosine(query, $1.vector)) }
            hits = Array(scored.sorted { $0.score > $1.score }.prefix(10))
        }
    }

    private func embedding(of text: String, _ model: OpenModel) async throws -> [Float] {
        let facts = model.bundle.manifest.model
        let prompt = facts.defaultPromptName.flatMap { facts.prompts?[$0] } ?? ""
        return try await model.engine.embed(model.tokenizer.encode(prompt + text))
    }

    private func guarded(_ work: () async throws -> Void) async {
        do {
            problem = nil
            try await work()
        } catch {
            problem = error.localizedDescription
        }
    }
}

private func cosine(_ a: [Float], _ b: [Float]) -> Float {
    let dot = { (x: [Float], y: [Float]) in zip(x, y).reduce(Float(0)) { $0 + $1.0 * $1.1 } }
    return dot(a, b) / max((dot(a, a) * dot(b, b)).squareRoot(), .leastNormalMagnitude)
}

/// The bundle's test vectors on each of the compute units.
@MainActor @Observable
final class ParityCheck {
    struct Outcome: Identifiable, Sendable {
        let id: ComputeUnits
        let passed: Bool
        let summary: String
        let speed: DeviceReport.Speed?
        /// The report for `kogata check --device-report`; nil where the vectors couldn't be run.
        let report: URL?
    }

    private(set) var outcomes: [Outcome] = []
    private(set) var running: (units: ComputeUnits, progress: Double)?
    private(set) var task: Task<Void, Never>?

    func run(_ model: OpenModel) {
        outcomes = []
        task = Task {
            for units in ComputeUnits.allCases where !Task.isCancelled {
                running = (units, 0)
                let outcome = await check(units, model)
                if !Task.isCancelled { outcomes.append(outcome) }
            }
            running = nil
            task = nil
        }
    }

    func stop() { task?.cancel() }

    private func check(_ units: ComputeUnits, _ model: OpenModel) async -> Outcome {
        do {
            let vectors = try DeviceVectors(bundle: model.bundle)
            let engine = try CoreMLEngine(source: model.source, computeUnits: units)
            let run = ParityRun(bundle: model.bundle, vectors: vectors, engine: engine)
            let report = try await run.report { part in
                Task { @MainActor in if self.running?.units == units { self.running?.progress = part } }
            }
            let file = FileManager.default.temporaryDirectory.appendingPathComponent(
                "\(model.bundle.manifest.name)-\(units.rawValue).json")
            try report.json().write(to: file)
            let verdict = try ParityVerdict(report, vectors)
            return Outcome(
                id: units, passed: verdict.passed, summary: verdict.summary, speed: report.speed, report: file)
        } catch {
            return Outcome(id: units, passed: false, summary: error.localizedDescription, speed: nil, report: nil)
        }
    }
}
