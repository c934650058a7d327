import Testing

@testable import KogataTokenizer

/// Texts, and the numbers that `tokenizers` 0.22 read from them: scores of a Unigram model, loaded and saved again.
@Test(
    "Numbers have the bits that tokenizers reads",
    arguments: [
        ("-10.831639868822279", -10.83163986882228),
        ("-10.812820302727733", -10.812820302727731),
        ("-13.771718876865519", -13.77171887686552),
        ("-11.048048859822465", -11.048048859822464),
        ("-11.978293877501747", -11.978293877501748),
        ("-13.043965270303145", -13.043965270303143),
        ("-13.472411262670992", -13.472411262670992),
        ("-13.373929844712192", -13.373929844712192),
        ("1e-07", 1e-07),
        ("-3.5e-10", -3.5e-10),
        ("1.2345678901234569e+23", 1.2345678901234569e+23),
        ("0.1", 0.1),
        ("-0.30000000000000004", -0.30000000000000004),
        ("2.2250738585072014e-308", 2.2250738585072014e-308),
    ] as [(String, Double)])
func numbersHaveTheBitsThatTokenizersReads(text: String, value: Double) {
    #expect(SerdeNumber.parse(text) == value)
}

@Test("Other texts are no numbers", arguments: ["", "-", "1e", "1.2.3", "e5", "--1", "1e5e5"])
func otherTextsAreNoNumbers(text: String) {
    #expect(SerdeNumber.parse(text) == nil)
}
