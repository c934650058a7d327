import Foundation

/// Why a conversation can't be turned into a prompt. Each case describes itself in a sentence.
public enum ChatError: Error, Equatable, Sendable {
    /// The bundle has no `tokenizer/chat.json`: the checkpoint has no chat template.
    case noTemplate(path: String)
    /// `chat.json` has a `schema_version` that this package doesn't know.
    case unknownSchema(version: Int)
    /// `chat.json` isn't what `kogata export` writes.
    case badTemplate(reason: String)
    /// The checkpoint's template can't be reduced to pieces per role.
    case notReducible(reason: String)
    /// There is no message.
    case empty
    /// The template takes no such role.
    case unknownRole(String, known: [String])
    /// A system message must be the first message.
    case systemNotFirst(index: Int)
    /// The template takes a system text only inside the first user message, and there is none after it.
    case systemWithoutUser
    /// User and assistant must take turns, beginning with the user.
    case notAlternating(index: Int, expected: String)
    /// A message contains a text that the template treats specially.
    case forbidden(text: String, index: Int)
}

extension ChatError: LocalizedError {
    public var errorDescription: String? {
        switch self {
        case .noTemplate(let path):
            "There is no chat template at \(path): this model isn't made for conversations."
        case .unknownSchema(let version):
            "chat.json has schema version \(version); this app knows version \(ChatTemplate.schemaVersion) only."
        case .badTemplate(let reason):
            "chat.json can't be used: \(reason)."
        case .notReducible(let reason):
            "The model's chat template needs a Jinja interpreter: \(reason)."
        case .empty:
            "The conversation has no message."
        case .unknownRole(let role, let known):
            "The model's chat template takes no '\(role)' message. It takes: \(known.joined(separator: ", "))."
        case .systemNotFirst(let index):
            "Message \(index + 1) is a system message. Only the first message can be one."
        case .systemWithoutUser:
            "The model's chat template puts the system text into the first user message, and there is none."
        case .notAlternating(let index, let expected):
            "Message \(index + 1) must come from the \(expected): user and assistant take turns, the user begins."
        case .forbidden(let text, let index):
            "Message \(index + 1) contains '\(text)', which the model's chat template treats specially."
        }
    }
}
