import Foundation
import Testing

@testable import KogataSampler

/// Made by tests/support/swift_values.py with transformers' own processors.
private struct FilterCase: Decodable {
    struct Options: Decodable {
        let temperature: Float?
        let topK: Int?
        let topP: Float?
        let minP: Float?
        let repetitionPenalty: Float?
    }

    let options: Options
    let logits: [Float?]  // null: -infinity
    let history: [Int]
    let probabilities: [String: Double]

    static func all() throws -> [FilterCase] {
        let file = try #require(Bundle.module.url(forResource: "filters", withExtension: "json"))
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode([FilterCase].self, from: Data(contentsOf: file))
    }
}

@Test func filtersGiveTransformersProbabilities() throws {
    let cases = try FilterCase.all()
    #expect(cases.count == 13)
    for (number, example) in cases.enumerated() {
        let sampler = try Sampler(
            options: SamplingOptions(
                temperature: example.options.temperature ?? 1, topK: example.options.topK,
                topP: example.options.topP ?? 1, minP: example.options.minP ?? 0,
                repetitionPenalty: example.options.repetitionPenalty ?? 1))
        let found = try sampler.distribution(example.logits.map { $0 ?? -.infinity }, history: example.history)
        #expect(found.map(\.id) == example.probabilities.keys.compactMap(Int.init).sorted(), "case \(number)")
        for (id, probability) in found {
            let expected = try #require(example.probabilities[String(id)], "case \(number)")
            // The logits are Float here and double there: 3 roundings of 2^-24 on scores below 20.
            #expect(abs(probability - expected) <= 4e-6 * expected + 1e-9, "case \(number), token \(id)")
        }
    }
}

@Test func greedyTakesTheHighestAndTheLowestIDAmongEquals() throws {
    var sampler = try Sampler(options: .greedy)
    #expect(try sampler.sample([0, 3, -1, 3]) == 1)
    #expect(try sampler.sample([-.infinity, -5]) == 1)
    var penalized = try Sampler(options: SamplingOptions(temperature: 0, repetitionPenalty: 2))
    #expect(try penalized.sample([1.9, 3, -1], history: [1, 1]) == 0)
    #expect(try penalized.sample([-3, -2], history: [1]) == 0)
}

@Test func theSameSeedGivesTheSameTokensOnEveryPlatform() throws {
    let logits = (0..<50).map { Float($0 % 7) }
    let draw = { (seed: UInt64) in
        var sampler = try Sampler(options: SamplingOptions(temperature: 2, seed: seed))
        return try (0..<8).map { _ in try sampler.sample(logits) }
    }
    let (first, again, other) = (try draw(42), try draw(42), try draw(43))
    // Computed in Python: SplitMix64, softmax of logits / 2, first id whose cumulative probability exceeds the number.
    #expect(first == [39, 10, 13, 19, 4, 44, 12, 41])
    #expect(again == first)
    #expect(other != first)
}

@Test func splitMixGivesItsPublishedNumbers() {
    // From the reference implementation by S. Vigna, https://prng.di.unimi.it/splitmix64.c, seed 1234567.
    var generator = SplitMix64(seed: 1_234_567)
    let expected: [UInt64] = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
    #expect(expected.allSatisfy { generator.next() == $0 })
}

@Test func tokensComeAsOftenAsTheirProbabilitiesSay() throws {
    var sampler = try Sampler(options: SamplingOptions(seed: 1))
    let logits: [Float] = [log(0.5), log(0.3), log(0.2), -.infinity]
    var counts = [0, 0, 0, 0]
    for _ in 0..<20_000 { counts[try sampler.sample(logits)] += 1 }
    // Five standard deviations of a binomial: 5 · sqrt(20000 · 0.25) = 354.
    for (count, expected) in zip(counts, [10_000, 6_000, 4_000, 0]) { #expect(abs(count - expected) < 354) }
    #expect(counts[3] == 0)
}

@Test func portableExpIsTheExponential() {
    for x in stride(from: -744.0, through: 0, by: 0.37) {
        #expect(abs(portableExp(x) - exp(x)) <= 1e-14 * exp(x) + 2 * .leastNonzeroMagnitude)
    }
    #expect(portableExp(0) == 1)
    #expect(portableExp(-.infinity) == 0)
    #expect(portableExp(-800) == 0)
}

@Test func badLogitsAreRefused() throws {
    var sampler = try Sampler(options: .greedy)
    #expect(throws: SamplerError.badLogits(count: 1, of: 3)) { try sampler.sample([1, .nan, 2]) }
    #expect(throws: SamplerError.badLogits(count: 2, of: 2)) { try sampler.sample([.nan, .infinity]) }
    #expect(throws: SamplerError.noToken) { try sampler.sample([]) }
    #expect(throws: SamplerError.noToken) { try sampler.sample([-.infinity]) }
    var random = try Sampler(options: SamplingOptions(repetitionPenalty: 1.1))
    #expect(throws: SamplerError.noToken) { try random.sample([-.infinity]) }
    #expect(throws: SamplerError.badHistory(id: 7, vocabularySize: 2)) { try random.sample([0, 1], history: [7]) }
}

@Test func everyBadOptionIsNamed() throws {
    let options = SamplingOptions(temperature: -1, topK: 0, topP: 1.5, minP: .nan, repetitionPenalty: 0)
    do {
        _ = try Sampler(options: options)
        Issue.record("bad options were accepted")
    } catch {
        let text = error.localizedDescription
        for name in ["temperature", "top-k", "top-p", "min-p", "repetition penalty"] { #expect(text.contains(name)) }
    }
}
