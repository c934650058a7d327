/// Extended grapheme clusters (Unicode Standard Annex 29), exact for clusters that are shorter than six bytes.
///
/// The normalizer Precompiled looks at no others as a whole, so the rules for Hangul, flags and Indic conjuncts, whose
/// clusters are all longer, aren't here.
enum Graphemes {
    static func ranges(_ scalars: [Scalar]) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var start = 0
        for index in scalars.indices.dropFirst() where isBoundary(scalars, at: index, start: start) {
            result.append(start..<index)
            start = index
        }
        if start < scalars.count { result.append(start..<scalars.count) }
        return result
    }

    private static func isBoundary(_ scalars: [Scalar], at index: Int, start: Int) -> Bool {
        let (left, right) = (scalars[index - 1], scalars[index])
        if left == 0x0D, right == 0x0A { return false }  // GB3
        if left < 0x7F, right < 0x7F { return true }
        if isControl(left) { return true }  // GB4
        if UnicodeTables.graphemeExtend.contains(right) { return false }  // GB9, GB9a
        if isControl(right) { return true }  // GB5
        if UnicodeTables.graphemePrepend.contains(left) { return false }  // GB9b
        guard left == 0x200D, UnicodeTables.pictographic.contains(right) else { return true }
        var before = index - 2  // GB11: a pictograph, Extend, ZWJ × a pictograph
        while before > start, UnicodeTables.graphemeExtend.contains(scalars[before]) { before -= 1 }
        return !(before >= start && UnicodeTables.pictographic.contains(scalars[before]))
    }

    private static func isControl(_ scalar: Scalar) -> Bool {
        scalar < 0x20 || UnicodeTables.graphemeControl.contains(scalar)
    }
}
