/// The tokens with the highest sum of scores (Viterbi), as sentencepiece's unigram model has them.
struct UnigramModel: Sendable {
    let vocabulary: TokenTable
    let size: Int
    private let scores: [Double]
    private let unknown: Int
    private let unknownScore: Double
    private let byteIDs: [Int?]?
    /// (node, byte) → (next node, id of the token that ends there or -1). The root is 0.
    private let trie: PairTable

    init(_ fields: Fields) throws {
        let items = try fields.items("vocab")
        var table = TokenTable(capacity: items.count)
        var scores: [Double] = []
        for item in items {
            guard let pair = item.items, pair.count == 2, let text = pair[0].text, let score = pair[1].double else {
                throw TokenizerError.wrongField(
                    name: "vocab", component: fields.component, expected: "[token, score] pairs")
            }
            table.set(text, id: scores.count)
            scores.append(score)
        }
        guard let unknown = try fields.optional("unk_id", \.integer, "a whole number") else {
            throw fields.unsupported("unk_id null", "some text would have no token")
        }
        guard unknown < scores.count else {
            throw TokenizerError.tokenNotInVocabulary(token: "unk_id \(unknown)", component: fields.component)
        }
        self.scores = scores
        self.unknown = unknown
        vocabulary = table
        size = scores.count
        unknownScore = (scores.min() ?? 0) - 10  // sentencepiece's penalty
        byteIDs = try fields.flag("byte_fallback", default: false) ? Model.byteTokens(table) : nil
        trie = Self.trie(table)
    }

    private static func trie(_ vocabulary: TokenTable) -> PairTable {
        var table = PairTable(capacity: vocabulary.count * 3)
        var nodes: Int32 = 0
        vocabulary.visit { text, id in
            var node: Int32 = 0
            for (index, byte) in text.enumerated() {
                var entry = table[node, Int32(byte)] ?? PairTable.Value(first: -1, second: -1)
                if entry.first < 0 {
                    nodes += 1
                    entry.first = nodes
                }
                if index == text.count - 1 { entry.second = Int32(id) }
                table[node, Int32(byte)] = entry
                node = entry.first
            }
        }
        return table
    }

    func tokenize(_ word: Bytes) -> [Int] {
        guard !word.isEmpty else { return [] }
        let path = bestPath(word)
        var pieces: [Range<Int>] = []
        var end = word.count
        var unknownEnd: Int?
        while end > 0 {
            let start = path[end].start
            if path[end].id == unknown {
                unknownEnd = unknownEnd ?? end  // unknown pieces in a row are one
            } else {
                if let last = unknownEnd { pieces.append(end..<last) }
                unknownEnd = nil
                pieces.append(start..<end)
            }
            end = start
        }
        if let last = unknownEnd { pieces.append(0..<last) }
        return pieces.reversed().flatMap { ids(of: Bytes(word[$0])) }
    }

    private func ids(of piece: Bytes) -> [Int] {
        if let id = vocabulary.id(of: piece) { return [id] }
        if let byteIDs {
            let ids = piece.compactMap { byteIDs[Int($0)] }
            if ids.count == piece.count { return ids }
        }
        return [unknown]
    }

    private struct Node {
        var id = 0
        var score = 0.0
        var start = -1
    }

    /// For each end in bytes, the last token of the best path to it.
    private func bestPath(_ word: Bytes) -> [Node] {
        var path = [Node](repeating: Node(), count: word.count + 1)
        func offer(_ id: Int, _ score: Double, from start: Int, to end: Int) {
            if path[end].start < 0 || score > path[end].score { path[end] = Node(id: id, score: score, start: start) }
        }
        var start = 0
        while start < word.count {
            let length = scalarLength(word[start])
            var hasWhole = false
            var node: Int32 = 0
            for end in start..<word.count {
                guard let entry = trie[node, Int32(word[end])] else { break }
                node = entry.first
                guard entry.second >= 0 else { continue }
                offer(Int(entry.second), scores[Int(entry.second)] + path[start].score, from: start, to: end + 1)
                hasWhole = hasWhole || end + 1 - start == length
            }
            if !hasWhole { offer(unknown, unknownScore + path[start].score, from: start, to: start + length) }
            start += length
        }
        return path
    }
}
