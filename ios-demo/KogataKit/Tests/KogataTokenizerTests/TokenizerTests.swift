import Foundation
import Testing

@testable import KogataTokenizer

@Test func canonicallyEquivalentKeysStayApart() throws {
    let json = try JSON(Data("{\"é\": 1, \"e\u{301}\": 2}".utf8))
    #expect(json.members?.count == 2)
    #expect(json["é"]?.integer == 1)
    #expect(json["e\u{301}"]?.integer == 2)
}

@Test func numbersAndEscapesAreRead() throws {
    #expect(try JSON(Data("-9.5".utf8)).double == -9.5)
    #expect(try JSON(Data(#""\u00e9\ud83d\ude42\n\/""#.utf8)).name == "é🙂\n/")
    #expect(try JSON(Data("4294967296".utf8)).integer == nil)
    #expect(try JSON(Data("1.5".utf8)).integer == nil)
}

@Test func vocabularyCountsAddedTokensOnce() throws {
    let tokenizer = try Tokenizer(
        json: Data(
            """
            {"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"},
             "added_tokens": [{"content": "b", "special": true}, {"content": "<x>"}]}
            """.utf8))
    #expect(tokenizer.vocabularySize == 3)
    #expect(tokenizer.id(of: "<x>") == 2)
    #expect(tokenizer.token(of: 2) == "<x>")
    #expect(tokenizer.id(of: "c") == nil)
    #expect(tokenizer.token(of: 3) == nil)
    #expect(tokenizer.decode([1, 2, 0]) == "<x> a")
}

/// 100 kB without a space, in one word: time must grow about as the length does.
@Test(
    .timeLimit(.minutes(1)),
    arguments: [
        #"{"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "abab": 3}, "merges": ["a b", "ab ab"]}"#,
        #"{"type": "Unigram", "unk_id": 0, "vocab": [["?", 0], ["a", -2], ["b", -2], ["ab", -3], ["abab", -5]]}"#,
        #"""
        {"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "+", "max_input_chars_per_word": 1000000,
         "vocab": {"?": 9, "abab": 3, "+abab": 3}}
        """#,
    ])
func longWordsTakeLinearTime(model: String) throws {
    let tokenizer = try Tokenizer(json: Data("{\"model\": \(model)}".utf8))
    let ids = tokenizer.encode(String(repeating: "ab", count: 50_000))
    #expect(ids.count == 25_000)
    #expect(Set(ids).count == 1)
}

@Test func oneTokenizerServesManyTasks() async throws {
    let tokenizer = try Tokenizer(
        json: Data(#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}}"#.utf8))
    let counts = await withTaskGroup(of: Int.self) { group in
        for length in 1...50 {
            group.addTask { tokenizer.encode(String(repeating: "ab", count: length)).count }
        }
        return await group.reduce(into: Set<Int>()) { $0.insert($1) }
    }
    #expect(counts == Set(1...50))
}
