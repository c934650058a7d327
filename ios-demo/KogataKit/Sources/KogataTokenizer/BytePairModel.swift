/// Byte pair encoding: joins the pair of tokens with the lowest rank until no pair has one.
struct BytePairModel: Sendable {
    let vocabulary: TokenTable
    /// (left id, right id) → (rank, id of both together).
    private let merges: PairTable
    private let scalarIDs: [Scalar: Int]
    private let byteIDs: [Int?]?
    private let unknown: Int?
    private let fusesUnknown: Bool
    private let ignoresMerges: Bool
    private let prefix: Bytes
    private let suffix: Bytes
    private let cache = WordCache()

    init(_ fields: Fields, isByteLevel: Bool) throws {
        if let dropout = try fields.optional("dropout", \.double, "a number"), dropout != 0 {
            throw fields.unsupported("dropout \(dropout)", "the ids would be random")
        }
        vocabulary = try Model.vocabulary(fields)
        prefix = try fields.optional("continuing_subword_prefix", \.text, "a text") ?? []
        suffix = try fields.optional("end_of_word_suffix", \.text, "a text") ?? []
        fusesUnknown = try fields.flag("fuse_unk", default: false)
        ignoresMerges = try fields.flag("ignore_merges", default: false)
        byteIDs = try fields.flag("byte_fallback", default: false) ? Model.byteTokens(vocabulary) : nil
        let token = try fields.optional("unk_token", \.text, "a text")
        unknown = token.flatMap { [vocabulary] in vocabulary.id(of: $0) }
        // In the byte-level alphabet no character is unknown, and files then name tokens that aren't in the vocabulary.
        if let token, unknown == nil, !isByteLevel {
            throw TokenizerError.tokenNotInVocabulary(token: String(token), component: fields.component)
        }
        merges = try Self.merges(fields, vocabulary, prefix: prefix)
        scalarIDs = Self.scalarIDs(vocabulary)
    }

    private static func scalarIDs(_ vocabulary: TokenTable) -> [Scalar: Int] {
        var result: [Scalar: Int] = [:]
        vocabulary.visit { text, id in
            if let lead = text.first, scalarLength(lead) == text.count { result[scalars(text)[0]] = id }
        }
        return result
    }

    /// "left right" or ["left", "right"], in the order of their rank.
    private static func merges(_ fields: Fields, _ vocabulary: TokenTable, prefix: Bytes) throws -> PairTable {
        let items = try fields.items("merges")
        var table = PairTable(capacity: items.count)
        let isList = items.contains { $0.items != nil }
        for (index, item) in items.enumerated() {
            if !isList, item.text?.starts(with: "#version".utf8) ?? false { continue }
            let parts =
                item.items?.compactMap(\.text)
                ?? item.text?.split(separator: 0x20, omittingEmptySubsequences: false).map(Bytes.init) ?? []
            guard parts.count == 2 else {
                throw TokenizerError.wrongField(
                    name: "merges", component: fields.component, expected: "pairs of tokens")
            }
            let whole = parts[0] + parts[1].dropFirst(prefix.count)
            let ids = try [parts[0], parts[1], whole].map { token in
                guard let id = vocabulary.id(of: token) else {
                    throw TokenizerError.tokenNotInVocabulary(token: String(token), component: fields.component)
                }
                return Int32(truncatingIfNeeded: id)
            }
            table[ids[0], ids[1]] = PairTable.Value(first: Int32(index), second: ids[2])
        }
        return table
    }

    func tokenize(_ word: [Scalar]) -> [Int] {
        if ignoresMerges, let id = vocabulary.id(of: utf8(word)) { return [id] }
        return cache.ids(of: word) { merged(symbols(of: word)) }
    }

    /// One id for each scalar, before any merge.
    private func symbols(of word: [Scalar]) -> [Int32] {
        var result: [Int32] = []
        result.reserveCapacity(word.count)
        var isUnknown = false  // an unknown scalar waits for its token, in case more follow that fuse with it
        for (index, scalar) in word.enumerated() {
            let (id, bytes) = symbol(scalar, isFirst: index == 0, isLast: index == word.count - 1)
            if let id {
                if isUnknown, let unknown { result.append(Int32(truncatingIfNeeded: unknown)) }
                isUnknown = false
                result.append(Int32(truncatingIfNeeded: id))
            } else if let fallback = fallback(bytes) {
                result += fallback
            } else if let unknown {
                if isUnknown, !fusesUnknown { result.append(Int32(truncatingIfNeeded: unknown)) }
                isUnknown = true
            }
        }
        if isUnknown, let unknown { result.append(Int32(truncatingIfNeeded: unknown)) }
        return result
    }

