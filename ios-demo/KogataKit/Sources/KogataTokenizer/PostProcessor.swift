/// Puts special tokens around the ids of a text.
enum PostProcessor: Sendable {
    /// The ids before and after the text.
    case around(before: [Int], after: [Int])

    init(_ value: JSON) throws {
        self = try Self.read(value) ?? .around(before: [], after: [])
    }

    /// nil for a processor that adds nothing.
    private static func read(_ value: JSON) throws -> PostProcessor? {
        let type = try Fields.type(of: value, kind: "post-processor")
        let fields = Fields(component: "post-processor \(type)", value: value)
        switch type {
        case "ByteLevel": return nil  // it changes offsets, which this package doesn't give
        case "BertProcessing", "RobertaProcessing":
            return .around(before: [try tokenID(fields, "cls")], after: [try tokenID(fields, "sep")])
        case "TemplateProcessing": return try template(fields)
        case "Sequence":
            let parts = try fields.items("processors").compactMap(read)
            guard parts.count <= 1 else {
                throw fields.unsupported("with several parts that add tokens", "their order has no clear meaning")
            }
            return parts.first
        default: throw TokenizerError.unknownComponent(kind: "post-processor", name: type)
        }
    }

    /// ["[SEP]", 102].
    private static func tokenID(_ fields: Fields, _ name: String) throws -> Int {
        guard let pair = try fields.items(name).last?.integer else {
            throw TokenizerError.wrongField(name: name, component: fields.component, expected: "[token, id]")
        }
        return pair
    }

    private static func template(_ fields: Fields) throws -> PostProcessor {
        let special = try fields.members("special_tokens")
        var (before, after): ([Int], [Int]) = ([], [])
        var hasText = false
        for piece in try fields.items("single") {
            if let sequence = piece["Sequence"] {
                guard sequence["id"]?.name == "A", !hasText else {
                    throw fields.unsupported("a template with a second text", "this package encodes one text")
                }
                hasText = true
            } else if let name = piece["SpecialToken"]?["id"]?.text {
                guard let token = special.last(where: { $0.key == name })?.value,
                    let ids = token["ids"]?.items?.compactMap(\.integer)
                else { throw TokenizerError.tokenNotInVocabulary(token: String(name), component: fields.component) }
                if hasText { after += ids } else { before += ids }
            } else {
                throw TokenizerError.wrongField(
                    name: "single", component: fields.component, expected: "a list of Sequence and SpecialToken")
            }
        }
        guard hasText else { throw fields.unsupported("a template without the text", "the text would be lost") }
        return .around(before: before, after: after)
    }

    var addedCount: Int {
        switch self {
        case .around(let before, let after): before.count + after.count
        }
    }

    func process(_ ids: [Int]) -> [Int] {
        switch self {
        case .around(let before, let after): before + ids + after
        }
    }
}

/// Cuts the ids to a length.
struct Truncation: Sendable {
    private let most: Int
    private let fromLeft: Bool

    /// `addedCount` is the number of special tokens, for which the text must leave room.
    init(_ value: JSON, addedCount: Int) throws {
        let fields = Fields(component: "truncation", value: value)
        most = try fields.integer("max_length")
        guard most >= addedCount else {
            throw fields.unsupported("max_length \(most)", "the special tokens alone are more")
        }
        switch try fields.text("strategy", default: "LongestFirst") {
        case "LongestFirst", "OnlyFirst": break
        case let name: throw fields.unsupported("strategy \(name)", "it needs a second text")
        }
        switch try fields.text("direction", default: "Right") {
        case "Left": fromLeft = true
        case "Right": fromLeft = false
        case let name: throw fields.unsupported("direction \(name)", "there is no such direction")
        }
    }

    func truncate(_ ids: [Int], addedCount: Int) -> [Int] {
        let length = most - addedCount
        guard ids.count > length else { return ids }
        return Array(fromLeft ? ids.suffix(length) : ids.prefix(length))
    }
}

/// Fills the ids up to a length.
struct Padding: Sendable {
    private let length: Int?
    private let multiple: Int
    private let fromLeft: Bool
    private let id: Int
    /// Longer than any model's context, and small enough for a phone's memory.
    private static let longest = 1 << 22

    init(_ value: JSON) throws {
        let fields = Fields(component: "padding", value: value)
        if value["strategy"]?.name == "BatchLongest" {
            length = nil
        } else if let fixed = value["strategy"]?["Fixed"]?.integer {
            length = fixed
        } else {
            throw TokenizerError.wrongField(name: "strategy", component: "padding", expected: "BatchLongest or Fixed")
        }
        multiple = try fields.optional("pad_to_multiple_of", \.integer, "a whole number") ?? 0
        guard max(length ?? 0, multiple) <= Self.longest else {
            throw fields.unsupported("length \(max(length ?? 0, multiple))", "it is more than \(Self.longest)")
        }
        id = try fields.integer("pad_id")
        switch try fields.text("direction", default: "Right") {
        case "Left": fromLeft = true
        case "Right": fromLeft = false
        case let name: throw fields.unsupported("direction \(name)", "there is no such direction")
        }
    }

    func pad(_ ids: [Int]) -> [Int] {
        var target = length ?? ids.count
        if multiple > 0, target % multiple > 0 { target += multiple - target % multiple }
        let filling = Array(repeating: id, count: max(0, target - ids.count))
        return fromLeft ? filling + ids : ids + filling
    }
}
