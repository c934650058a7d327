import Foundation
import KogataSampler

/// How an answer is generated and when it ends.
public struct GenerationOptions: Sendable {
    /// The most tokens of an answer. nil: as many as the context has room for.
    public var maxTokens: Int?
    /// The ids that end an answer. They aren't part of it.
    public var endIDs: Set<Int>
    /// Texts that end an answer. They aren't part of its text.
    public var stopTexts: [String]
    public var sampling: SamplingOptions

    public init(
        maxTokens: Int? = nil, endIDs: Set<Int> = [], stopTexts: [String] = [],
        sampling: SamplingOptions = .greedy
    ) {
        self.maxTokens = maxTokens
        self.endIDs = endIDs
        self.stopTexts = stopTexts
        self.sampling = sampling
    }
}

/// Why an answer ended.
public enum StopReason: Sendable, Equatable {
    case endToken(Int)
    case stopText(String)
    /// It has as many tokens as were asked for.
    case length
    /// Prompt and answer fill the model's context.
    case contextFull
    case cancelled
}

/// How an answer went.
public struct GenerationResult: Sendable, Equatable {
    public let reason: StopReason
    public let promptTokens: Int
    /// Tokens of the prompt that were in the cache already.
    public let reusedTokens: Int
    public let generatedTokens: Int
    /// From the call to the first token.
    public let firstTokenSeconds: Double
    /// From the first token to the last one.
    public let decodeSeconds: Double

    /// nil for an answer with fewer than two tokens.
    public var decodeTokensPerSecond: Double? {
        generatedTokens > 1 && decodeSeconds > 0 ? Double(generatedTokens - 1) / decodeSeconds : nil
    }

    /// nil if every token of the prompt was in the cache.
    public var prefillTokensPerSecond: Double? {
        promptTokens > reusedTokens && firstTokenSeconds > 0
            ? Double(promptTokens - reusedTokens) / firstTokenSeconds : nil
    }
}

/// What a running answer reports.
public enum GenerationEvent: Sendable, Equatable {
    /// The next token of the answer.
    case token(Int)
    /// The next part of the answer's text: never empty, never half a character, never a part of a stop text.
    case text(String)
    /// The answer is complete. The last event.
    case stopped(GenerationResult)
}

/// Turns token ids into text as they come. `KogataTokenizer.StreamingDecoder` is one.
public protocol TokenTextDecoder: Sendable {
    mutating func append(_ id: Int) -> String
    mutating func finish() -> String
}

/// A running answer: an asynchronous sequence of events.
///
/// The answer ends early when `cancel` is called, when the task that reads it is cancelled, or when nothing refers to
/// it any more. After `cancel`, the last event is `stopped` with the reason `cancelled`.
public struct Generation: AsyncSequence, Sendable {
    public typealias Element = GenerationEvent

    private let stream: AsyncThrowingStream<GenerationEvent, any Error>
    private let task: Task<Void, Never>

    init(_ produce: @escaping @Sendable (@escaping @Sendable (GenerationEvent) -> Void) async throws -> Void) {
        let (stream, continuation) = AsyncThrowingStream<GenerationEvent, any Error>.makeStream()
        let task = Task {
            do {
                try await produce { continuation.yield($0) }
                continuation.finish()
            } catch {
                continuation.finish(throwing: error)
            }
        }
        continuation.onTermination = { _ in task.cancel() }
        self.stream = stream
        self.task = task
    }

    public func makeAsyncIterator() -> AsyncThrowingStream<GenerationEvent, any Error>.Iterator {
        stream.makeAsyncIterator()
    }

    /// Ends the answer after the token that is being computed.
    public func cancel() { task.cancel() }

    /// Waits for the whole answer.
    public func collect() async throws -> (ids: [Int], text: String, result: GenerationResult?) {
        var ids: [Int] = []
        var text = ""
        var result: GenerationResult?
        for try await event in self {
            switch event {
            case .token(let id): ids.append(id)
            case .text(let piece): text += piece
            case .stopped(let end): result = end
            }
        }
        return (ids, text, result)
    }
}

