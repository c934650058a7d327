/// One step from tokens to text.
enum DecoderStep: Sendable {
    /// Where the file names no decoder: a space between the tokens.
    case spaced
    case byteLevel
    case wordPiece(prefix: Bytes, cleansUp: Bool)
    case metaspace(Scalar, dropsFirst: Bool)
    case byteFallback
    case fuse
    case strip(Scalar, start: Int, stop: Int)
    case replace(Regex, with: Bytes)
    case replaceText(Bytes, with: Bytes)
    case endOfWord(Bytes)

    static func steps(_ value: JSON?) throws -> [DecoderStep] {
        guard let value else { return [.spaced] }
        let type = try Fields.type(of: value, kind: "decoder")
        let fields = Fields(component: "decoder \(type)", value: value)
        switch type {
        case "Sequence": return try fields.items("decoders").flatMap { try steps($0) }
        case "ByteLevel": return [.byteLevel]
        case "WordPiece":
            return [.wordPiece(prefix: try fields.text("prefix"), cleansUp: try fields.flag("cleanup"))]
        case "Metaspace":
            let metaspace = try Metaspace(fields)
            return [.metaspace(metaspace.replacement, dropsFirst: metaspace.scheme != .never)]
        case "ByteFallback": return [.byteFallback]
        case "Fuse": return [.fuse]
        case "Strip":
            let (start, stop) = (try fields.integer("start"), try fields.integer("stop"))
            return [.strip(try fields.scalar("content"), start: start, stop: stop)]
        case "Replace":
            let content = try fields.text("content")
            if let text = value["pattern"]?["String"]?.text, !text.isEmpty {
                return [.replaceText(text, with: content)]
            }
            return [.replace(try fields.pattern("pattern"), with: content)]
        case "BPEDecoder":
            let suffix = try fields.text("suffix")
            guard !suffix.isEmpty else { throw fields.unsupported("an empty suffix", "it is everywhere") }
            return [.endOfWord(suffix)]
        default: throw TokenizerError.unknownComponent(kind: "decoder", name: type)
        }
    }

    /// True where the step can change a token that comes in parts, part by part.
    var worksOnParts: Bool {
        switch self {
        case .fuse, .strip: true
        case .replaceText(let text, _): scalarLength(text[0]) == text.count
        default: false
        }
    }

    /// True where the step makes one token of all.
    var fuses: Bool {
        switch self {
        case .fuse, .byteLevel: true
        default: false
        }
    }
}

/// Applies the steps to tokens that arrive one by one. Decoding a whole text is the same with all tokens at once, so
/// that what is streamed and what is decoded can't differ.
struct DecodingChain: Sendable {
    private var stages: [DecodingStage]

    init(_ steps: [DecoderStep], isStreaming: Bool) {
        var isFused = false
        stages = []
        for step in steps {
            stages.append(DecodingStage(step, isFused: isFused, isStreaming: isStreaming))
            isFused = isFused || step.fuses
        }
    }

    /// The text that is certain after this token.
    mutating func append(_ token: Bytes) -> Bytes {
        var tokens = [token]
        for index in stages.indices {
            if tokens.isEmpty { return [] }
            tokens = tokens.count == 1 ? stages[index].append(tokens[0]) : tokens.flatMap { stages[index].append($0) }
        }
        return tokens.count == 1 ? tokens[0] : Bytes(tokens.joined())
    }

    mutating func finish() -> Bytes {
        var tokens: [Bytes] = []
        for index in stages.indices {
            tokens = tokens.flatMap { stages[index].append($0) } + stages[index].finish()
        }
        return Bytes(tokens.joined())
    }
}

/// A step with what it holds back.
private struct DecodingStage: Sendable {
    private let step: DecoderStep
    /// The tokens that arrive are parts of one token.
    private let isFused: Bool
    private let isStreaming: Bool
    private var count = 0
    private var held = Bytes()
    private var lossy = LossyUTF8()
    private var stripped = 0

    init(_ step: DecoderStep, isFused: Bool, isStreaming: Bool) {
        self.step = step
        self.isFused = isFused
        self.isStreaming = isStreaming
    }

    mutating func append(_ token: Bytes) -> [Bytes] {
        if isFused, !step.worksOnParts {
            held += token
            return []
        }
        return whole(token)
    }

    mutating func finish() -> [Bytes] {
        if isFused, !step.worksOnParts { return whole(held, isLast: true) + rest() }
        return rest()
    }

