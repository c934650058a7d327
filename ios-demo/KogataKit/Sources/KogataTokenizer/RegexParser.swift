/// Reads the syntax that `tokenizers` reads (Oniguruma with Ruby's rules), and refuses what it can't execute exactly.
struct RegexParser {
    let pattern: String
    let text: [Unicode.Scalar]
    var position = 0
    var ignoresCase = false
    private var dotMatchesNewline = false
    private var depth = 0

    static func parse(_ pattern: String) throws -> RegexNode {
        var parser = RegexParser(pattern)
        let node = try parser.alternation()
        guard parser.position == parser.text.count else { throw parser.problem("it has a ) without its (") }
        return node
    }

    init(_ pattern: String) {
        self.pattern = pattern
        text = Array(pattern.unicodeScalars)
    }

    func problem(_ reason: String) -> TokenizerError {
        .unsupportedPattern(pattern: pattern, reason: reason)
    }

    var current: Unicode.Scalar? { position < text.count ? text[position] : nil }

    func at(_ words: String) -> Bool {
        text[position...].starts(with: words.unicodeScalars)
    }

    mutating func skip(_ words: String) -> Bool {
        guard at(words) else { return false }
        position += words.unicodeScalars.count
        return true
    }

    /// Switches such as (?i) hold until the end of the group that they stand in.
    private mutating func alternation() throws -> RegexNode {
        depth += 1
        defer { depth -= 1 }
        guard depth < 100 else { throw problem("its groups are nested too deep") }
        let saved = (ignoresCase, dotMatchesNewline)
        defer { (ignoresCase, dotMatchesNewline) = saved }
        var branches = [try sequence()]
        while skip("|") { branches.append(try sequence()) }
        return branches.count == 1 ? branches[0] : .alternation(branches)
    }

    private mutating func sequence() throws -> RegexNode {
        var nodes: [RegexNode] = []
        var last: Unicode.Scalar?
        while let scalar = current, scalar != "|", scalar != ")" {
            let start = position
            let atom = try atom()
            let letter = position - start == 1 ? scalar : nil
            if ignoresCase { try refuseLigature(last, letter) }
            last = letter
            nodes.append(try quantified(atom))
        }
        return nodes.count == 1 ? nodes[0] : .sequence(nodes)
    }

    /// Oniguruma lets two letters match one ligature when it ignores case.
    private func refuseLigature(_ left: Unicode.Scalar?, _ right: Unicode.Scalar?) throws {
        guard let left, let right else { return }
        let pair = "\(left)\(right)".lowercased()
        if ["ss", "st", "ff", "fi", "fl"].contains(pair) {
            throw problem("\"\(pair)\" without regard to case also matches a ligature")
        }
    }

    private mutating func atom() throws -> RegexNode {
        let scalar = text[position]
        position += 1
        switch scalar {
        case "(": return try group()
        case "[": return .set(try characterClass())
        case ".": return .set(dotMatchesNewline ? .all : ScalarSet([0x0A...0x0A]).inverted)
        case "^": return .assertion(.lineStart)
        case "$": return .assertion(.lineEnd)
        case "\\": return try escape()
        case "*", "+", "?": throw problem("a quantifier has nothing before it")
        default: return .set(try cased([scalar.value...scalar.value]))
        }
    }

    /// With `ignoresCase`, both cases of ASCII letters and the two letters outside ASCII that fold to one.
    func cased(_ ranges: [ClosedRange<Scalar>]) throws -> ScalarSet {
        guard ignoresCase else { return ScalarSet(ranges) }
        let outside = ScalarSet([0x80...0x10FFFF])
        guard ScalarSet(ranges).intersection(outside).intersection(Self.casedLetters).boundaries.isEmpty else {
            throw problem("it ignores the case of letters outside ASCII")
        }
        var more = ranges
        for scalar in ranges.flatMap({ $0.clamped(to: 0...0x7F) }) {
            switch scalar {
            case 0x41...0x5A: more.append(scalar + 32...scalar + 32)
            case 0x61...0x7A: more.append(scalar - 32...scalar - 32)
            default: continue
            }
            if scalar | 32 == 0x73 { more.append(0x17F...0x17F) }  // ſ
            if scalar | 32 == 0x6B { more.append(0x212A...0x212A) }  // the Kelvin sign
        }
        return ScalarSet(more)
    }

