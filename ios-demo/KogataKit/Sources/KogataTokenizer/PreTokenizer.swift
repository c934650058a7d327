/// A part of the text on its way to the model: a text still, or the id of an added token.
struct Piece: Sendable {
    var text: NormalizedText
    var id: Int?
}

/// Splits the text into words.
indirect enum PreTokenizer: Sendable {
    case sequence([PreTokenizer])
    case byteLevel(addsPrefixSpace: Bool, splits: Bool)
    case split(Regex, SplitBehavior, inverted: Bool)
    case whitespace
    case removed(ScalarSet)
    case punctuation(SplitBehavior)
    case digits(SplitBehavior)
    case metaspace(Metaspace)
    case bert
    case fixedLength(Int)

    init(_ value: JSON) throws {
        let type = try Fields.type(of: value, kind: "pre-tokenizer")
        let fields = Fields(component: "pre-tokenizer \(type)", value: value)
        switch type {
        case "Sequence": self = .sequence(try fields.items("pretokenizers").map(PreTokenizer.init))
        case "ByteLevel":
            let splits = try fields.flag("use_regex", default: true)
            self = .byteLevel(addsPrefixSpace: try fields.flag("add_prefix_space"), splits: splits)
        case "Split":
            self = .split(
                try fields.pattern("pattern"), try SplitBehavior(fields), inverted: try fields.flag("invert"))
        case "Whitespace": self = .whitespace
        case "WhitespaceSplit": self = .removed(UnicodeTables.whitespace)
        case "CharDelimiterSplit": self = .removed(ScalarSet([try fields.scalar("delimiter")]))
        case "Punctuation": self = .punctuation(try SplitBehavior(fields, default: .isolated))
        case "Digits": self = .digits(try fields.flag("individual_digits") ? .isolated : .contiguous)
        case "Metaspace": self = .metaspace(try Metaspace(fields))
        case "BertPreTokenizer": self = .bert
        case "FixedLength":
            let length = try fields.optional("length", \.integer, "a whole number") ?? 5
            guard length > 0 else { throw fields.unsupported("length 0", "a part needs a character") }
            self = .fixedLength(length)
        default: throw TokenizerError.unknownComponent(kind: "pre-tokenizer", name: type)
        }
    }

    /// True where a part of this pre-tokenizer asks for positions in the original text.
    var needsOrigins: Bool {
        switch self {
        case .sequence(let parts): parts.contains(where: \.needsOrigins)
        case .metaspace(let metaspace): metaspace.scheme == .first
        default: false
        }
    }

    /// True where every text comes out in the byte-level alphabet.
    var isByteLevel: Bool {
        switch self {
        case .sequence(let parts): parts.last?.isByteLevel ?? false
        case .byteLevel: true
        default: false
        }
    }

    func split(_ pieces: [Piece]) -> [Piece] {
        switch self {
        case .sequence(let parts): parts.reduce(pieces) { $1.split($0) }
        case .bert:
            PreTokenizer.punctuation(.isolated).split(PreTokenizer.removed(UnicodeTables.whitespace).split(pieces))
        default: pieces.flatMap { $0.id == nil ? split($0.text) : [$0] }
        }
    }

    private func split(_ whole: NormalizedText) -> [Piece] {
        var text = whole
        let parts: [NormalizedText]
        switch self {
        case .byteLevel(let addsPrefixSpace, let splits):
            if addsPrefixSpace, text.scalars.first != 0x20 { text.prepend([0x20]) }
            parts = (splits ? text.split(Self.gpt2, .isolated) : [text]).map { part in
                var part = part
                part.mapToByteAlphabet()
                return part
            }
        case .split(let pattern, let behavior, let inverted):
            parts = text.split(pattern, behavior, inverted: inverted)
        case .whitespace: parts = text.split(Self.words, .removed, inverted: true)
        case .removed(let set): parts = text.split(set, .removed)
        case .punctuation(let behavior): parts = text.split(UnicodeTables.bertPunctuation, behavior)
        case .digits(let behavior): parts = text.split(UnicodeTables.numeric, behavior)
        case .metaspace(let metaspace): parts = metaspace.split(text)
        case .fixedLength(let length):
            parts = stride(from: 0, to: text.scalars.count, by: length).map {
                text.slice($0..<min($0 + length, text.scalars.count))
            }
        case .sequence, .bert: parts = [text]
        }
        return parts.compactMap { $0.scalars.isEmpty ? nil : Piece(text: $0, id: nil) }
    }

    /// The pattern of ByteLevel: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    private static let gpt2 = fixed(#"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#)

    /// The pattern of Whitespace: \w+|[^\w\s]+ with the word characters of Rust's `regex`.
    private static let words: Regex = {
        let word = UnicodeTables.wordOfRust
        let other = word.union(UnicodeTables.whitespace).inverted
        return Regex(
            .alternation([word, other].map { .repetition(.set($0), least: 1, most: nil, kind: .possessive) }))
    }()

    private static func fixed(_ pattern: String) -> Regex {
        do { return try Regex(pattern) } catch { preconditionFailure("\(error)") }
    }
}

/// What becomes of the matches when a text is split.
enum SplitBehavior: Sendable {
    case removed, isolated, mergedWithPrevious, mergedWithNext, contiguous

    init(_ fields: Fields, default standard: SplitBehavior? = nil) throws {
        guard let name = try fields.optional("behavior", \.name, "a text") else {
            guard let standard else {
                throw TokenizerError.missingField(name: "behavior", component: fields.component)
            }
            self = standard
            return
        }
        switch name {
        case "Removed": self = .removed
        case "Isolated": self = .isolated
        case "MergedWithPrevious": self = .mergedWithPrevious
        case "MergedWithNext": self = .mergedWithNext
        case "Contiguous": self = .contiguous
        default: throw fields.unsupported("behavior \(name)", "there is no such behavior")
        }
    }
}

/// Replaces spaces by a visible character, puts one before the text, and splits before each.
struct Metaspace: Sendable {
    enum Scheme: Sendable { case first, always, never }

    let replacement: Scalar
    let scheme: Scheme
    private let splits: Bool
    private static let space = Regex(literal: " ")

    init(_ fields: Fields) throws {
        replacement = try fields.scalar("replacement")
        splits = try fields.flag("split", default: true)
        switch try fields.text("prepend_scheme", default: "always") {
        case "first": scheme = .first
        case "always": scheme = .always
        case "never": scheme = .never
        case let name: throw fields.unsupported("prepend_scheme \(name)", "there is no such scheme")
        }
        if try !fields.flag("add_prefix_space", default: true), scheme != .never {
            throw fields.unsupported("add_prefix_space false", "it contradicts prepend_scheme")
        }
    }

    func split(_ whole: NormalizedText) -> [NormalizedText] {
        var text = whole
        text.replace(Self.space, with: [replacement])
        let isAtStart = text.origins == nil || text.shift == 0
        if text.scalars.first != replacement, scheme == .always || (scheme == .first && isAtStart) {
            text.prepend([replacement])
        }
        return splits ? text.split(ScalarSet([replacement]), .mergedWithNext) : [text]
    }
}
