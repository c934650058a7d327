/// A scalar of a changed text, and how it came about: 0 takes the place of a scalar, 1 is new, -N takes the place of a
/// scalar and of the N after it.
struct Change {
    let scalar: Scalar
    let change: Int

    init(_ scalar: Scalar, _ change: Int) {
        self.scalar = scalar
        self.change = change
    }
}

/// A part of the text with the position in the original text where each scalar comes from.
///
/// Only the pre-tokenizer Metaspace with `prepend_scheme` "first" asks for positions: it must know whether a part begins
/// at the beginning of the original text. Other tokenizers keep `origins` nil.
struct NormalizedText {
    var scalars: [Scalar]
    var origins: [Int]?
    /// The position of this part in the original text.
    private(set) var shift = 0

    init(_ scalars: [Scalar], tracked: Bool) {
        self.scalars = scalars
        origins = tracked ? Array(scalars.indices) : nil
    }

    func slice(_ range: Range<Int>) -> NormalizedText {
        var part = self
        part.scalars = Array(scalars[range])
        if let origins, let first = origins[range].first {
            part.shift += first
            part.origins = origins[range].map { $0 - first }
        }
        return part
    }

    /// Replaces the whole text. `skipped` scalars of the old text have no successor before the first change.
    mutating func transform(_ changes: [Change], skipped: Int = 0) {
        if let old = origins, !scalars.isEmpty {
            var source = skipped
            origins = changes.map { change in
                if change.change > 0 { return source < 1 ? 0 : old[min(source, old.count) - 1] }
                let origin = old[min(source, old.count - 1)]
                source += 1 - change.change
                return origin
            }
        }
        scalars = changes.map(\.scalar)
    }

    mutating func filter(_ keep: (Scalar) -> Bool) {
        guard !scalars.allSatisfy(keep) else { return }
        var changes: [Change] = []
        var (removed, skipped) = (0, 0)
        for scalar in scalars {
            if !keep(scalar) {
                removed += 1
                continue
            }
            if let last = changes.last {
                changes[changes.count - 1] = Change(last.scalar, -removed)
            } else {
                skipped = removed
            }
            removed = 0
            changes.append(Change(scalar, 0))
        }
        if let last = changes.last { changes[changes.count - 1] = Change(last.scalar, -removed) }
        transform(changes, skipped: skipped)
    }

    mutating func map(_ change: (Scalar) -> Scalar) {
        for index in scalars.indices { scalars[index] = change(scalars[index]) }
    }

    mutating func prepend(_ text: [Scalar]) {
        guard !scalars.isEmpty else { return }
        scalars.insert(contentsOf: text, at: 0)
        if let first = origins?.first {
            origins?.insert(contentsOf: Array(repeating: first, count: text.count), at: 0)
        }
    }

    mutating func strip(left: Bool, right: Bool) {
        let space = UnicodeTables.whitespace
        let start = left ? scalars.firstIndex { !space.contains($0) } ?? scalars.count : 0
        let end = right ? (scalars.lastIndex { !space.contains($0) } ?? -1) + 1 : scalars.count
        guard start > 0 || end < scalars.count else { return }
        let range = start < end ? start..<end : 0..<0
        scalars = Array(scalars[range])
        origins = origins.map { Array($0[range]) }
    }

    /// Puts `content` in the place of each match.
    mutating func replace(_ pattern: Regex, with content: [Scalar]) {
        let matches = pattern.matches(in: scalars)
        guard !matches.isEmpty else { return }
        var (newScalars, newOrigins): ([Scalar], [Int]) = ([], [])
        var last = 0
        for match in matches {
            newScalars += scalars[last..<match.lowerBound]
            newScalars += content
            if let origins {
                newOrigins += origins[last..<match.lowerBound]
                let origin = match.upperBound < 1 ? 0 : origins[match.upperBound - 1]
                newOrigins += Array(repeating: origin, count: content.count)
            }
            last = match.upperBound
        }
        newScalars += scalars[last...]
        if let old = origins { origins = newOrigins + old[last...] }
        scalars = newScalars
    }
}
