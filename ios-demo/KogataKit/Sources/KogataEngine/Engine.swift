/// A model that runs in some runtime: a decoder with its KV cache, or an encoder.
///
/// An engine implements the requirements below. Callers use what the extensions add to them: `generate`, `prefill`,
/// `logits(for:from:)`, `warmUp`, `embed`, `classify`. All of these share the same few primitives, so the answers that
/// an app shows and the numbers that parity judges come from the same code.
public protocol Engine: Actor {
    /// What the engine runs, and in what.
    nonisolated var facts: EngineFacts { get }

    /// The tokens whose keys and values are in the cache, in order. Empty for an encoder.
    var cachedTokens: [Int] { get }

    /// Opens the model. May take minutes the first time, while the system prepares the model for its processors.
    /// A second call does nothing.
    func load() async throws

    /// Cuts the cache to its first `position` tokens, then runs `ids` (at least one) after them.
    ///
    /// `position` is at most `cachedTokens.count`, and `position + ids.count` at most `facts.context`. Returns a row of
    /// `vocabulary` numbers for every one of the ids or for the last one only.
    func feed(_ ids: [Int], at position: Int, rows: LogitRows) throws -> [[Float]]

    /// Empties the cache.
    func reset() throws

    /// Runs a text of an encoder, special tokens included. types: a token type for each id.
    func encode(_ ids: [Int], types: [Int]) throws -> EncoderOutput
}

/// Which rows of logits `feed` returns.
public enum LogitRows: Sendable {
    case all
    case last
}

/// What an engine runs, and in what. Device reports name all of it.
public struct EngineFacts: Sendable, Equatable {
    /// The runtime: "coreml" or "onnx".
    public let runtime: String
    /// Path of the artifact inside the bundle.
    public let artifact: String
    /// The artifact's form, as the manifest names it.
    public let form: String
    /// The task, as the manifest names it.
    public let task: String
    /// The processors that the runtime may use.
    public let computeUnits: ComputeUnits
    /// The longest sequence in tokens, prompt and answer together.
    public let context: Int
    /// Ids are below this number. nil: unknown.
    public let vocabularySize: Int?
    /// Tokens of a prompt that are run in one call.
    public let prefillChunk: Int

    public init(
        runtime: String, artifact: String, form: String, task: String, computeUnits: ComputeUnits, context: Int,
        vocabularySize: Int?, prefillChunk: Int
    ) {
        self.runtime = runtime
        self.artifact = artifact
        self.form = form
        self.task = task
        self.computeUnits = computeUnits
        self.context = context
        self.vocabularySize = vocabularySize
        self.prefillChunk = max(1, prefillChunk)
    }

    /// Whether the artifact is a decoder, which generates text; the others are encoders.
    public var generatesText: Bool { task == "text-generation" }

    /// Throws if the model can't take these ids. Runtimes differ in what they do then, or compute nonsense.
    func check(_ ids: [Int]) throws {
        guard !ids.isEmpty else { throw EngineError.emptyText }
        guard ids.count <= context else { throw EngineError.tooLong(tokens: ids.count, context: context) }
        // Core ML's ids have 32 bits.
        if let bad = ids.first(where: { $0 < 0 || $0 >= min(vocabularySize ?? Int.max, Int(Int32.max)) }) {
            throw EngineError.notInVocabulary(id: bad)
        }
    }
}

/// The processors that Core ML may use, named as Core ML names them. onnxruntime here always uses the CPU.
public enum ComputeUnits: String, Sendable, CaseIterable, Codable {
    case cpuOnly
    case cpuAndGPU
    case cpuAndNeuralEngine
    case all

    /// The units for an artifact where nobody asks for others.
    ///
    /// A decoder in the form "flexible" takes any number of tokens and keeps a state. The Neural Engine needs fixed
    /// shapes, and Core ML would only spend time on finding that out. Encoders have enumerated shapes, which it takes.
    public static func preferred(form: String, hasStates: Bool) -> ComputeUnits {
        form == "flexible" && hasStates ? .cpuAndGPU : .all
    }
}

extension Engine {
    /// Runs one token, so that the first answer doesn't wait for what the runtime prepares at its first call.
    public func warmUp() async throws {
        try await load()
        if facts.generatesText {
            _ = try feed([0], at: 0, rows: .last)
            try reset()
        } else {
            _ = try encode([0], types: [0])
        }
    }

    /// Puts `ids` into the cache, in chunks, without computing what the cache holds already.
    ///
    /// Returns the logits after the last id and the number of tokens that were reused. Throws `CancellationError`
    /// between two chunks when the task is cancelled.
    @discardableResult
    public func prefill(_ ids: [Int]) async throws -> (logits: [Float], reused: Int) {
        let reused = min(sharedPrefix(with: ids), ids.count - 1)
        let rows = try await advance(to: ids, from: reused, firstRow: ids.count - 1)
        return (rows[0], max(0, reused))
    }

    /// The logits at the positions `first` to `ids.count - 1`, a row of `vocabulary` numbers each. The row at position
    /// p predicts the token after `ids[p]`.
    public func logits(for ids: [Int], from first: Int = 0) async throws -> [[Float]] {
        let start = min(sharedPrefix(with: ids), first)
        return try await advance(to: ids, from: start, firstRow: first)
    }

    /// Feeds `ids[start...]` in chunks and returns the rows from the position `firstRow` on.
    private func advance(to ids: [Int], from start: Int, firstRow: Int) async throws -> [[Float]] {
        try facts.check(ids)
        guard ids.indices.contains(firstRow) else { throw EngineError.noSuchPosition(firstRow, count: ids.count) }
        try await load()
        var rows: [[Float]] = []
        var position = start
        while position < ids.count {
            try Task.checkCancellation()
            // While this task waited, another may have used the engine: then some tokens have to be run again.
            position = min(position, sharedPrefix(with: ids))
            rows.removeLast(rows.count - max(0, position - firstRow))
            let end = min(position + facts.prefillChunk, ids.count)
            let wanted = max(0, end - max(position, firstRow))
            let made = try feed(Array(ids[position..<end]), at: position, rows: wanted > 1 ? .all : .last)
            rows += made.suffix(wanted)
            position = end
            await Task.yield()
        }
        return rows
    }

    /// The number of leading tokens that `ids` has in common with the cache.
    private func sharedPrefix(with ids: [Int]) -> Int {
        zip(ids, cachedTokens).prefix { $0 == $1 }.count
    }
}
