/// Numbers as `tokenizers` reads them from JSON: by serde_json's default algorithm, whose last bit is not always that of
/// the nearest double. Unigram scores that nearly tie need the same bits.
///
/// Source: https://github.com/serde-rs/json, `f64_from_parts` in src/de.rs.
enum SerdeNumber {
    /// The value of a JSON number; nil for other text.
    static func parse(_ text: some StringProtocol) -> Double? {
        guard Double(text) != nil else { return nil }
        let isNegative = text.hasPrefix("-")
        let parts = text.drop { $0 == "-" || $0 == "+" }.split(
            maxSplits: 1, omittingEmptySubsequences: false, whereSeparator: { $0 == "e" || $0 == "E" })
        guard parts.count < 2 || Int(parts[1]) != nil else { return nil }
        var exponent = parts.count == 2 ? Int(parts[1]) ?? 0 : 0
        var significand: UInt64 = 0
        var isFraction = false
        var isFull = false
        for character in parts[0].utf8 {
            if character == UInt8(ascii: ".") {
                isFraction = true
                continue
            }
            let (tens, tooManyTens) = significand.multipliedReportingOverflow(by: 10)
            let (next, tooMany) = tens.addingReportingOverflow(UInt64(character & 15))
            isFull = isFull || tooManyTens || tooMany  // digits that no longer fit are dropped
            if !isFull { significand = next }
            exponent += isFull ? (isFraction ? 0 : 1) : (isFraction ? -1 : 0)
        }
        let value = scaled(Double(significand), by: exponent)
        return isNegative ? -value : value
    }

    private static func scaled(_ significand: Double, by exponent: Int) -> Double {
        var value = significand
        var rest = exponent
        while rest < -308 && value != 0 {
            value /= 1e308
            rest += 308
        }
        if rest > 308 { return value == 0 ? 0 : .infinity }
        return rest >= 0 ? value * powers[rest] : value / powers[-rest]
    }

    /// Powers of 10, each the nearest double. `pow` differs in the last bit on some systems.
    private static let powers = (0...308).map { Double("1e\($0)") ?? .infinity }
}