    /// The id of a scalar with its prefix and suffix, or the bytes that have no id.
    private func symbol(_ scalar: Scalar, isFirst: Bool, isLast: Bool) -> (id: Int?, bytes: Bytes) {
        let hasPrefix = !isFirst && !prefix.isEmpty
        let hasSuffix = isLast && !suffix.isEmpty
        if !hasPrefix, !hasSuffix {
            if let id = scalarIDs[scalar] { return (id, []) }
            return (nil, utf8(CollectionOfOne(scalar)))
        }
        let bytes = (hasPrefix ? prefix : []) + utf8(CollectionOfOne(scalar)) + (hasSuffix ? suffix : [])
        return (vocabulary.id(of: bytes), bytes)
    }

    private func fallback(_ bytes: Bytes) -> [Int32]? {
        guard let byteIDs else { return nil }
        var result: [Int32] = []
        for byte in bytes {
            guard let id = byteIDs[Int(byte)] else { return nil }
            result.append(Int32(truncatingIfNeeded: id))
        }
        return result
    }

    private func merged(_ symbols: [Int32]) -> [Int] {
        var word = MergingWord(symbols)
        word.merge(with: merges)
        return word.ids
    }
}

/// The tokens of a word as a linked list, and the possible merges in a heap by rank, then by place.
private struct MergingWord {
    private var symbols: [Int32]
    private var next: [Int32]
    private var previous: [Int32]
    private var isGone: [Bool]
    private var heap: [Candidate] = []

    private struct Candidate {
        let order: UInt64  // rank, then position
        let id: Int32
        var position: Int { Int(order & 0xFFFF_FFFF) }
    }

    init(_ symbols: [Int32]) {
        self.symbols = symbols
        let count = Int32(symbols.count)
        next = (0..<count).map { $0 + 1 < count ? $0 + 1 : -1 }
        previous = (0..<count).map { $0 - 1 }
        isGone = Array(repeating: false, count: symbols.count)
    }

    var ids: [Int] {
        symbols.indices.filter { !isGone[$0] }.map { Int(UInt32(bitPattern: symbols[$0])) }
    }

    mutating func merge(with merges: PairTable) {
        for position in symbols.indices.dropLast() { consider(position, merges) }
        while let top = pop() {
            let left = top.position
            guard !isGone[left], next[left] >= 0 else { continue }
            let right = Int(next[left])
            // The pair may have changed since it was put in.
            guard merges[symbols[left], symbols[right]]?.second == top.id else { continue }
            symbols[left] = top.id
            isGone[right] = true
            next[left] = next[right]
            if next[left] >= 0 { previous[Int(next[left])] = Int32(left) }
            if previous[left] >= 0 { consider(Int(previous[left]), merges) }
            consider(left, merges)
        }
    }

    private mutating func consider(_ position: Int, _ merges: PairTable) {
        guard next[position] >= 0, let merge = merges[symbols[position], symbols[Int(next[position])]] else { return }
        push(Candidate(order: UInt64(UInt32(merge.first)) << 32 | UInt64(position), id: merge.second))
    }

    private mutating func push(_ candidate: Candidate) {
        heap.append(candidate)
        var index = heap.count - 1
        while index > 0, heap[(index - 1) / 2].order > heap[index].order {
            heap.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    private mutating func pop() -> Candidate? {
        guard let top = heap.first else { return nil }
        let last = heap.removeLast()
        guard !heap.isEmpty else { return top }
        heap[0] = last
        var index = 0
        while true {
            var smallest = index
            for child in [2 * index + 1, 2 * index + 2] where child < heap.count {
                if heap[child].order < heap[smallest].order { smallest = child }
            }
            if smallest == index { return top }
            heap.swapAt(index, smallest)
            index = smallest
        }
    }
}
