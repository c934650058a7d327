import KogataEngine
import Testing

/// Stop texts and the text of answers.
struct TextTests {
    /// What is shown of pieces that arrive one after the other, and the stop text that was found.
    private func shown(_ pieces: [String], stops: [String]) -> (text: String, found: String?) {
        var filter = StopTexts(stops)
        var text = ""
        for piece in pieces {
            let (safe, found) = filter.append(piece)
            text += safe
            if let found { return (text, found) }
        }
        return (text + filter.finish(), nil)
    }

    @Test(arguments: [
        (["Yes", "<|e", "nd", "|>", "no"], "Yes", "<|end|>"),
        (["Yes<|end|>no"], "Yes", "<|end|>"),
        (["a<|en", "x"], "a<|enx", nil),
        (["a<<|end|>"], "a<", "<|end|>"),
        (["<", "|", "e", "n", "d", "|", ">"], "", "<|end|>"),
        (["明日", "<|en", "d|>"], "明日", "<|end|>"),
        (["a<|e"], "a<|e", nil),
    ])
    func stopTextsAreFoundAcrossTokens(pieces: [String], text: String, found: String?) {
        let result = shown(pieces, stops: ["<|end|>"])
        #expect(result.text == text)
        #expect(result.found == found)
    }

    @Test func theStopTextThatComesFirstCounts() {
        #expect(shown(["x\n\nUser", ":"], stops: ["User:", "\n\n"]).found == "\n\n")
        #expect(shown(["ab", "c"], stops: ["abcd", "bc"]).text == "a")
        #expect(shown(["ab"], stops: [""]).text == "ab")
    }

    /// A combining mark behind the stop text makes one character of its last scalar and the mark.
    @Test func aMarkBehindAStopTextDoesNotHideIt() {
        #expect(shown(["a;\u{301}b"], stops: [";"]).found == ";")
    }

    @Test func nothingOfAStopTextIsEverReported() async throws {
        let prompt = [1, 2, 3]
        let ids = FakeEngine.continuation(of: prompt, count: 4)
        try #require(Set(ids).count == 4)
        let decoder = FakeText(table: [ids[0]: "Hi", ids[1]: " E", ids[2]: "ND", ids[3]: "!"])
        let options = GenerationOptions(maxTokens: 9, stopTexts: ["END"])
        let answer = try await FakeEngine().generate(prompt, options: options, decoder: decoder).collect()
        #expect(answer.text == "Hi ")
        #expect(answer.ids == Array(ids.prefix(3)))
        #expect(answer.result?.reason == .stopText("END"))
    }

    @Test func textThatWasHeldBackComesAtTheEnd() async throws {
        let prompt = [1, 2, 3]
        let ids = FakeEngine.continuation(of: prompt, count: 2)
        let decoder = FakeText(table: [ids[0]: "Hi", ids[1]: " E"], end: "\u{FFFD}")
        let options = GenerationOptions(maxTokens: 2, stopTexts: ["END"])
        let answer = try await FakeEngine().generate(prompt, options: options, decoder: decoder).collect()
        #expect(answer.text == "Hi E\u{FFFD}")
    }

    @Test func scoresAreThoseOfTheFunction() async throws {
        let engine = FakeEngine(task: "text-classification")
        let scores = try await engine.classify([4, 5], types: [1, 1], scores: .softmax)
        #expect(scores == [0.5, 0.5])
        #expect(try await engine.classify([4, 5, 6], types: [0, 1, 1], scores: .identity) == [3, 2])
        #expect(ScoreFunction.sigmoid.scores([0]) == [0.5])
        await #expect(throws: EngineError.self) { try await engine.embed([4]) }
    }

    /// Values of float16, by their bits.
    @Test func halvesAreRead() {
        #expect(float(half: 0x3C00) == 1)
        #expect(float(half: 0xC000) == -2)
        #expect(float(half: 0x7BFF) == 65504)
        #expect(float(half: 0x0001) == 0x1p-24)
        #expect(float(half: 0x0400) == 0x1p-14)
        #expect(float(half: 0x3555) == 0.33325195)
        #expect(float(half: 0xFC00) == -.infinity)
        #expect(float(half: 0x7E00).isNaN)
        #expect(float(half: 0x8000).sign == .minus)
    }
}
