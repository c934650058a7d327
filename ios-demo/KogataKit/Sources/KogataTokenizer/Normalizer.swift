/// Changes the text before it is split.
indirect enum Normalizer: Sendable {
    case sequence([Normalizer])
    case composed(compatible: Bool)
    case decomposed(compatible: Bool)
    case lowercase
    case strip(left: Bool, right: Bool)
    case stripAccents
    case prepend([Scalar])
    case replace(Regex, with: [Scalar])
    case bert(BertNormalizer)
    case precompiled(Precompiled)
    case nmt
    case byteLevel

    init(_ value: JSON) throws {
        let type = try Fields.type(of: value, kind: "normalizer")
        let fields = Fields(component: "normalizer \(type)", value: value)
        switch type {
        case "Sequence": self = .sequence(try fields.items("normalizers").map(Normalizer.init))
        case "NFC": self = .composed(compatible: false)
        case "NFKC": self = .composed(compatible: true)
        case "NFD": self = .decomposed(compatible: false)
        case "NFKD": self = .decomposed(compatible: true)
        case "Lowercase": self = .lowercase
        case "Strip": self = .strip(left: try fields.flag("strip_left"), right: try fields.flag("strip_right"))
        case "StripAccents": self = .stripAccents
        case "Prepend": self = .prepend(scalars(try fields.text("prepend")))
        case "Replace": self = .replace(try fields.pattern("pattern"), with: scalars(try fields.text("content")))
        case "BertNormalizer": self = .bert(try BertNormalizer(fields))
        case "Precompiled": self = .precompiled(try Precompiled(base64: try fields.text("precompiled_charsmap")))
        case "Nmt": self = .nmt
        case "ByteLevel": self = .byteLevel
        default: throw TokenizerError.unknownComponent(kind: "normalizer", name: type)
        }
    }

    func normalize(_ text: inout NormalizedText) {
        switch self {
        case .sequence(let normalizers):
            for normalizer in normalizers { normalizer.normalize(&text) }
        case .composed(let compatible):
            if text.scalars.allSatisfy({ $0 < (compatible ? 0xA0 : 0x300) }) { return }
            text.transform(NormalizationForms.composed(text.scalars, compatible: compatible))
        case .decomposed(let compatible):
            if text.scalars.allSatisfy({ $0 < (compatible ? 0xA0 : 0xC0) }) { return }
            text.transform(NormalizationForms.decomposed(text.scalars, compatible: compatible))
        case .lowercase:
            text.lowercase()
        case .strip(let left, let right):
            text.strip(left: left, right: right)
        case .stripAccents:
            text.filter { $0 < 0x300 || !UnicodeTables.combiningMark.contains($0) }
        case .prepend(let prefix):
            text.prepend(prefix)
        case .replace(let pattern, let content):
            text.replace(pattern, with: content)
        case .bert(let normalizer):
            normalizer.normalize(&text)
        case .precompiled(let map):
            if let changes = map.changes(of: text.scalars) { text.transform(changes) }
        case .nmt:
            text.filter { !Self.isRemovedByNmt($0) }
            text.map { Self.isSpaceForNmt($0) ? 0x20 : $0 }
        case .byteLevel:
            text.mapToByteAlphabet()
        }
    }

    private static func isRemovedByNmt(_ scalar: Scalar) -> Bool {
        switch scalar {
        case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: true
        default: false
        }
    }

    private static func isSpaceForNmt(_ scalar: Scalar) -> Bool {
        switch scalar {
        case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD: true
        default: false
        }
    }
}

/// The cleaning of BERT's own tokenizer.
struct BertNormalizer: Sendable {
    let cleansText: Bool
    let separatesChinese: Bool
    let stripsAccents: Bool
    let lowercases: Bool

    init(_ fields: Fields) throws {
        cleansText = try fields.flag("clean_text")
        separatesChinese = try fields.flag("handle_chinese_chars")
        lowercases = try fields.flag("lowercase")
        stripsAccents = try fields.optional("strip_accents", \.flag, "true, false or null") ?? lowercases
    }

    func normalize(_ text: inout NormalizedText) {
        if cleansText {
            text.filter { scalar in
                switch scalar {
                case 0x20...0x7E, 0x09, 0x0A, 0x0D: true
                case 0, 0xFFFD: false
                default: !UnicodeTables.bertControl.contains(scalar)
                }
            }
            text.map { UnicodeTables.whitespace.contains($0) ? 0x20 : $0 }
        }
        if separatesChinese, text.scalars.contains(where: Self.isChinese) {
            text.transform(
                text.scalars.flatMap { scalar in
                    Self.isChinese(scalar)
                        ? [Change(0x20, 0), Change(scalar, 1), Change(0x20, 1)] : [Change(scalar, 0)]
                })
        }
        if stripsAccents, text.scalars.contains(where: { $0 >= 0xC0 }) {
            text.transform(NormalizationForms.decomposed(text.scalars, compatible: false))
            text.filter { $0 < 0x300 || !UnicodeTables.bertNonspacing.contains($0) }
        }
        if lowercases { text.lowercase() }
    }

    static func isChinese(_ scalar: Scalar) -> Bool {
        switch scalar {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
            0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F:
            true
        default: false
        }
    }
}

extension NormalizedText {
    mutating func lowercase() {
        let isASCII = scalars.allSatisfy { $0 < 0x80 }
        if isASCII {
            map { (0x41...0x5A).contains($0) ? $0 + 32 : $0 }
            return
        }
        var changes: [Change] = []
        changes.reserveCapacity(scalars.count)
        for scalar in scalars {
            guard let lower = UnicodeTables.lowercase[scalar] else {
                changes.append(Change(scalar, 0))
                continue
            }
            for (index, part) in lower.enumerated() { changes.append(Change(part, index > 0 ? 1 : 0)) }
        }
        transform(changes)
    }

    /// Each UTF-8 byte becomes a scalar of the byte-level alphabet.
    mutating func mapToByteAlphabet() {
        if origins == nil {
            scalars = utf8(scalars).map { ByteAlphabet.scalars[Int($0)] }
            return
        }
        transform(
            scalars.flatMap { scalar in
                utf8([scalar]).enumerated().map { Change(ByteAlphabet.scalars[Int($1)], $0 > 0 ? 1 : 0) }
            })
    }
}

/// GPT-2's alphabet: a printable scalar for each byte.
enum ByteAlphabet {
    static let scalars: [Scalar] = {
        var next: Scalar = 0x100
        return (0..<256).map { byte in
            switch byte {
            case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: return Scalar(byte)
            default:
                next += 1
                return next - 1
            }
        }
    }()

    private static let bytes: [UInt8?] = {
        var result = [UInt8?](repeating: nil, count: 0x100 + 68)
        for (byte, scalar) in scalars.enumerated() { result[Int(scalar)] = UInt8(byte) }
        return result
    }()

    static func byte(_ scalar: Scalar) -> UInt8? {
        scalar < Scalar(bytes.count) ? bytes[Int(scalar)] : nil
    }
}

extension Normalizer {
    /// True where every text comes out in the byte-level alphabet.
    var isByteLevel: Bool {
        switch self {
        case .sequence(let normalizers): normalizers.last?.isByteLevel ?? false
        case .byteLevel: true
        default: false
        }
    }
}
