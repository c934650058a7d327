/// The value of a float16, given its bits. Swift's Float16 is missing on Intel Macs.
package func float(half bits: UInt16) -> Float {
    let sign: Float = bits & 0x8000 == 0 ? 1 : -1
    let exponent = Int(bits >> 10 & 0x1F)
    let fraction = Float(bits & 0x3FF)
    switch exponent {
    case 0: return sign * fraction * 0x1p-24  // subnormal
    case 31: return fraction == 0 ? sign * .infinity : .nan
    default: return Float(sign: .plus, exponent: exponent - 25, significand: sign * (1024 + fraction))
    }
}
