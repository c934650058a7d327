import Testing

@testable import KogataTokenizer

private func pieces(_ pattern: String, _ text: String) throws -> [String] {
    let all = scalars(text)
    return try Regex(pattern).matches(in: all).map { String(scalars: all[$0]) }
}

/// The expected matches are those of Oniguruma.
@Test(
    arguments: [
        (#"\s+(?!\S)|\s+"#, "a  b \n", [" ", " ", " \n"]),
        (#"a|ab"#, "ab", ["a"]),
        (#"a*?b"#, "aab", ["aab"]),
        (#"a++b"#, "aab", ["aab"]),
        (#"a*+a"#, "aaa", []),
        (#"(?>a+)b|a"#, "aab a", ["aab", "a"]),
        (#"[a-c&&[^b]]+"#, "abcab", ["a", "ca"]),
        (#"[^\s\p{L}]{2,3}"#, "1234 5", ["123"]),
        (#"(?<=x)y|(?<!x)z"#, "xyxzz", ["y", "z"]),
        (#"(?i:'LL|'s)"#, "'ll'S'ſ", ["'ll", "'S", "'ſ"]),
        (#"(?i)k|x"#, "K\u{212A}X", ["K", "\u{212A}", "X"]),
        (#"^\w+$"#, "ab\ncd", ["ab", "cd"]),
        (#"\Aa|b\z"#, "aab\nb", ["a", "b"]),
        (#"\x{3042}|\u3044|\x41"#, "あいA", ["あ", "い", "A"]),
        (#"\p{^L}+|\P{N}"#, "1a", ["1", "a"]),
        (#"(?<name>ab)+?"#, "abab", ["ab", "ab"]),
        (#"(ab|a)(bc)?c"#, "abcabc", ["abc", "abc"]),
        (#"\d{2}{"#, "12{", ["12{"]),
        (#"x*"#, "axx", ["", "xx"]),
        (#"[]a]+"#, "a]b", ["a]"]),
        (#"\bfoo\b"#, "foo foobar", ["foo"]),
    ] as [(String, String, [String])])
func patternsMatchAsInOniguruma(pattern: String, text: String, expected: [String]) throws {
    #expect(try pieces(pattern, text) == expected)
}

@Test(arguments: [
    #"(a)\1"#, #"a)"#, #"(a"#, #"[a"#, #"*a"#, #"(?s:a)"#, #"\X"#, #"\p{Klingon}"#, #"[[:alpha:]]"#, #"(?:a*)*"#,
    #"(?<=a+)b"#, #"(?<=a|bc)d"#, #"(?i:é)"#, #"(?i:ss)"#, #"(?i:\p{Lu})"#, #"(?i:[α-ω])"#, #"a{3}?"#, #"a{2,1}"#,
    #"[z-a]"#, #"a{5000}"#, #"(?:(?:ab){900}c){900}"#, #"\xE3\x81"#, #"(?=a)*"#, #"\"#,
])
func patternsThatAreNotExactAreRefused(pattern: String) {
    #expect(throws: TokenizerError.self) { try Regex(pattern) }
}

@Test(.timeLimit(.minutes(1))) func longRunsNeitherOverflowNorTakeLong() throws {
    let spaces = String(repeating: " ", count: 100_000)
    #expect(try pieces(#"\s*[\r\n]+|\s+(?!\S)|\s+"#, spaces) == [spaces])
    let letters = String(repeating: "ab", count: 50_000)
    #expect(try pieces(#"(?:ab|a)+"#, letters) == [letters])
}
