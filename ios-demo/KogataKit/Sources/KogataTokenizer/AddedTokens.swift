/// Tokens that are found in the text before the model sees it.
struct AddedTokens: Sendable {
    private struct Token: Sendable {
        let content: Bytes
        let id: Int
        let isSingleWord: Bool
        let stripsLeft: Bool
        let stripsRight: Bool
    }

    private var ids = TokenTable(capacity: 0)
    private var specialIDs: Set<Int> = []
    private var byID: [Int: Token] = [:]
    /// Found in the text as it is.
    private var plain = TokenFinder()
    /// Found in the normalized text, in their own normalized form.
    private var normalized = TokenFinder()

    init(_ values: [JSON], model: Model, normalizer: Normalizer?) throws {
        var entries: [(fields: Fields, content: Bytes, isSpecial: Bool)] = []
        var specials: Set<Bytes> = []
        for value in values {
            let fields = Fields(component: "added token", value: value)
            let content = try fields.text("content")
            guard !content.isEmpty else { continue }
            let isSpecial = try fields.flag("special", default: false)
            if isSpecial { specials.insert(content) }
            entries.append((fields, content, isSpecial))
        }
        var next = model.size
        for entry in entries where ids.id(of: entry.content) == nil {
            let known = model.vocabulary.id(of: entry.content)
            let token = Token(
                content: entry.content, id: known ?? next,
                isSingleWord: try entry.fields.flag("single_word", default: false),
                stripsLeft: try entry.fields.flag("lstrip", default: false),
                stripsRight: try entry.fields.flag("rstrip", default: false))
            if known == nil { next += 1 }
            ids.set(token.content, id: token.id)
            byID[token.id] = token
            if specials.contains(token.content) { specialIDs.insert(token.id) }
        }
        // Special tokens come first: of two with the same normalized form, the first is found.
        for isSpecial in [true, false] {
            for entry in entries where specials.contains(entry.content) == isSpecial {
                let isNormalized = try entry.fields.flag("normalized", default: !entry.isSpecial)
                try add(entry.content, isNormalized: isNormalized, normalizer)
            }
        }
    }

    private mutating func add(_ content: Bytes, isNormalized: Bool, _ normalizer: Normalizer?) throws {
        guard let id = ids.id(of: content) else { return }
        guard isNormalized else {
            plain.add(scalars(content), id: id)
            return
        }
        var text = NormalizedText(scalars(content), tracked: false)
        normalizer?.normalize(&text)
        guard !text.scalars.isEmpty else {
            throw TokenizerError.unsupportedSetting(
                component: "added token \"\(String(content))\"", setting: "normalized",
                reason: "the normalizer leaves nothing of it")
        }
        normalized.add(text.scalars, id: id)
    }

    func id(of token: Bytes) -> Int? { ids.id(of: token) }

    func content(of id: Int) -> Bytes? { byID[id]?.content }

    func isSpecial(_ id: Int) -> Bool { specialIDs.contains(id) }

    /// Texts that are in this list only, not in the model's vocabulary.
    func count(outside vocabulary: TokenTable) -> Int {
        byID.values.reduce(0) { $0 + (vocabulary.id(of: $1.content) == nil ? 1 : 0) }
    }

    /// Takes the added tokens out of the text and normalizes the rest.
    func split(_ text: NormalizedText, normalizer: Normalizer?) -> [Piece] {
        split(text, plain).flatMap { piece -> [Piece] in
            guard piece.id == nil else { return [piece] }
            var text = piece.text
            normalizer?.normalize(&text)
            return split(text, normalized)
        }
    }

    private func split(_ text: NormalizedText, _ finder: TokenFinder) -> [Piece] {
        var pieces: [Piece] = []
        func add(_ range: Range<Int>, id: Int?) {
            if !range.isEmpty { pieces.append(Piece(text: text.slice(range), id: id)) }
        }
        if finder.isEmpty, text.origins == nil { return text.scalars.isEmpty ? [] : [Piece(text: text, id: nil)] }
        let space = UnicodeTables.whitespace
        let scalars = text.scalars
        var (position, done) = (0, 0)
        while let match = finder.next(in: scalars, from: position) {
            position = match.range.upperBound
            guard let token = byID[match.id] else { continue }
            var (start, end) = (match.range.lowerBound, match.range.upperBound)
            if token.isSingleWord, Self.isWord(scalars, start - 1) || Self.isWord(scalars, end) { continue }
            if token.stripsLeft {
                while start > 0, space.contains(scalars[start - 1]) { start -= 1 }
                start = max(start, done)
            }
            if token.stripsRight {
                while end < scalars.count, space.contains(scalars[end]) { end += 1 }
            }
            if done < start { add(done..<start, id: nil) }
            if start < end { add(start..<end, id: match.id) }
            done = end
        }
        if done < scalars.count { add(done..<scalars.count, id: nil) }
        return pieces
    }

    private static func isWord(_ scalars: [Scalar], _ index: Int) -> Bool {
        scalars.indices.contains(index) && UnicodeTables.wordOfRust.contains(scalars[index])
    }
}

/// Finds texts from left to right, the longest at each place.
private struct TokenFinder: Sendable {
    /// (node, scalar) → (next node, id of the text that ends there or -1).
    private var trie = PairTable(capacity: 8)
    private var nodes: Int32 = 0
    private var firsts: Set<Scalar> = []
    private var first = ScalarSet.empty

    var isEmpty: Bool { nodes == 0 }

    mutating func add(_ text: [Scalar], id: Int) {
        var node: Int32 = 0
        for (index, scalar) in text.enumerated() {
            let key = Int32(bitPattern: scalar)
            var entry = trie[node, key] ?? PairTable.Value(first: -1, second: -1)
            if entry.first < 0 {
                nodes += 1
                entry.first = nodes
            }
            if index == text.count - 1, entry.second < 0 { entry.second = Int32(truncatingIfNeeded: id) }
            trie[node, key] = entry
            node = entry.first
        }
        if firsts.insert(text[0]).inserted { first = ScalarSet(firsts) }
    }

    func next(in scalars: [Scalar], from position: Int) -> (range: Range<Int>, id: Int)? {
        var start = position
        while start < scalars.count {
            if first.contains(scalars[start]), let (end, id) = longest(in: scalars, from: start) {
                return (start..<end, id)
            }
            start += 1
        }
        return nil
    }

    private func longest(in scalars: [Scalar], from start: Int) -> (end: Int, id: Int)? {
        var result: (Int, Int)?
        var node: Int32 = 0
        for index in start..<scalars.count {
            guard let entry = trie[node, Int32(bitPattern: scalars[index])] else { break }
            if entry.second >= 0 { result = (index + 1, Int(entry.second)) }
            node = entry.first
        }
        return result
    }
}