    /// More than the cased letters: what could have another case in some version of Unicode.
    private static let casedLetters = ["Lu", "Ll", "Lt", "Lm", "Mn", "Nl", "So"]
        .compactMap(UnicodeTables.property).reduce(ScalarSet.empty) { $0.union($1) }

    private mutating func group() throws -> RegexNode {
        let node: RegexNode
        if skip("?:") {
            node = try alternation()
        } else if skip("?=") {
            node = .look(try alternation(), ahead: true, negative: false)
        } else if skip("?!") {
            node = .look(try alternation(), ahead: true, negative: true)
        } else if skip("?<=") {
            node = .look(try lookBehind(), ahead: false, negative: false)
        } else if skip("?<!") {
            node = .look(try lookBehind(), ahead: false, negative: true)
        } else if skip("?>") {
            node = .atomic(try alternation())
        } else if skip("?<") {
            while let scalar = current, scalar != ">" { position += 1 }
            position += 1
            node = try alternation()
        } else if skip("?") {
            return try switches()
        } else {
            node = try alternation()
        }
        guard skip(")") else { throw problem("it has a ( without its )") }
        return node
    }

    private mutating func lookBehind() throws -> RegexNode {
        let node = try alternation()
        guard node.lengths?.count == 1 else { throw problem("a look-behind has no fixed length") }
        return node
    }

    /// (?i:…), or (?i) for the rest of the enclosing group, its alternatives included.
    private mutating func switches() throws -> RegexNode {
        let saved = (ignoresCase, dotMatchesNewline)
        defer { (ignoresCase, dotMatchesNewline) = saved }
        var on = true
        while let scalar = current, scalar != ":", scalar != ")" {
            switch scalar {
            case "-": on = false
            case "i": ignoresCase = on
            case "m": dotMatchesNewline = on
            default: throw problem("it has the unknown group (?\(scalar)")
            }
            position += 1
        }
        if skip(")") { return try alternation() }
        guard skip(":") else { throw problem("it has a ( without its )") }
        let node = try alternation()
        guard skip(")") else { throw problem("it has a ( without its )") }
        return node
    }

    private mutating func quantified(_ atom: RegexNode) throws -> RegexNode {
        var node = atom
        while let (least, most, isInterval) = try quantifier() {
            switch node {
            case .look, .assertion: throw problem("a quantifier follows something without length")
            default: break
            }
            if most != 1, node.isNullable { throw problem("it repeats a part that can match nothing") }
            if let most, most < least { throw problem("an interval is upside down") }
            var kind = RegexNode.Repetition.greedy
            if skip("?") {
                guard !isInterval || least != most else { throw problem("it has a lazy {n}") }
                kind = .lazy
            } else if !isInterval, skip("+") {
                kind = .possessive
            }
            node = .repetition(node, least: least, most: most, kind: kind)
        }
        return node
    }

    private mutating func quantifier() throws -> (least: Int, most: Int?, isInterval: Bool)? {
        if skip("*") { return (0, nil, false) }
        if skip("+") { return (1, nil, false) }
        if skip("?") { return (0, 1, false) }
        guard at("{") else { return nil }
        let start = position
        position += 1
        let least = digits()
        var most = least
        if skip(",") { most = digits() } else if least == nil { most = nil }
        let isOpen = text[position - 1] == ","
        guard skip("}"), least != nil || most != nil else {
            position = start  // Ruby reads a { that opens no interval as itself
            return nil
        }
        guard max(least ?? 0, most ?? 0) <= 1000 else { throw problem("an interval is larger than 1000") }
        return (least ?? 0, isOpen ? nil : most, true)
    }

    private mutating func digits() -> Int? {
        let start = position
        while let scalar = current, ("0"..."9").contains(scalar) { position += 1 }
        return start == position ? nil : Int(String(scalars: text[start..<position].map(\.value)))
    }
}
