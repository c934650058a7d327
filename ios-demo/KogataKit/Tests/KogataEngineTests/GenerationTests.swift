import KogataEngine
import Testing

/// Generation on a model whose answers are known.
struct GenerationTests {
    @Test func tokensAreThoseOfTheModelWithoutACache() async throws {
        let engine = FakeEngine()
        let prompt = [5, 17, 2, 40, 8, 1]
        let (ids, _, result) = try await engine.generate(prompt, options: GenerationOptions(maxTokens: 9)).collect()
        #expect(ids == FakeEngine.continuation(of: prompt, count: 9))
        #expect(result?.reason == .length)
        #expect(result?.promptTokens == 6)
        #expect(result?.generatedTokens == 9)
        #expect(await engine.calls.map(\.count) == [4, 2, 1, 1, 1, 1, 1, 1, 1, 1])  // chunks, then single tokens
    }

    @Test func anEndIDEndsTheAnswerAndIsNotPartOfIt() async throws {
        let prompt = [5, 17, 2]
        let expected = FakeEngine.continuation(of: prompt, count: 5)
        let options = GenerationOptions(maxTokens: 20, endIDs: [expected[4], 96])
        let (ids, _, result) = try await FakeEngine().generate(prompt, options: options).collect()
        let end = expected.firstIndex { options.endIDs.contains($0) } ?? 4
        #expect(ids == Array(expected.prefix(end)))
        #expect(result?.reason == .endToken(expected[end]))
    }

    /// The last token is never run: a context of c tokens has room for c - n + 1 of them.
    @Test func aFullContextEndsTheAnswer() async throws {
        let (ids, _, result) = try await FakeEngine(context: 10).generate([1, 2, 3]).collect()
        #expect(ids == FakeEngine.continuation(of: [1, 2, 3], count: 8))
        #expect(result?.reason == .contextFull)
    }

    @Test(arguments: [[Int](), Array(repeating: 1, count: 65), [97], [-1]])
    func promptsThatTheModelCannotTakeAreRefused(prompt: [Int]) async {
        await #expect(throws: EngineError.self) { try await FakeEngine().generate(prompt).collect() }
    }

    @Test func anEncoderDoesNotGenerate() async {
        await #expect(throws: EngineError.wrongTask("feature-extraction", needed: "generation")) {
            try await FakeEngine(task: "feature-extraction").generate([1]).collect()
        }
    }

    @Test func theNextTurnOnlyRunsWhatItAdds() async throws {
        let engine = FakeEngine()
        let first = try await engine.generate([1, 2, 3, 4, 5], options: GenerationOptions(maxTokens: 3)).collect()
        await engine.forgetCalls()
        let second = [1, 2, 3, 4, 5] + first.ids + [9, 9]
        let (ids, _, result) = try await engine.generate(second, options: GenerationOptions(maxTokens: 2)).collect()
        #expect(ids == FakeEngine.continuation(of: second, count: 2))
        #expect(result?.reusedTokens == 7)  // the answer's last token was never run
        #expect(await engine.calls == [[first.ids[2], 9, 9], [ids[0]]])
    }

    @Test func aPromptThatPartsGoesBackToWhereItParts() async throws {
        let engine = FakeEngine()
        try await engine.prefill([1, 2, 3, 4, 5])
        let (logits, reused) = try await engine.prefill([1, 2, 7])
        #expect(reused == 2)
        #expect(await engine.cachedTokens == [1, 2, 7])
        #expect(logits[FakeEngine.next(after: [1, 2, 7])] == 1)
        #expect(try await engine.prefill([1, 2, 7]).reused == 2)  // the last token is run for its logits
    }

    @Test func logitsOfPositionsDoNotDependOnChunksOrTheCache() async throws {
        let ids = [3, 1, 4, 1, 5, 9, 2, 6, 5]
        for chunk in 1...10 {
            for first in ids.indices {
                let engine = FakeEngine(prefillChunk: chunk)
                try await engine.prefill([3, 1, 4, 8])
                let rows = try await engine.logits(for: ids, from: first)
                let expected = (first..<ids.count).map { FakeEngine.next(after: Array(ids.prefix($0 + 1))) }
                #expect(rows.map { $0.firstIndex(of: 1) } == expected)
            }
        }
    }

    /// Two answers at once take turns; each stays right, because a step checks what is in the cache.
    @Test func twoAnswersAtOnceDoNotMix() async throws {
        let engine = FakeEngine()
        let options = GenerationOptions(maxTokens: 12)
        async let first = engine.generate([1, 2, 3], options: options).collect().ids
        async let second = engine.generate([1, 2, 4, 4], options: options).collect().ids
        #expect(try await first == FakeEngine.continuation(of: [1, 2, 3], count: 12))
        #expect(try await second == FakeEngine.continuation(of: [1, 2, 4, 4], count: 12))
    }

    @Test func cancelEndsTheAnswerWithAReason() async throws {
        let generation = FakeEngine(context: 100_000).generate([1, 2, 3])
        var ids: [Int] = []
        var reason: StopReason?
        for try await event in generation {
            if case .token(let id) = event { ids.append(id) }
            if ids.count == 3 { generation.cancel() }
            if case .stopped(let result) = event { reason = result.reason }
        }
        #expect(reason == .cancelled)
        #expect(ids.count < 10_000)
        #expect(ids == FakeEngine.continuation(of: [1, 2, 3], count: ids.count))
    }

    @Test func cancellingTheReadersTaskEndsTheAnswer() async throws {
        let engine = FakeEngine(context: 100_000)
        let reader = Task {
            var count = 0
            for try await _ in engine.generate([1, 2, 3]) { count += 1 }
            return count
        }
        while await engine.cachedTokens.count < 5 { await Task.yield() }
        reader.cancel()
        _ = try await reader.value
        var before = -1
        while await engine.cachedTokens.count != before {  // the running step may still end
            before = await engine.cachedTokens.count
            try await Task.sleep(for: .milliseconds(20))
        }
        #expect(before < 100_000)
    }

    @Test func warmUpLoadsAndLeavesAnEmptyCache() async throws {
        let engine = FakeEngine()
        try await engine.warmUp()
        #expect(await engine.loads > 0)
        #expect(await engine.cachedTokens.isEmpty)
        #expect(await !engine.calls.isEmpty)
    }
}
