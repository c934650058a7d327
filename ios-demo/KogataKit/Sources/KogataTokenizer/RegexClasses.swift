/// Escapes and character classes of `RegexParser`.
extension RegexParser {
    /// After the backslash.
    mutating func escape() throws -> RegexNode {
        guard let scalar = current else { throw problem("it ends with a backslash") }
        switch scalar {
        case "A": return assertion(.textStart)
        case "z": return assertion(.textEnd)
        case "Z": return assertion(.textEndOrNewline)
        case "b": return assertion(.word)
        case "B": return assertion(.notWord)
        case "R":
            position += 1
            let single = RegexNode.set(ScalarSet([0x0A...0x0D, 0x85...0x85, 0x2028...0x2029]))
            let pair = RegexNode.sequence([.set(ScalarSet([0x0D...0x0D])), .set(ScalarSet([0x0A...0x0A]))])
            return .atomic(.alternation([pair, single]))
        default: return .set(try escapedSet())
        }
    }

    private mutating func assertion(_ kind: RegexNode.Assertion) -> RegexNode {
        position += 1
        return .assertion(kind)
    }

    /// What an escape stands for, inside and outside of a class.
    private mutating func escapedSet() throws -> ScalarSet {
        guard let scalar = current else { throw problem("it ends with a backslash") }
        position += 1
        switch scalar {
        case "s": return UnicodeTables.whitespace
        case "S": return UnicodeTables.whitespace.inverted
        case "w": return UnicodeTables.wordOfOniguruma
        case "W": return UnicodeTables.wordOfOniguruma.inverted
        case "d": return try named("Nd")
        case "D": return try named("Nd").inverted
        case "h": return ScalarSet([0x30...0x39, 0x41...0x46, 0x61...0x66])
        case "H": return ScalarSet([0x30...0x39, 0x41...0x46, 0x61...0x66]).inverted
        case "p", "P": return try property(isNegated: scalar == "P")
        default:
            position -= 1
            let value = try escapedScalar()
            return try cased([value...value])
        }
    }

    private mutating func escapedScalar() throws -> Scalar {
        let scalar = text[position]
        position += 1
        switch scalar {
        case "n": return 0x0A
        case "t": return 0x09
        case "r": return 0x0D
        case "f": return 0x0C
        case "v": return 0x0B
        case "a": return 0x07
        case "e": return 0x1B
        case "u": return try hexadecimal(digits: 4...4)
        case "x":
            guard skip("{") else {
                let byte = try hexadecimal(digits: 1...2)
                guard byte < 0x80 else { throw problem("it writes a part of a character as \\x") }
                return byte
            }
            let value = try hexadecimal(digits: 1...8)
            guard skip("}") else { throw problem("a \\x{ has no }") }
            return value
        default:
            guard !(scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar))) else {
                throw problem("it has the escape \\\(scalar)")
            }
            return scalar.value
        }
    }

    private mutating func hexadecimal(digits: ClosedRange<Int>) throws -> Scalar {
        let start = position
        while position - start < digits.upperBound, let scalar = current, scalar.properties.isASCIIHexDigit {
            position += 1
        }
        guard position - start >= digits.lowerBound,
            let value = Scalar(String(scalars: text[start..<position].map(\.value)), radix: 16), value < 0x110000
        else { throw problem("an escape has no hexadecimal digits") }
        return value
    }

    private func named(_ name: String) throws -> ScalarSet {
        guard let set = UnicodeTables.property(name) else { throw problem("it has the property \\p{\(name)}") }
        return set
    }

    private mutating func property(isNegated: Bool) throws -> ScalarSet {
        guard skip("{") else { throw problem("a \\p has no {") }
        let inverted = skip("^") != isNegated
        let start = position
        while let scalar = current, scalar != "}" { position += 1 }
        let name = String(scalars: text[start..<position].map(\.value))
        guard skip("}") else { throw problem("a \\p{ has no }") }
        guard !ignoresCase else { throw problem("it ignores case in \\p{\(name)}") }
        let set = try named(name)
        return inverted ? set.inverted : set
    }

    /// After the opening bracket.
    mutating func characterClass() throws -> ScalarSet {
        let isNegated = skip("^")
        var result: ScalarSet?
        var members = ScalarSet.empty
        var isFirst = true
        while let scalar = current, scalar != "]" || isFirst {
            isFirst = false
            if skip("&&") {
                result = result.map { $0.intersection(members) } ?? members
                members = .empty
            } else if at("[:") {
                throw problem("it has a POSIX bracket such as [:alpha:]")
            } else if skip("[") {
                members = members.union(try characterClass())
            } else {
                members = members.union(try classMember())
            }
        }
        guard skip("]") else { throw problem("it has a [ without its ]") }
        let set = result.map { $0.intersection(members) } ?? members
        return isNegated ? set.inverted : set
    }

    private mutating func classMember() throws -> ScalarSet {
        let low: Scalar
        if skip("\\") {
            guard let scalar = current else { throw problem("it ends with a backslash") }
            if "sSwWdDhHpP".unicodeScalars.contains(scalar) { return try escapedSet() }
            low = scalar == "b" ? 0x08 : try escapedScalar()
            if scalar == "b" { position += 1 }
        } else {
            low = text[position].value
            position += 1
        }
        guard at("-"), position + 1 < text.count, text[position + 1] != "]" else { return try cased([low...low]) }
        let dash = position
        position += 1
        let high: Scalar
        if skip("\\") {
            guard let scalar = current, !"sSwWdDhHpPb".unicodeScalars.contains(scalar) else {
                throw problem("a range ends with a class")
            }
            high = try escapedScalar()
        } else if at("[") || at("&&") {
            position = dash
            return try cased([low...low])
        } else {
            high = text[position].value
            position += 1
        }
        guard low <= high else { throw problem("a range is upside down") }
        return try cased([low...high])
    }
}
