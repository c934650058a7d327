/// A set of scalars: sorted boundaries where membership changes, and a bitmap of the basic multilingual plane.
struct ScalarSet: Sendable {
    /// Boundaries: members are [b0, b1), [b2, b3), and so on.
    let boundaries: [Scalar]
    private let bitmap: [UInt64]

    static let all = ScalarSet(boundaries: [0, 0x110000])
    static let empty = ScalarSet(boundaries: [])

    init(boundaries: [Scalar]) {
        self.boundaries = boundaries
        var bits = [UInt64](repeating: 0, count: 1024)
        for start in stride(from: 0, to: boundaries.count, by: 2) where boundaries[start] < 0x10000 {
            let (low, high) = (Int(boundaries[start]), Int(min(boundaries[start + 1], 0x10000)))
            for word in low >> 6...(high - 1) >> 6 {
                let (from, upTo) = (max(low - word << 6, 0), min(high - word << 6, 64))
                bits[word] |= (upTo == 64 ? .max : 1 << UInt64(upTo) - 1) & (UInt64.max << UInt64(from))
            }
        }
        bitmap = bits
    }

    init(_ ranges: [ClosedRange<Scalar>]) {
        var merged: [ClosedRange<Scalar>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = merged.last, range.lowerBound <= last.upperBound + 1 {
                merged[merged.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
            } else {
                merged.append(range)
            }
        }
        self.init(boundaries: merged.flatMap { [$0.lowerBound, $0.upperBound + 1] })
    }

    init(_ scalars: some Sequence<Scalar>) {
        self.init(scalars.map { $0...$0 })
    }

    func contains(_ scalar: Scalar) -> Bool {
        if scalar < 0x10000 { return bitmap[Int(scalar >> 6)] >> UInt64(scalar & 63) & 1 == 1 }
        var (low, high) = (0, boundaries.count)  // the number of boundaries at or below the scalar
        while low < high {
            let middle = (low + high) / 2
            if boundaries[middle] <= scalar { low = middle + 1 } else { high = middle }
        }
        return low & 1 == 1
    }

    var inverted: ScalarSet {
        var changed = boundaries
        if changed.first == 0 { changed.removeFirst() } else { changed.insert(0, at: 0) }
        if changed.last == 0x110000 { changed.removeLast() } else if changed.count & 1 == 1 { changed.append(0x110000) }
        return ScalarSet(boundaries: changed)
    }

    var ranges: [ClosedRange<Scalar>] {
        stride(from: 0, to: boundaries.count, by: 2).map { boundaries[$0]...(boundaries[$0 + 1] - 1) }
    }

    func union(_ other: ScalarSet) -> ScalarSet {
        ScalarSet(ranges + other.ranges)
    }

    func intersection(_ other: ScalarSet) -> ScalarSet {
        inverted.union(other.inverted).inverted
    }
}
