/// A JSON value whose strings are bytes.
///
/// Foundation's reader makes dictionaries with `String` keys, which are equal when they are canonically equivalent: two
/// tokens of a vocabulary, "é" in one scalar and "é" in two, would be one key. Here every key stays what it is.
enum JSON: Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case string(Bytes)
    case array([JSON])
    case object([Member])

    struct Member: Sendable {
        let key: Bytes
        let value: JSON
    }

    init(_ data: some Sequence<UInt8>) throws {
        let bytes = Array(data)
        self = try bytes.withUnsafeBufferPointer { buffer in
            var reader = JSONReader(bytes: buffer)
            return try reader.document()
        }
    }

    /// The value of the last member with this key, as other readers take it; nil for null and for other kinds.
    subscript(_ key: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        let wanted = Bytes(key.utf8)
        guard let value = members.last(where: { $0.key == wanted })?.value else { return nil }
        if case .null = value { return nil }
        return value
    }

    var text: Bytes? {
        if case .string(let bytes) = self { bytes } else { nil }
    }

    var name: String? {
        text.map { String(decoding: $0, as: UTF8.self) }
    }

    var flag: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    var double: Double? {
        if case .number(let value) = self { value } else { nil }
    }

    /// A whole number from 0 to 2^32 - 1, the range of token ids.
    var integer: Int? {
        guard case .number(let value) = self, value >= 0, value <= Double(UInt32.max) else { return nil }
        return Int(exactly: value)
    }

    var items: [JSON]? {
        if case .array(let values) = self { values } else { nil }
    }

    var members: [Member]? {
        if case .object(let values) = self { values } else { nil }
    }
}

/// Reads one document. Lone surrogates are refused, as `tokenizers` refuses them: a token is valid Unicode.
struct JSONReader {
    let bytes: UnsafeBufferPointer<UInt8>
    private var position = 0
    private var depth = 0

    init(bytes: UnsafeBufferPointer<UInt8>) {
        self.bytes = bytes
    }

    mutating func document() throws -> JSON {
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
        let value = try self.value()
        skipSpace()
        guard position == bytes.count else { throw problem("something follows the value") }
        return value
    }

    private func problem(_ text: String) -> TokenizerError {
        .notJSON(offset: position, problem: text)
    }

    private mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    private mutating func value() throws -> JSON {
        skipSpace()
        guard position < bytes.count else { throw problem("the file ends early") }
        switch bytes[position] {
        case UInt8(ascii: "{"): return try nested { try $0.object() }
        case UInt8(ascii: "["): return try nested { try $0.array() }
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func nested(_ read: (inout JSONReader) throws -> JSON) throws -> JSON {
        depth += 1
        defer { depth -= 1 }
        guard depth <= 128 else { throw problem("values are nested more than 128 deep") }
        position += 1
        return try read(&self)
    }

    private mutating func word(_ text: String, _ value: JSON) throws -> JSON {
        guard bytes[position...].starts(with: text.utf8) else { throw problem("an unknown word") }
        position += text.utf8.count
        return value
    }

    private mutating func number() throws -> JSON {
        let start = position
        while position < bytes.count, "+-.eE0123456789".utf8.contains(bytes[position]) { position += 1 }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        guard let value = SerdeNumber.parse(text) else {
            position = start
            throw problem("an unexpected character")
        }
        return .number(value)
    }

    /// True where a comma follows; false at the closing character.
    private mutating func goesOn(until end: UInt8) throws -> Bool {
        skipSpace()
        guard position < bytes.count else { throw problem("the file ends early") }
        position += 1
        if bytes[position - 1] == end { return false }
        guard bytes[position - 1] == UInt8(ascii: ",") else { throw problem("a comma is missing") }
        return true
    }

    private mutating func closes(with end: UInt8) -> Bool {
        skipSpace()
        guard position < bytes.count, bytes[position] == end else { return false }
        position += 1
        return true
    }

    private mutating func array() throws -> JSON {
        var values: [JSON] = []
        if closes(with: UInt8(ascii: "]")) { return .array(values) }
        repeat { values.append(try value()) } while try goesOn(until: UInt8(ascii: "]"))
        return .array(values)
    }

    private mutating func object() throws -> JSON {
        var members: [JSON.Member] = []
        if closes(with: UInt8(ascii: "}")) { return .object(members) }
        repeat {
            skipSpace()
            guard position < bytes.count, bytes[position] == 0x22 else { throw problem("a key is missing") }
            let key = try string()
            skipSpace()
            guard position < bytes.count, bytes[position] == 0x3A else { throw problem("a colon is missing") }
            position += 1
            members.append(JSON.Member(key: key, value: try value()))
        } while try goesOn(until: UInt8(ascii: "}"))
        return .object(members)
    }

    private mutating func string() throws -> Bytes {
        position += 1
        var result = Bytes()
        while position < bytes.count {
            let start = position
            while position < bytes.count, bytes[position] >= 0x20, bytes[position] != 0x22, bytes[position] != 0x5C {
                position += 1
            }
            result.append(contentsOf: bytes[start..<position])
            guard position < bytes.count else { break }
            switch bytes[position] {
            case 0x22:
                position += 1
                guard String(validating: result, as: UTF8.self) != nil else { throw problem("a string isn't UTF-8") }
                return result
            case 0x5C: try escape(into: &result)
            default: throw problem("a control character in a string")
            }
        }
        throw problem("a string without its end")
    }

    private mutating func escape(into result: inout Bytes) throws {
        guard position + 1 < bytes.count else { throw problem("the file ends early") }
        let letter = bytes[position + 1]
        position += 2
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(letter)
        case UInt8(ascii: "b"): result.append(0x08)
        case UInt8(ascii: "f"): result.append(0x0C)
        case UInt8(ascii: "n"): result.append(0x0A)
        case UInt8(ascii: "r"): result.append(0x0D)
        case UInt8(ascii: "t"): result.append(0x09)
        case UInt8(ascii: "u"): appendUTF8(try escapedScalar(), to: &result)
        default: throw problem("an unknown escape in a string")
        }
    }

    private mutating func escapedScalar() throws -> UInt32 {
        let first = try fourDigits()
        guard (0xD800..<0xE000).contains(first) else { return first }
        guard first < 0xDC00, position + 1 < bytes.count, bytes[position] == 0x5C, bytes[position + 1] == 0x75 else {
            throw problem("half a surrogate pair in a string")
        }
        position += 2
        let second = try fourDigits()
        guard (0xDC00..<0xE000).contains(second) else { throw problem("half a surrogate pair in a string") }
        return 0x10000 + (first - 0xD800) << 10 + (second - 0xDC00)
    }

    private mutating func fourDigits() throws -> UInt32 {
        guard position + 4 <= bytes.count,
            let value = UInt32(String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16)
        else { throw problem("an escape without four digits") }
        position += 4
        return value
    }
}
