import Foundation

/// The chat template of a bundle, reduced to texts around each turn (`tokenizer/chat.json`).
///
/// `kogata export` proves that these texts give the ids of the checkpoint's Jinja template:
///
/// ```swift
/// let chat = try ChatTemplate(folder: bundle.tokenizerFolder)
/// let prompt = try chat.prompt(for: [.user("Turn on the lamp")])
/// let ids = tokenizer.encode(prompt, addSpecialTokens: false)
/// ```
public struct ChatTemplate: Sendable {
    /// The only version that this package reads.
    public static let schemaVersion = 1

    /// Each of these ids ends the answer.
    public let stopIDs: [Int]
    /// Each of these texts ends the answer; it isn't part of the answer.
    public let stopTexts: [String]
    private let pieces: Pieces

    /// - Parameter folder: contains `chat.json`.
    /// - Throws: `ChatError.noTemplate`, `.unknownSchema`, `.badTemplate` or `.notReducible`.
    public init(folder: URL) throws {
        let file = folder.appendingPathComponent("chat.json")
        guard let json = try? Data(contentsOf: file) else { throw ChatError.noTemplate(path: file.path) }
        try self.init(json: json)
    }

    /// - Throws: `ChatError.unknownSchema`, `.badTemplate` or `.notReducible`.
    public init(json: Data) throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let head: Head
        do {
            head = try decoder.decode(Head.self, from: json)
        } catch {
            throw ChatError.badTemplate(reason: "it needs schema_version and reducible")
        }
        guard head.schemaVersion == ChatTemplate.schemaVersion else {
            throw ChatError.unknownSchema(version: head.schemaVersion)
        }
        guard head.reducible else { throw ChatError.notReducible(reason: head.reason ?? "no reason was recorded") }
        do {
            pieces = try decoder.decode(Pieces.self, from: json)
        } catch DecodingError.keyNotFound(let key, _) {
            throw ChatError.badTemplate(reason: "\(key.stringValue) is missing")
        } catch {
            throw ChatError.badTemplate(reason: "a field has the wrong type")
        }
        stopIDs = pieces.stopIds
        stopTexts = pieces.stopTexts
    }

    /// The text of a conversation, ending where the answer begins. Special tokens stand in it as text; encode it without
    /// adding others.
    ///
    /// - Throws: `ChatError`, where the checkpoint's own template would refuse the conversation or give other text.
    public func prompt(for messages: [Message]) throws -> String {
        guard !messages.isEmpty else { throw ChatError.empty }
        var turns = messages[...]
        var system: String?
        if let first = messages.first, first.role == "system" {
            system = first.content
            turns = messages.dropFirst()
        }
        try check(messages, turns: turns)
        system = system.map { pieces.trimsSystem ? trimmed($0) : $0 }
        if system == nil || system == "" && pieces.skipEmptySystem == true {
            system = pieces.defaultSystem.map { pieces.trimsSystem ? trimmed($0) : $0 }
        }
        let holder = pieces.systemInUser.flatMap { around in
            around.turn == .last ? turns.lastIndex { $0.role == "user" } : turns.firstIndex { $0.role == "user" }
        }
        if system != nil && pieces.systemInUser != nil && holder == nil { throw ChatError.systemWithoutUser }
        var text = pieces.start
        if let system, let role = pieces.roles["system"], pieces.systemInUser == nil {
            text += role.prefix + system + role.suffix
        }
        for (index, message) in zip(turns.indices, turns) {
            text += try turn(message, system: index == holder ? system : nil)
        }
        return text + pieces.generationPrompt
    }

    private func check(_ messages: [Message], turns: ArraySlice<Message>) throws {
        for (index, message) in messages.enumerated() {
            let takesSystem = message.role == "system" && pieces.systemInUser != nil
            guard pieces.roles[message.role] != nil || takesSystem else {
                let known = Set(pieces.roles.keys).union(pieces.systemInUser == nil ? [] : ["system"])
                throw ChatError.unknownRole(message.role, known: known.sorted())
            }
            if let text = pieces.forbidden.first(where: { contains($0, in: message.content) }) {
                throw ChatError.forbidden(text: text, index: index)
            }
        }
        for (position, index) in turns.indices.enumerated() {
            if turns[index].role == "system" { throw ChatError.systemNotFirst(index: index) }
            let expected = position % 2 == 0 ? "user" : "assistant"
            if pieces.alternates && turns[index].role != expected {
                throw ChatError.notAlternating(index: index, expected: expected)
            }
        }
        if pieces.alternates && turns.count % 2 == 0 {
            throw ChatError.notAlternating(index: messages.count, expected: "user")
        }
    }

    /// One turn. system: the text that stands inside this turn.
    private func turn(_ message: Message, system: String?) throws -> String {
        guard let role = pieces.roles[message.role] else {
            throw ChatError.unknownRole(message.role, known: pieces.roles.keys.sorted())
        }
        var content = role.keepAfter.map { $0.kept(of: message.content) } ?? message.content
        if let around = pieces.systemInUser, let system {
            let head = around.prefix + system + around.suffix
            let joined = around.trimJoined == true
            if joined { content = message.content }
            content = joined && role.trim ? trimmed(head + content) : head + (role.trim ? trimmed(content) : content)
        } else if role.trim {
            content = trimmed(content)
        }
        return role.prefix + content + role.suffix
    }
}

private struct Head: Decodable {
    let schemaVersion: Int
    let reducible: Bool
    let reason: String?
}
