/// UTF-8. Tokens are compared as bytes: a Swift `String` equals another one that is only canonically equivalent to it.
typealias Bytes = [UInt8]

/// A Unicode scalar value.
typealias Scalar = UInt32

func appendUTF8(_ scalar: Scalar, to bytes: inout Bytes) {
    switch scalar {
    case ..<0x80:
        bytes.append(UInt8(scalar))
    case ..<0x800:
        bytes.append(UInt8(0xC0 | scalar >> 6))
        bytes.append(UInt8(0x80 | scalar & 0x3F))
    case ..<0x10000:
        bytes.append(UInt8(0xE0 | scalar >> 12))
        bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
        bytes.append(UInt8(0x80 | scalar & 0x3F))
    default:
        bytes.append(UInt8(0xF0 | scalar >> 18))
        bytes.append(UInt8(0x80 | scalar >> 12 & 0x3F))
        bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
        bytes.append(UInt8(0x80 | scalar & 0x3F))
    }
}

func utf8(_ scalars: some Sequence<Scalar>) -> Bytes {
    var bytes = Bytes()
    bytes.reserveCapacity(scalars.underestimatedCount + 8)
    for scalar in scalars { appendUTF8(scalar, to: &bytes) }
    return bytes
}

/// The number of UTF-8 bytes of a scalar.
func width(of scalar: Scalar) -> Int {
    scalar < 0x80 ? 1 : scalar < 0x800 ? 2 : scalar < 0x10000 ? 3 : 4
}

/// The number of bytes of the scalar that begins with this byte of valid UTF-8.
func scalarLength(_ lead: UInt8) -> Int {
    lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
}

func scalars(_ text: String) -> [Scalar] {
    text.unicodeScalars.map(\.value)
}

/// The scalars of valid UTF-8.
func scalars(_ bytes: some Sequence<UInt8>) -> [Scalar] {
    scalars(String(decoding: Array(bytes), as: UTF8.self))
}

extension String {
    init(_ bytes: some Sequence<UInt8>) {
        self = String(decoding: Array(bytes), as: UTF8.self)
    }

    init(scalars: some Sequence<Scalar>) {
        self = String(KogataTokenizer.utf8(scalars))
    }
}

/// Takes valid UTF-8 out of bytes that arrive in parts, and U+FFFD for each maximal part that can't become valid, as
/// Rust's `String::from_utf8_lossy` does.
struct LossyUTF8: Sendable {
    private var held = Bytes()

    /// The text that is complete after these bytes. Up to three bytes of an unfinished scalar stay back.
    mutating func append(_ bytes: some Sequence<UInt8>) -> Bytes {
        var result = Bytes()
        for byte in bytes { add(byte, to: &result) }
        return result
    }

    /// U+FFFD where an unfinished scalar is left.
    mutating func finish() -> Bytes {
        defer { held = [] }
        return held.isEmpty ? [] : Self.replacement
    }

    static let replacement: Bytes = [0xEF, 0xBF, 0xBD]

    private mutating func add(_ byte: UInt8, to result: inout Bytes) {
        if let lead = held.first {
            if Self.continues(byte, lead: lead, index: held.count) {
                held.append(byte)
                if held.count == scalarLength(lead) {
                    result += held
                    held.removeAll(keepingCapacity: true)
                }
                return
            }
            result += Self.replacement
            held.removeAll(keepingCapacity: true)
        }
        switch byte {
        case ..<0x80: result.append(byte)
        case 0xC2...0xF4: held.append(byte)
        default: result += Self.replacement
        }
    }

    /// Table 3-7 of the Unicode standard: the second byte's range depends on the first.
    private static func continues(_ byte: UInt8, lead: UInt8, index: Int) -> Bool {
        guard index == 1 else { return (0x80...0xBF).contains(byte) }
        switch lead {
        case 0xE0: return (0xA0...0xBF).contains(byte)
        case 0xED: return (0x80...0x9F).contains(byte)
        case 0xF0: return (0x90...0xBF).contains(byte)
        case 0xF4: return (0x80...0x8F).contains(byte)
        default: return (0x80...0xBF).contains(byte)
        }
    }
}
