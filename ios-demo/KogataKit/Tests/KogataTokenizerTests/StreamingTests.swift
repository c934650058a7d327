import Foundation
import Testing

@testable import KogataTokenizer

/// Byte tokens <0x00> to <0xFF> and "a", "▁a", decoded as Llama's tokenizers decode.
private func byteTokenizer() throws -> Tokenizer {
    let bytes = (0..<256).map { "\"<0x\(String(format: "%02X", $0))>\": \($0)" }.joined(separator: ", ")
    return try Tokenizer(
        json: Data(
            """
            {"model": {"type": "BPE", "byte_fallback": true, "vocab": {\(bytes), "a": 256, "▁a": 257}, "merges": []},
             "added_tokens": [{"content": "</s>", "special": true}],
             "decoder": {"type": "Sequence", "decoders": [
               {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
               {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}}
            """.utf8))
}

@Test func streamNeverGivesHalfACharacter() throws {
    let tokenizer = try byteTokenizer()
    let text = "aé東🙂\u{301}a"
    var stream = tokenizer.stream()
    let parts = tokenizer.encode(text).map { stream.append($0) } + [stream.finish()]
    #expect(parts.joined() == text)
    #expect(!parts.contains { $0.contains("\u{FFFD}") })
    #expect(parts.filter { !$0.isEmpty } == ["a", "é", "東", "🙂", "\u{301}", "a"])
}

@Test func streamStripsOnlyTheBeginning() throws {
    let tokenizer = try byteTokenizer()
    var stream = tokenizer.stream()
    #expect(stream.append(257) == "a")
    #expect(stream.append(257) == " a")
    #expect(stream.append(258) == "")  // special
    #expect(stream.append(999) == "")  // no token
    #expect(stream.finish() == "")
}

@Test func unfinishedBytesEndAsReplacements() throws {
    let tokenizer = try byteTokenizer()
    var stream = tokenizer.stream()
    #expect(stream.append(0xE3) == "")
    #expect(stream.append(0x81) == "")
    #expect(stream.finish() == "\u{FFFD}\u{FFFD}")
    #expect(tokenizer.decode([0xE3, 0x81]) == "\u{FFFD}\u{FFFD}")
}

/// The expected texts are those of Rust's String::from_utf8_lossy.
@Test(
    arguments: [
        ([0x61, 0xE3, 0x81, 0x61], "a\u{FFFD}a"), ([0xFF, 0xFE], "\u{FFFD}\u{FFFD}"),
        ([0xC0, 0x80], "\u{FFFD}\u{FFFD}"),
        ([0xED, 0xA0, 0x80], "\u{FFFD}\u{FFFD}\u{FFFD}"), ([0xF0, 0x9F, 0x99], "\u{FFFD}"),
        ([0xF0, 0x9F, 0x99, 0x82], "🙂"), ([0xF4, 0x90, 0x80, 0x80], "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"),
        ([0xE3, 0xE3, 0x81, 0x82], "\u{FFFD}あ"), ([0x80], "\u{FFFD}"),
    ] as [([UInt8], String)])
func damagedUTF8IsReplacedAsInRust(bytes: [UInt8], expected: String) {
    var lossy = LossyUTF8()
    #expect(String(lossy.append(bytes) + lossy.finish()) == expected)
}
