/// SplitMix64: the generator of G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number generators",
/// 2014. It needs integer arithmetic only, so that it gives the same numbers everywhere.
struct SplitMix64 {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// 0 ≤ result < 1, in steps of 2^-53.
    mutating func uniform() -> Double {
        Double(next() >> 11) * 0x1p-53
    }
}

/// e^x for x ≤ 0, to 15 digits. The systems' own `exp` differ in the last bit; this one uses only operations that
/// IEEE 754 rounds in one way.
func portableExp(_ x: Double) -> Double {
    guard x > -745 else { return 0 }  // below, the result is smaller than the smallest Double
    // x = n ln 2 + r with |r| ≤ ln 2 / 2; ln 2 in two parts, so that n ln 2 loses no digits (Cody and Waite, 1980).
    let n = (x * 1.4426950408889634).rounded()
    let r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10
    var sum = 1.0
    for k in stride(from: 14.0, through: 1, by: -1) { sum = 1 + r / k * sum }  // Taylor's series of e^r
    return sum * Double(sign: .plus, exponent: Int(n / 2), significand: 1)
        * Double(sign: .plus, exponent: Int(n) - Int(n / 2), significand: 1)
}
