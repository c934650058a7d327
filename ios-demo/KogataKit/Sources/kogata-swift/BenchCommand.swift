import Foundation
import KogataEngine
import KogataParity

enum BenchCommand: Command {
    static let name = "bench"
    static let usage = "BUNDLE"
    static let summary = "Measures loading, the first token, prefill, decoding and memory, and prints them as JSON."
    static let options =
        [
            Option("--prompt-tokens", "N", "Length of the prompt or of an encoder's text. [default: 128]"),
            Option("--tokens", "N", "Length of the answer. [default: 32]"),
        ] + engineOptions

    static func run(_ arguments: Arguments) async throws -> ExitCode {
        guard arguments.words.count == 1 else { throw UsageError("bench takes one bundle.") }
        let opened = try OpenedBundle(arguments)
        let tokenizer = try opened.tokenizer()
        let engine = try opened.engine(arguments)
        let started = ContinuousClock().now
        try await engine.load()
        let loaded = started.duration(to: ContinuousClock().now)
        try await engine.warmUp()
        let test = SpeedTest(engine: engine, answerTokens: try arguments.count("--tokens") ?? 32)
        let wanted = min(try arguments.count("--prompt-tokens") ?? 128, engine.facts.context)
        let text = repeatElement("The lamp in the kitchen is on. ", count: wanted).joined()
        let ids = Array(tokenizer.encode(text, addSpecialTokens: false).prefix(wanted))
        var speed = try await engine.facts.generatesText ? test.generate(ids) : test.encode([ids])
        speed.loadSeconds = Double(loaded.components.seconds) + Double(loaded.components.attoseconds) / 1e18
        try printJSON(speed)
        return .success
    }
}
