import Foundation

/// Turns a word into token ids.
enum Model: Sendable {
    case bytePairs(BytePairModel)
    case wordPiece(WordPieceModel)
    case unigram(UnigramModel)
    case wordLevel(WordLevelModel)

    init(_ value: JSON, isByteLevel: Bool) throws {
        let type = try value["type"]?.name ?? Self.guessedType(value)
        let fields = Fields(component: "model \(type)", value: value)
        switch type {
        case "BPE": self = .bytePairs(try BytePairModel(fields, isByteLevel: isByteLevel))
        case "WordPiece": self = .wordPiece(try WordPieceModel(fields))
        case "Unigram": self = .unigram(try UnigramModel(fields))
        case "WordLevel": self = .wordLevel(try WordLevelModel(fields))
        default: throw TokenizerError.unknownComponent(kind: "model", name: type)
        }
    }

    /// Files of old versions name no type. Only BPE has merges.
    private static func guessedType(_ value: JSON) throws -> String {
        guard value["merges"] != nil else { throw TokenizerError.missingField(name: "type", component: "model") }
        return "BPE"
    }

    var vocabulary: TokenTable {
        switch self {
        case .bytePairs(let model): model.vocabulary
        case .wordPiece(let model): model.vocabulary
        case .unigram(let model): model.vocabulary
        case .wordLevel(let model): model.vocabulary
        }
    }

    /// The number of entries; a Unigram vocabulary may hold a text twice.
    var size: Int {
        if case .unigram(let model) = self { model.size } else { vocabulary.count }
    }

    func tokenize(_ word: [Scalar]) -> [Int] {
        switch self {
        case .bytePairs(let model): model.tokenize(word)
        case .wordPiece(let model): model.tokenize(utf8(word))
        case .unigram(let model): model.tokenize(utf8(word))
        case .wordLevel(let model): model.tokenize(utf8(word))
        }
    }

    /// {"token": id, …}.
    static func vocabulary(_ fields: Fields) throws -> TokenTable {
        let members = try fields.members("vocab")
        var table = TokenTable(capacity: members.count)
        for member in members {
            guard let id = member.value.integer else {
                throw TokenizerError.wrongField(
                    name: String(member.key), component: "vocabulary", expected: "a whole number")
            }
            table.set(member.key, id: id)
        }
        return table
    }

    /// The ids of <0x00> to <0xFF>; nil for those that the vocabulary lacks.
    static func byteTokens(_ vocabulary: TokenTable) -> [Int?] {
        let digits = Array("0123456789ABCDEF".utf8)
        return (0..<256).map { byte in
            vocabulary.id(of: Array("<0x".utf8) + [digits[byte >> 4], digits[byte & 15]] + Array(">".utf8))
        }
    }
}

/// The ids of words that were tokenized before. Full, it takes no more.
final class WordCache: @unchecked Sendable {  // the lock guards `words`
    private let lock = NSLock()
    private var words: [[Scalar]: [Int]] = [:]
    private static let capacity = 10_000
    /// Long words seldom come twice.
    private static let longest = 128

    func ids(of word: [Scalar], _ compute: () -> [Int]) -> [Int] {
        guard word.count <= Self.longest else { return compute() }
        if let known = lock.withLock({ words[word] }) { return known }
        let ids = compute()
        lock.withLock {
            if words.count < Self.capacity { words[word] = ids }
        }
        return ids
    }
}

/// Looks up whole words.
struct WordLevelModel: Sendable {
    let vocabulary: TokenTable
    private let unknown: Int

    init(_ fields: Fields) throws {
        vocabulary = try Model.vocabulary(fields)
        let token = try fields.text("unk_token")
        guard let id = vocabulary.id(of: token) else {
            throw TokenizerError.tokenNotInVocabulary(token: String(token), component: fields.component)
        }
        unknown = id
    }

    func tokenize(_ word: Bytes) -> [Int] {
        [vocabulary.id(of: word) ?? unknown]
    }
}

/// Takes the longest token that fits, from left to right, as BERT does.
struct WordPieceModel: Sendable {
    let vocabulary: TokenTable
    private let unknown: Int
    private let prefix: Bytes
    private let mostScalars: Int

    init(_ fields: Fields) throws {
        vocabulary = try Model.vocabulary(fields)
        prefix = try fields.text("continuing_subword_prefix")
        mostScalars = try fields.integer("max_input_chars_per_word")
        let token = try fields.text("unk_token")
        guard let id = vocabulary.id(of: token) else {
            throw TokenizerError.tokenNotInVocabulary(token: String(token), component: fields.component)
        }
        unknown = id
    }

    func tokenize(_ word: Bytes) -> [Int] {
        let length = word.reduce(0) { $0 + ($1 & 0xC0 != 0x80 ? 1 : 0) }
        guard length <= mostScalars else { return [unknown] }
        var ids: [Int] = []
        var start = 0
        while start < word.count {
            guard let (id, end) = longestToken(in: word, from: start) else { return [unknown] }
            ids.append(id)
            start = end
        }
        return ids
    }

    private func longestToken(in word: Bytes, from start: Int) -> (id: Int, end: Int)? {
        let lead = start > 0 ? prefix : []
        var end = min(word.count, start + max(vocabulary.longest - lead.count, 0))
        while end < word.count, end > start, word[end] & 0xC0 == 0x80 { end -= 1 }
        var candidate = lead + word[start..<end]
        while end > start {
            if let id = vocabulary.id(of: candidate) { return (id, end) }
            repeat {
                end -= 1
                candidate.removeLast()
            } while end > start && word[end] & 0xC0 == 0x80
        }
        return nil
    }
}