    private mutating func whole(_ token: Bytes, isLast: Bool = false) -> [Bytes] {
        defer { count += 1 }
        switch step {
        case .spaced: return [count > 0 ? [0x20] + token : token]
        case .byteLevel: return [lossy.append(Self.bytes(of: token))]
        case .wordPiece(let prefix, let cleansUp): return [word(token, prefix, cleansUp: cleansUp)]
        case .metaspace(let replacement, let dropsFirst):
            let isDropped = count == 0 && dropsFirst
            return [utf8(scalars(token).compactMap { $0 != replacement ? $0 : isDropped ? nil : 0x20 })]
        case .byteFallback: return fallback(token)
        case .fuse: return [token]
        case .strip(let content, let start, let stop):
            return [isFused ? stripPart(token, content, start, stop) : strip(token, content, start, stop)]
        case .replace(let pattern, let content): return [Self.replace(token, pattern, content)]
        case .replaceText(let text, let content): return [token.replacing(text, with: content)]
        case .endOfWord(let suffix):
            defer { held = isLast ? [] : token }
            if isLast { return [token.replacing(suffix, with: [])] }
            return count > 0 ? [held.replacing(suffix, with: [0x20])] : []
        }
    }

    /// What was held back, now that no token follows.
    private mutating func rest() -> [Bytes] {
        switch step {
        case .byteLevel: return [lossy.finish()]
        case .byteFallback: return bytesHeld()
        case .endOfWord(let suffix): return isFused || count == 0 ? [] : [held.replacing(suffix, with: [])]
        case .strip(let content, let start, let stop): return isFused ? [stripEnd(content, start, stop)] : []
        default: return []
        }
    }

    /// A token in the byte-level alphabet as bytes; another one as it is.
    private static func bytes(of token: Bytes) -> Bytes {
        var result = Bytes()
        for scalar in scalars(token) {
            guard let byte = ByteAlphabet.byte(scalar) else { return token }
            result.append(byte)
        }
        return result
    }

    private func word(_ token: Bytes, _ prefix: Bytes, cleansUp: Bool) -> Bytes {
        var text = token
        if count > 0 { text = token.starts(with: prefix) ? Bytes(token.dropFirst(prefix.count)) : [0x20] + token }
        guard cleansUp else { return text }
        return Self.cleanUps.reduce(text) { $0.replacing($1.old, with: $1.new) }
    }

    private static let cleanUps: [(old: Bytes, new: Bytes)] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
        (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ].map { (Bytes($0.0.utf8), Bytes($0.1.utf8)) }

    /// Tokens such as <0xE3> are bytes of UTF-8. In a stream, bytes that are complete characters go on at once;
    /// otherwise a run of byte tokens is one text, or one U+FFFD for each of its tokens where it isn't UTF-8.
    private mutating func fallback(_ token: Bytes) -> [Bytes] {
        guard let byte = Self.byte(token) else { return bytesHeld() + [token] }
        held.append(byte)
        guard isStreaming, String(validating: held, as: UTF8.self) != nil else { return [] }
        return bytesHeld()
    }

    private mutating func bytesHeld() -> [Bytes] {
        defer { held = [] }
        if held.isEmpty { return [] }
        if String(validating: held, as: UTF8.self) != nil { return [held] }
        return held.map { _ in LossyUTF8.replacement }
    }

    private static func byte(_ token: Bytes) -> UInt8? {
        guard token.count == 6, token.starts(with: Array("<0x".utf8)), token[5] == UInt8(ascii: ">") else { return nil }
        return UInt8(String(token[3..<5]), radix: 16)
    }

    private func strip(_ token: Bytes, _ content: Scalar, _ start: Int, _ stop: Int) -> Bytes {
        let text = scalars(token)
        let first = text.prefix(start).prefix { $0 == content }.count
        let last = text.count - text.suffix(stop).reversed().prefix { $0 == content }.count
        return first < last ? utf8(text[first..<last]) : []
    }

    /// Strips the beginning of a token that comes in parts; its end is held back.
    private mutating func stripPart(_ part: Bytes, _ content: Scalar, _ start: Int, _ stop: Int) -> Bytes {
        if stripped >= start, stop == 0 { return part }
        var text = scalars(held + part)
        held = []
        while stripped < start, let first = text.first {
            if first != content {
                stripped = start
                break
            }
            text.removeFirst()
            stripped += 1
        }
        let tail = text.suffix(stop).reversed().prefix { $0 == content }.count
        held = utf8(text.suffix(tail))
        return utf8(text.dropLast(tail))
    }

    private mutating func stripEnd(_ content: Scalar, _ start: Int, _ stop: Int) -> Bytes {
        defer { held = [] }
        return stop > 0 ? [] : held
    }

    private static func replace(_ token: Bytes, _ pattern: Regex, _ content: Bytes) -> Bytes {
        var text = NormalizedText(scalars(token), tracked: false)
        text.replace(pattern, with: scalars(content))
        return utf8(text.scalars)
    }
}

extension [UInt8] {
    /// Every occurrence of `old` from left to right becomes `new`.
    fileprivate func replacing(_ old: Bytes, with new: Bytes) -> Bytes {
        guard count >= old.count, let first = old.first, contains(first) else { return self }
        var result = Bytes()
        var index = 0
        while index < count {
            if self[index] == first, self[index...].starts(with: old) {
                result += new
                index += old.count
            } else {
                result.append(self[index])
                index += 1
            }
        }
        return result
    }
}
