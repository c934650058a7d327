import Foundation
import KogataEngine

/// Measures how fast an engine is, on texts of the vectors.
public struct SpeedTest: Sendable {
    private let engine: any Engine
    private let answerTokens: Int

    /// answerTokens: the length of the answer that is timed.
    public init(engine: any Engine, answerTokens: Int = 32) {
        self.engine = engine
        self.answerTokens = answerTokens
    }

    /// The engine should be warm. `load_seconds` isn't set.
    public func run(_ vectors: DeviceVectors) async throws -> DeviceReport.Speed {
        if engine.facts.generatesText {
            let longest = vectors.decode.map(\.ids).max { $0.count < $1.count }
            return try await generate(longest ?? [0])
        }
        return try await encode((vectors.embed + vectors.scores).map(\.ids))
    }

    /// The prompt is cut, so that the answer has room behind it.
    public func generate(_ prompt: [Int]) async throws -> DeviceReport.Speed {
        let room = max(1, engine.facts.context - answerTokens)
        try await engine.reset()
        let options = GenerationOptions(maxTokens: answerTokens)
        let result = try await engine.generate(Array(prompt.prefix(room)), options: options).collect().result
        try await engine.reset()
        var speed = DeviceReport.Speed()
        speed.firstTokenSeconds = result?.firstTokenSeconds
        speed.prefillTokensPerSecond = result?.prefillTokensPerSecond
        speed.decodeTokensPerSecond = result?.decodeTokensPerSecond
        speed.peakMemoryBytes = peakMemory()
        return speed
    }

    public func encode(_ texts: [[Int]]) async throws -> DeviceReport.Speed {
        let started = ContinuousClock().now
        for ids in texts { _ = try await engine.output(for: ids) }
        let seconds = started.duration(to: ContinuousClock().now).inSeconds
        let tokens = texts.reduce(0) { $0 + $1.count }
        var speed = DeviceReport.Speed()
        speed.prefillTokensPerSecond = tokens > 0 && seconds > 0 ? Double(tokens) / seconds : nil
        speed.peakMemoryBytes = peakMemory()
        return speed
    }
}
