/// A regular expression as a tree.
indirect enum RegexNode: Sendable {
    case set(ScalarSet)
    case sequence([RegexNode])
    case alternation([RegexNode])
    case repetition(RegexNode, least: Int, most: Int?, kind: Repetition)
    case look(RegexNode, ahead: Bool, negative: Bool)
    case atomic(RegexNode)
    case assertion(Assertion)

    enum Repetition: Sendable { case greedy, lazy, possessive }

    enum Assertion: Sendable { case lineStart, lineEnd, textStart, textEnd, textEndOrNewline, word, notWord }

    /// True where the node can match without a scalar.
    var isNullable: Bool {
        switch self {
        case .set: false
        case .sequence(let nodes): nodes.allSatisfy(\.isNullable)
        case .alternation(let nodes): nodes.contains(where: \.isNullable)
        case .repetition(let node, let least, _, _): least == 0 || node.isNullable
        case .look, .assertion: true
        case .atomic(let node): node.isNullable
        }
    }

    /// About the number of instructions, as repetitions are written out.
    var size: Double {
        switch self {
        case .set, .assertion: 1
        case .sequence(let nodes), .alternation(let nodes): nodes.reduce(1) { $0 + $1.size }
        case .look(let node, _, _), .atomic(let node): 2 + node.size
        case .repetition(.set, _, _, _): 1
        case .repetition(let node, let least, let most, _): 2 + node.size * Double(max(most ?? 0, least + 1))
        }
    }

    /// The number of scalars of each alternative, for look-behind; nil where it isn't fixed.
    var lengths: Set<Int>? {
        switch self {
        case .set: return [1]
        case .look, .assertion: return [0]
        case .atomic(let node): return node.lengths
        case .alternation(let nodes):
            return nodes.reduce(into: Set() as Set<Int>?) { all, node in
                all = node.lengths.flatMap { lengths in all?.union(lengths) }
            }
        case .sequence(let nodes):
            return nodes.reduce([0] as Set<Int>?) { all, node in
                guard let all, let lengths = node.lengths else { return nil }
                return Set(all.flatMap { sum in lengths.map { sum + $0 } })
            }
        case .repetition(let node, let least, let most, _):
            guard least == most, let lengths = node.lengths, lengths.count == 1 else { return nil }
            return Set(lengths.map { $0 * least })
        }
    }

    /// The scalars that a match can begin with; nil where the match can be empty.
    var first: ScalarSet? {
        switch self {
        case .set(let set): return set
        case .look, .assertion: return nil
        case .atomic(let node): return node.first
        case .repetition(let node, let least, _, _): return least == 0 ? nil : node.first
        case .alternation(let nodes):
            var ranges: [ClosedRange<Scalar>] = []
            for node in nodes {
                guard let set = node.first else { return nil }
                ranges += set.ranges
            }
            return ScalarSet(ranges)
        case .sequence(let nodes):
            var ranges: [ClosedRange<Scalar>] = []
            for node in nodes {
                if node.isNullable {
                    guard let set = node.possible else { return nil }
                    ranges += set.ranges
                } else {
                    return node.first.map { ScalarSet(ranges + $0.ranges) }
                }
            }
            return nil
        }
    }

    /// The scalars that a node which may be empty can begin with.
    private var possible: ScalarSet? {
        switch self {
        case .look, .assertion: .empty
        case .repetition(let node, _, _, _): node.isNullable ? nil : node.first
        default: nil
        }
    }
}
