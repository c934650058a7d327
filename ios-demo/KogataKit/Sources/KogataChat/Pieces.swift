/// `chat.json`, as docs/bundle-format.md describes it. Optional fields are absent in files that an older kogata wrote.
struct Pieces: Decodable, Sendable {
    struct Role: Decodable, Sendable {
        let prefix: String
        let suffix: String
        let trim: Bool
        let keepAfter: KeepAfter?
    }

    /// Of a content with `text` in it, only what follows the last `text` is written.
    struct KeepAfter: Decodable, Sendable {
        enum Then: String, Decodable, Sendable {
            case keep
            case stripNewlines = "lstrip_newlines"
            case trim
        }

        let text: String
        let then: Then

        func kept(of content: String) -> String {
            guard let start = endOfLast(text, in: content) else { return content }
            let rest = String(content.unicodeScalars[start...])
            switch then {
            case .keep: return rest
            case .stripNewlines: return String(rest.unicodeScalars.drop { $0 == "\n" })
            case .trim: return trimmed(rest)
            }
        }
    }

    /// The system text stands inside a user turn, before its content.
    struct Around: Decodable, Sendable {
        enum Turn: String, Decodable, Sendable {
            case first, last
        }

        let prefix: String
        let suffix: String
        let trim: Bool?
        let turn: Turn?
        let trimJoined: Bool?
    }

    let start: String
    let roles: [String: Role]
    let systemInUser: Around?
    let defaultSystem: String?
    let skipEmptySystem: Bool?
    let generationPrompt: String
    let forbidden: [String]
    let alternates: Bool
    let stopIds: [Int]
    let stopTexts: [String]

    var trimsSystem: Bool { systemInUser.map { $0.trim ?? false } ?? roles["system"]?.trim ?? false }
}
