import Foundation

/// Properties of scalars as Python's `tokenizers` has them, independent of the system's version of Unicode.
enum UnicodeTables {
    static let wordOfRust = set(UnicodeData.wordOfRust)
    static let wordOfOniguruma = set(UnicodeData.wordOfOniguruma)
    static let bertControl = set(UnicodeData.bertControl)
    static let bertPunctuation = set(UnicodeData.bertPunctuation)
    static let bertNonspacing = set(UnicodeData.bertNonspacing)
    static let combiningMark = set(UnicodeData.combiningMark)
    static let numeric = set(UnicodeData.numeric)
    static let graphemeExtend = set(UnicodeData.graphemeExtend)
    static let graphemePrepend = set(UnicodeData.graphemePrepend)
    static let graphemeControl = set(UnicodeData.graphemeControl)
    static let pictographic = set(UnicodeData.pictographic)
    static let lowercase = mapping(UnicodeData.lowercase)
    static let canonical = mapping(UnicodeData.canonical)
    static let compatible = mapping(UnicodeData.compatible)
    static let combining: [Scalar: UInt8] = mapping(UnicodeData.combining).mapValues { UInt8($0[0]) }

    /// (first, second) → composed.
    static let composed: [UInt64: Scalar] = {
        var result: [UInt64: Scalar] = [:]
        for (composed, pair) in mapping(UnicodeData.composed) {
            result[UInt64(pair[0]) << 32 | UInt64(pair[1])] = composed
        }
        return result
    }()

    /// The White_Space property: the same in all versions since 6.3.
    static let whitespace = ScalarSet([
        0x09...0x0D, 0x20...0x20, 0x85...0x85, 0xA0...0xA0, 0x1680...0x1680, 0x2000...0x200A, 0x2028...0x2029,
        0x202F...0x202F, 0x205F...0x205F, 0x3000...0x3000,
    ])

    static let categoryNames = [
        "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
        "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn",
    ]

    private static let categories: [String: ScalarSet] = {
        var ranges: [String: [ClosedRange<Scalar>]] = [:]
        var start: Scalar = 0
        for (length, category) in runs(UnicodeData.categories) {
            ranges[categoryNames[Int(category)], default: []].append(start...(start + length - 1))
            start += length
        }
        return ranges.mapValues { ScalarSet($0) }
    }()

    private static let scripts: [String: String] = [
        "han": UnicodeData.scriptHan, "hiragana": UnicodeData.scriptHiragana, "katakana": UnicodeData.scriptKatakana,
        "hangul": UnicodeData.scriptHangul, "latin": UnicodeData.scriptLatin, "greek": UnicodeData.scriptGreek,
        "cyrillic": UnicodeData.scriptCyrillic, "arabic": UnicodeData.scriptArabic, "hebrew": UnicodeData.scriptHebrew,
        "devanagari": UnicodeData.scriptDevanagari, "thai": UnicodeData.scriptThai,
        "bopomofo": UnicodeData.scriptBopomofo,
    ]
    private static let longNames = [
        "letter": "L", "mark": "M", "number": "N", "punctuation": "P", "symbol": "S", "separator": "Z", "other": "C",
        "uppercaseletter": "Lu", "lowercaseletter": "Ll", "titlecaseletter": "Lt", "modifierletter": "Lm",
        "otherletter": "Lo", "nonspacingmark": "Mn", "spacingmark": "Mc", "enclosingmark": "Me",
        "decimalnumber": "Nd", "letternumber": "Nl", "othernumber": "No",
    ]

    /// The set of \p{NAME}; nil for a property that this package has no table for.
    static func property(_ name: String) -> ScalarSet? {
        let plain = name.lowercased().filter { $0 != "_" && $0 != "-" && $0 != " " }
        if let data = scripts[plain] { return set(data) }
        if plain == "any" { return .all }
        let short = longNames[plain] ?? plain
        let parts = categories.filter { $0.key.lowercased() == short.lowercased() }
        if let exact = parts.first { return exact.value }
        guard short.count == 1 else { return nil }
        let group = categories.filter { $0.key.lowercased().hasPrefix(short.lowercased()) }
        return group.isEmpty ? nil : ScalarSet(group.values.flatMap(\.ranges))
    }

    private static func numbers(_ base64: String) -> [UInt32] {
        guard let data = Data(base64Encoded: base64) else { preconditionFailure("UnicodeData isn't base64") }
        var numbers: [UInt32] = []
        var (value, shift): (UInt32, UInt32) = (0, 0)
        for byte in data {
            value |= UInt32(byte & 127) << shift
            shift += 7
            if byte < 128 {
                numbers.append(value)
                (value, shift) = (0, 0)
            }
        }
        return numbers
    }

    private static func runs(_ base64: String) -> [(length: UInt32, value: UInt32)] {
        let numbers = numbers(base64)
        return stride(from: 0, to: numbers.count, by: 2).map { (numbers[$0], numbers[$0 + 1]) }
    }

    private static func set(_ base64: String) -> ScalarSet {
        var boundaries: [Scalar] = []
        var start: Scalar = 0
        for (length, member) in runs(base64) {
            if member == 1 { boundaries += [start, start + length] }
            start += length
        }
        return ScalarSet(boundaries: boundaries)
    }

    private static func mapping(_ base64: String) -> [Scalar: [Scalar]] {
        let numbers = numbers(base64)
        var result: [Scalar: [Scalar]] = [:]
        var (index, scalar) = (0, Scalar(0))
        while index < numbers.count {
            scalar += numbers[index]
            let length = Int(numbers[index + 1])
            result[scalar] = Array(numbers[index + 2..<index + 2 + length])
            index += 2 + length
        }
        return result
    }
}
