/// NFC, NFD, NFKC and NFKD (Unicode Standard Annex 15) over the tables of `tokenizers`.
enum NormalizationForms {
    static func decomposed(_ scalars: [Scalar], compatible: Bool) -> [Change] {
        var result: [Change] = []
        result.reserveCapacity(scalars.count)
        for scalar in scalars {
            if scalar < 0x80 {
                result.append(Change(scalar, 0))
            } else if (hangulBase..<hangulBase + 11172).contains(scalar) {
                appendHangul(scalar - hangulBase, to: &result)
            } else if let target = compatible ? compatibleTarget(scalar) : UnicodeTables.canonical[scalar] {
                for (index, part) in target.enumerated() { result.append(Change(part, index > 0 ? 1 : 0)) }
            } else {
                result.append(Change(scalar, 0))
            }
        }
        reorder(&result)
        return result
    }

    static func composed(_ scalars: [Scalar], compatible: Bool) -> [Change] {
        let parts = decomposed(scalars, compatible: compatible)
        var result: [Change] = []
        result.reserveCapacity(parts.count)
        var starter: Int?
        var lastClass: UInt8 = 0
        for part in parts {
            let current = combiningClass(part.scalar)
            // A scalar is blocked from the starter by one of the same or a higher class, or by another starter.
            if let index = starter, index == result.count - 1 || lastClass < current,
                let whole = composition(result[index].scalar, part.scalar)
            {
                result[index] = Change(whole, result[index].change + part.change - 1)
                continue
            }
            if current == 0 { starter = result.count }
            lastClass = current
            result.append(part)
        }
        return result
    }

    private static let hangulBase: Scalar = 0xAC00
    private static let (leadBase, vowelBase, tailBase): (Scalar, Scalar, Scalar) = (0x1100, 0x1161, 0x11A7)

    private static func compatibleTarget(_ scalar: Scalar) -> [Scalar]? {
        UnicodeTables.compatible[scalar] ?? UnicodeTables.canonical[scalar]
    }

    private static func appendHangul(_ index: Scalar, to result: inout [Change]) {
        result.append(Change(leadBase + index / 588, 0))
        result.append(Change(vowelBase + index % 588 / 28, 1))
        if index % 28 > 0 { result.append(Change(tailBase + index % 28, 1)) }
    }

    private static func combiningClass(_ scalar: Scalar) -> UInt8 {
        scalar < 0x300 ? 0 : UnicodeTables.combining[scalar] ?? 0
    }

    /// Sorts each run of combining marks by class; marks of one class keep their order.
    private static func reorder(_ changes: inout [Change]) {
        var start: Int?
        for index in 0...changes.count {
            let marks = index < changes.count && combiningClass(changes[index].scalar) > 0
            if marks {
                start = start ?? index
            } else if let first = start {
                if index - first > 1 {
                    let sorted = changes[first..<index].enumerated().sorted {
                        let (left, right) = (combiningClass($0.element.scalar), combiningClass($1.element.scalar))
                        return left != right ? left < right : $0.offset < $1.offset
                    }
                    changes.replaceSubrange(first..<index, with: sorted.map(\.element))
                }
                start = nil
            }
        }
    }

    private static func composition(_ first: Scalar, _ second: Scalar) -> Scalar? {
        if (leadBase..<leadBase + 19).contains(first), (vowelBase..<vowelBase + 21).contains(second) {
            return hangulBase + (first - leadBase) * 588 + (second - vowelBase) * 28
        }
        if (hangulBase..<hangulBase + 11172).contains(first), (first - hangulBase) % 28 == 0,
            (tailBase + 1..<tailBase + 28).contains(second)
        {
            return first + second - tailBase
        }
        return UnicodeTables.composed[UInt64(first) << 32 | UInt64(second)]
    }
}
