import Foundation

/// The character map of a sentencepiece model: a Darts double array over UTF-8, and the replacements behind it.
struct Precompiled: Sendable {
    private let units: [UInt32]
    private let replacements: Bytes

    init(base64: Bytes) throws {
        guard let data = Data(base64Encoded: Data(base64)) else {
            throw TokenizerError.damagedCharacterMap(reason: "it isn't base64")
        }
        let bytes = Bytes(data)
        guard bytes.count >= 4 else { throw TokenizerError.damagedCharacterMap(reason: "it has no size") }
        let size = Int(Self.word(bytes, at: 0)) / 4 * 4
        guard size >= 4, size <= bytes.count - 4 else {
            throw TokenizerError.damagedCharacterMap(reason: "it is shorter than its size says")
        }
        units = stride(from: 4, to: 4 + size, by: 4).map { Self.word(bytes, at: $0) }
        replacements = Bytes(bytes[(4 + size)...])
        guard String(validating: replacements, as: UTF8.self) != nil else {
            throw TokenizerError.damagedCharacterMap(reason: "its replacements aren't UTF-8")
        }
    }

    private static func word(_ bytes: Bytes, at index: Int) -> UInt32 {
        UInt32(bytes[index]) | UInt32(bytes[index + 1]) << 8 | UInt32(bytes[index + 2]) << 16
            | UInt32(bytes[index + 3]) << 24
    }

    /// The changes of a text; nil where there are none.
    ///
    /// As in `tokenizers`, a grapheme shorter than six bytes is looked up as a whole, and the rule of its shortest
    /// prefix replaces all of it; other graphemes are looked up scalar by scalar.
    func changes(of scalars: [Scalar]) -> [Change]? {
        var changes: [Change] = []
        changes.reserveCapacity(scalars.count)
        var isChanged = false
        for range in Graphemes.ranges(scalars) {
            if range.count > 1, scalars[range].reduce(0, { $0 + width(of: $1) }) < 6,
                let replacement = replacement(of: scalars[range])
            {
                isChanged = true
                Self.append(replacement, replacing: range.count, to: &changes)
                continue
            }
            for index in range {
                if let replacement = replacement(of: scalars[index...index]) {
                    isChanged = true
                    Self.append(replacement, replacing: 1, to: &changes)
                } else {
                    changes.append(Change(scalars[index], 0))
                }
            }
        }
        return isChanged ? changes : nil
    }

    private static func append(_ replacement: [Scalar], replacing count: Int, to changes: inout [Change]) {
        changes += replacement.map { Change($0, 0) }
        let difference = replacement.count - count
        if difference > 0 {
            for index in changes.indices.suffix(difference) { changes[index] = Change(changes[index].scalar, 1) }
        } else if difference < 0, let last = changes.last {
            changes[changes.count - 1] = Change(last.scalar, last.change + difference)
        }
    }

    /// The replacement of the shortest prefix that has a rule.
    private func replacement(of scalars: ArraySlice<Scalar>) -> [Scalar]? {
        var position = Self.offset(units[0])
        for scalar in scalars {
            for byte in utf8(CollectionOfOne(scalar)) {
                if byte == 0 { return nil }
                position ^= Int(byte)
                guard position < units.count, units[position] & 0x8000_00FF == UInt32(byte) else { return nil }
                let unit = units[position]
                position ^= Self.offset(unit)
                if unit >> 8 & 1 == 1 {
                    guard position < units.count else { return nil }
                    return text(at: Int(units[position] & 0x7FFF_FFFF))
                }
            }
        }
        return nil
    }

    private func text(at start: Int) -> [Scalar]? {
        guard start <= replacements.count else { return nil }
        return KogataTokenizer.scalars(replacements[start...].prefix { $0 != 0 })
    }

    private static func offset(_ unit: UInt32) -> Int {
        Int(unit >> 10) << Int((unit & 0x200) >> 6)
    }
}
