/// A regular expression that splits text as Oniguruma does for `tokenizers`, on every system alike.
///
/// Foundation's engine isn't used: its version of Unicode, and with it \p{L} and the token ids, differs by system.
/// Matching backtracks with a stack of its own, so long runs can't exhaust the thread's stack.
struct Regex: Sendable {
    private let program: RegexProgram

    init(_ pattern: String) throws {
        let node = try RegexParser.parse(pattern)
        guard node.size <= 20_000 else {
            throw TokenizerError.unsupportedPattern(pattern: pattern, reason: "it repeats too much")
        }
        program = RegexProgram(node)
    }

    init(_ node: RegexNode) {
        program = RegexProgram(node)
    }

    init(literal: String) {
        program = RegexProgram(.sequence(literal.unicodeScalars.map { .set(ScalarSet([$0.value...$0.value])) }))
    }

    /// All matches from left to right. An empty match directly after a match is left out.
    func matches(in scalars: [Scalar]) -> [Range<Int>] {
        scalars.withUnsafeBufferPointer { text in
            var matcher = RegexMatcher(program: program, text: text)
            var result: [Range<Int>] = []
            var (from, lastEnd) = (0, -1)
            while from <= text.count, let match = matcher.search(from: from) {
                if match.isEmpty, match.upperBound == lastEnd {
                    from += 1
                } else {
                    result.append(match)
                    from = match.upperBound
                    lastEnd = from
                }
            }
            return result
        }
    }
}

/// Instructions of the matcher.
struct RegexProgram: Sendable {
    enum Instruction: Sendable {
        case set(Int)
        /// As many members of the set as there are, from `least` to `most`; fewer where the rest then matches.
        case run(Int, least: Int, most: Int, possessive: Bool)
        /// Goes on at the first place, and at the second where that fails.
        case split(Int, Int)
        case jump(Int)
        /// The instructions up to `end` as a look-around that begins `behind` scalars before the position.
        case look(end: Int, negative: Bool, behind: Int)
        case atomic(end: Int)
        case assertion(RegexNode.Assertion)
        case accept
    }

    private(set) var instructions: [Instruction] = []
    private(set) var sets: [ScalarSet] = []
    /// The scalars that a match can begin with, where it can't be empty.
    let first: ScalarSet?

    init(_ node: RegexNode) {
        first = node.first
        emit(node)
        instructions.append(.accept)
    }

    private mutating func emit(_ node: RegexNode) {
        switch node {
        case .set(let set):
            instructions.append(.set(add(set)))
        case .sequence(let nodes):
            for node in nodes { emit(node) }
        case .alternation(let nodes):
            emitAlternation(nodes)
        case .repetition(let node, let least, let most, let kind):
            emitRepetition(node, least: least, most: most, kind: kind)
        case .look(let node, let ahead, let negative):
            let behind = ahead ? 0 : node.lengths?.first ?? 0
            emitNested(node) { .look(end: $0, negative: negative, behind: behind) }
        case .atomic(let node):
            emitNested(node) { .atomic(end: $0) }
        case .assertion(let kind):
            instructions.append(.assertion(kind))
        }
    }

    private mutating func add(_ set: ScalarSet) -> Int {
        sets.append(set)
        return sets.count - 1
    }

    private mutating func reserve() -> Int {
        instructions.append(.accept)
        return instructions.count - 1
    }

    private mutating func emitNested(_ node: RegexNode, _ make: (Int) -> Instruction) {
        let start = reserve()
        emit(node)
        instructions.append(.accept)
        instructions[start] = make(instructions.count)
    }

    private mutating func emitAlternation(_ nodes: [RegexNode]) {
        var ends: [Int] = []
        for node in nodes.dropLast() {
            let split = reserve()
            emit(node)
            ends.append(reserve())
            instructions[split] = .split(split + 1, instructions.count)
        }
        if let last = nodes.last { emit(last) }
        for end in ends { instructions[end] = .jump(instructions.count) }
    }

    private mutating func emitRepetition(_ node: RegexNode, least: Int, most: Int?, kind: RegexNode.Repetition) {
        if case .set(let set) = node, kind != .lazy {
            let run = Instruction.run(add(set), least: least, most: most ?? .max, possessive: kind == .possessive)
            instructions.append(run)
            return
        }
        if kind == .possessive {
            emitNested(.repetition(node, least: least, most: most, kind: .greedy)) { .atomic(end: $0) }
            return
        }
        for _ in 0..<least { emit(node) }
        func split(_ start: Int, _ end: Int) -> Instruction {
            kind == .lazy ? .split(end, start + 1) : .split(start + 1, end)
        }
        if let most {
            var splits: [Int] = []
            for _ in least..<most {
                splits.append(reserve())
                emit(node)
            }
            for start in splits { instructions[start] = split(start, instructions.count) }
        } else {
            let start = reserve()
            emit(node)
            instructions.append(.jump(start))
            instructions[start] = split(start, instructions.count)
        }
    }
}
