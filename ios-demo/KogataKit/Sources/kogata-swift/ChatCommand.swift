import Foundation
import KogataBundle
import KogataChat
import KogataEngine
import KogataSampler
import KogataTokenizer

enum ChatCommand: Command {
    static let name = "chat"
    static let usage = "BUNDLE [PROMPT]"
    static let summary = "Answers a prompt, or the lines of standard input as the turns of one conversation."
    static let options =
        [
            Option("--max-tokens", "N", "Longest answer. [default: the model's own, else 128]"),
            Option("--temperature", "T", "0 always takes the most likely token. [default: 0]"),
            Option("--top-k", "N", "Only the N most likely tokens."),
            Option("--top-p", "P", "Only the most likely tokens that have the probability P together."),
            Option("--min-p", "P", "Only tokens at least P times as likely as the most likely one."),
            Option("--repetition-penalty", "R", "Makes tokens that were there before less likely."),
            Option("--seed", "N", "The same seed gives the same answer. [default: 0]"),
            Option("--system", "TEXT", "The system's turn."),
            Option("--stop", "TEXT", "Ends the answer before this text; repeatable."),
            Option("--raw", nil, "Continue the text, without the chat template."),
            Option("--prompts", "FILE", "Answer each line of a .jsonl file by itself, and print JSON."),
        ] + engineOptions

    static func run(_ arguments: Arguments) async throws -> ExitCode {
        guard arguments.words.count <= 2 else { throw UsageError("Put the prompt in quotes: it must be one word.") }
        let opened = try OpenedBundle(arguments)
        guard opened.bundle.manifest.task == "text-generation" else {
            throw EngineError.wrongTask(opened.bundle.manifest.task, needed: "chat")
        }
        let conversation = try Conversation(opened, arguments)
        if let file = arguments.text("--prompts") {
            for line in try TextLine.read(file) { try printJSON(try await conversation.answer(line.messages)) }
        } else if arguments.words.count == 2 {
            _ = try await conversation.show(opening(arguments) + [.user(arguments.words[1])])
        } else {
            try await talk(conversation, opening(arguments))
        }
        return .success
    }

    private static func opening(_ arguments: Arguments) -> [Message] {
        arguments.text("--system").map { [.system($0)] } ?? []
    }

    /// Every line is a turn. The engine only runs what a turn adds to the conversation.
    private static func talk(_ conversation: Conversation, _ opening: [Message]) async throws {
        var messages = opening
        while let line = readLine() {
            guard !line.isEmpty else { continue }
            messages.append(.user(line))
            messages.append(.assistant(try await conversation.show(messages)))
        }
    }
}

/// A model that answers conversations.
private struct Conversation {
    private let tokenizer: Tokenizer
    /// nil: the model only continues texts.
    private let template: ChatTemplate?
    private let engine: any Engine
    private let options: GenerationOptions

    /// A model's answers are at most so long where nothing states a length, as in `kogata run`.
    private static let maxTokens = 128

    init(_ opened: OpenedBundle, _ arguments: Arguments) throws {
        let folder = opened.bundle.tokenizerFolder
        tokenizer = try opened.tokenizer()
        engine = try opened.engine(arguments)
        template = try arguments.has("--raw") ? nil : Conversation.template(folder)
        let defaults = GenerationDefaults(folder: folder, tokenizer: tokenizer)
        options = GenerationOptions(
            maxTokens: try arguments.count("--max-tokens") ?? defaults.maxTokens ?? Conversation.maxTokens,
            endIDs: defaults.endIDs.union(template?.stopIDs ?? []),
            stopTexts: arguments.all("--stop") + (template?.stopTexts ?? []),
            sampling: try Conversation.sampling(arguments))
    }

    /// Prints an answer while it is generated, and returns it.
    func show(_ messages: [Message]) async throws -> String {
        var answer = ""
        for try await event in try generate(try ids(messages)) {
            guard case .text(let piece) = event else { continue }
            answer += piece
            standardOutput(piece)
        }
        standardOutput("\n")
        return answer
    }

    /// One answer with everything about it.
    func answer(_ messages: [Message]) async throws -> Answer {
        let prompt = try ids(messages)
        let (ids, text, result) = try await generate(prompt).collect()
        return Answer(promptIDs: prompt, ids: ids, text: text, reason: result.map { name(of: $0.reason) } ?? "")
    }

    struct Answer: Encodable {
        let promptIDs: [Int]
        let ids: [Int]
        let text: String
        let reason: String

        private enum CodingKeys: String, CodingKey {
            case ids, text, reason
            case promptIDs = "prompt_ids"
        }
    }

    private func generate(_ prompt: [Int]) throws -> Generation {
        engine.generate(prompt, options: options, decoder: tokenizer.stream())
    }

    private func ids(_ messages: [Message]) throws -> [Int] {
        guard let template else { return tokenizer.encode(messages.map(\.content).joined(separator: "\n")) }
        return tokenizer.encode(try template.prompt(for: messages), addSpecialTokens: false)
    }

    /// A bundle without chat.json has no chat template, unless an older kogata wrote it.
    private static func template(_ folder: URL) throws -> ChatTemplate? {
        let has = { FileManager.default.fileExists(atPath: folder.appendingPathComponent($0).path) }
        if has("chat.json") { return try ChatTemplate(folder: folder) }
        guard !has("chat_template.jinja") else {
            throw UsageError("The bundle has a chat template, but no chat.json: export it again, or use --raw.")
        }
        return nil
    }

    private static func sampling(_ arguments: Arguments) throws -> SamplingOptions {
        var options = SamplingOptions.greedy
        options.temperature = try arguments.number("--temperature") ?? options.temperature
        options.topK = try arguments.number("--top-k") ?? options.topK
        options.topP = try arguments.number("--top-p") ?? options.topP
        options.minP = try arguments.number("--min-p") ?? options.minP
        options.repetitionPenalty = try arguments.number("--repetition-penalty") ?? options.repetitionPenalty
        options.seed = try arguments.number("--seed") ?? options.seed
        return options
    }
}

private func name(of reason: StopReason) -> String {
    switch reason {
    case .endToken: "end token"
    case .stopText: "stop text"
    case .length: "length"
    case .contextFull: "context full"
    case .cancelled: "cancelled"
    }
}