extension Engine {
    /// Generates an answer to `prompt`. decoder: turns the answer's ids into text; without one there are no events
    /// `text`, and stop texts have no effect.
    ///
    /// A prompt that begins like what is in the cache, such as the next turn of a conversation, is only run from the
    /// first token on that differs.
    public nonisolated func generate(
        _ prompt: [Int], options: GenerationOptions = GenerationOptions(), decoder: (any TokenTextDecoder)? = nil
    ) -> Generation {
        Generation { emit in
            let answer = AnswerWriter(decoder: decoder, stops: StopTexts(options.stopTexts), emit: emit)
            try await self.answer(prompt, options, answer)
        }
    }

    /// The loop: logits, a token, its text, until something ends the answer.
    private func answer(_ prompt: [Int], _ options: GenerationOptions, _ writer: AnswerWriter) async throws {
        guard facts.generatesText else { throw EngineError.wrongTask(facts.task, needed: "generation") }
        try await load()  // not part of the time to the first token
        var writer = writer
        var sampler = try Sampler(options: options.sampling)
        var text = prompt
        var clock = AnswerClock()
        var reused = 0
        var reason: StopReason?
        do {
            while reason == nil {
                let (logits, shared) = try await prefill(text)
                if text.count == prompt.count { reused = shared }
                let id = try sampler.sample(logits, history: text)
                clock.tick()
                if options.endIDs.contains(id) {
                    reason = .endToken(id)
                    break
                }
                text.append(id)
                reason = writer.write(id).map(StopReason.stopText)
                if reason == nil, let most = options.maxTokens, text.count - prompt.count >= most { reason = .length }
                // The last token is never run, so an answer may end one token beyond the context.
                if reason == nil, text.count > facts.context { reason = .contextFull }
            }
        } catch is CancellationError {
            reason = .cancelled
        }
        writer.finish(
            GenerationResult(
                reason: reason ?? .cancelled, promptTokens: prompt.count, reusedTokens: reused,
                generatedTokens: text.count - prompt.count, firstTokenSeconds: clock.firstSeconds,
                decodeSeconds: clock.decodeSeconds))
    }
}

/// Reports the tokens of an answer and their text.
struct AnswerWriter: Sendable {
    var decoder: (any TokenTextDecoder)?
    var stops: StopTexts
    let emit: @Sendable (GenerationEvent) -> Void
    private var stopped = false

    init(decoder: (any TokenTextDecoder)?, stops: StopTexts, emit: @escaping @Sendable (GenerationEvent) -> Void) {
        self.decoder = decoder
        self.stops = stops
        self.emit = emit
    }

    /// Returns the stop text that the token completed.
    mutating func write(_ id: Int) -> String? {
        emit(.token(id))
        guard let piece = decoder?.append(id) else { return nil }
        let (text, found) = stops.append(piece)
        if !text.isEmpty { emit(.text(text)) }
        stopped = found != nil
        return found
    }

    /// Reports the text that was held back, and the end.
    mutating func finish(_ result: GenerationResult) {
        if !stopped {
            let (text, found) = stops.append(decoder?.finish() ?? "")
            let rest = found == nil ? text + stops.finish() : text
            if !rest.isEmpty { emit(.text(rest)) }
        }
        emit(.stopped(result))
    }
}

/// When the first and the last token came.
private struct AnswerClock {
    private let clock = ContinuousClock()
    private let start: ContinuousClock.Instant
    private var first: ContinuousClock.Instant?
    private var last: ContinuousClock.Instant?

    init() { start = clock.now }

    mutating func tick() {
        last = clock.now
        first = first ?? last
    }

    var firstSeconds: Double { first.map { seconds(start.duration(to: $0)) } ?? 0 }

    var decodeSeconds: Double {
        guard let first, let last else { return 0 }
        return seconds(first.duration(to: last))
    }

    private func seconds(_ duration: Duration) -> Double {
        Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
    }
}
