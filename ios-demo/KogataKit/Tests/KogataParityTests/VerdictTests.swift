import Foundation
import Testing

@testable import KogataParity

/// A report with what Python makes of it: tests/support/swift_verdicts.py writes the cases.
struct JudgedCase: Decodable, Sendable, CustomTestStringConvertible {
    let name: String
    let vectors: DeviceVectors
    let report: DeviceReport
    let passed: Bool
    /// nil: not finite.
    let metrics: [String: [String: Double?]]

    var testDescription: String { name }

    static let all: [JudgedCase] = {
        let file = Bundle.module.url(forResource: "verdicts", withExtension: "json")!
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .custom { path in
            // Keys of reports become lowerCamelCase; the other types state their keys themselves.
            path.contains { $0.stringValue == "report" } ? camelCased(path.last!) : path.last!
        }
        return try! decoder.decode([JudgedCase].self, from: Data(contentsOf: file))
    }()
}

private struct Key: CodingKey {
    let stringValue: String
    let intValue: Int? = nil

    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}

private func camelCased(_ key: any CodingKey) -> any CodingKey {
    let words = key.stringValue.split(separator: "_").map(String.init)
    return Key(stringValue: words[0] + words.dropFirst().map(\.capitalized).joined())
}

struct VerdictTests {
    @Test(arguments: JudgedCase.all)
    func verdictsAndMetricsAreThoseOfKogataCheck(judged: JudgedCase) throws {
        let verdict = try ParityVerdict(judged.report, judged.vectors)
        #expect(verdict.passed == judged.passed)
        for (section, expected) in judged.metrics {
            for (metric, value) in expected {
                let found = try #require(verdict.metrics[section]?[metric], "\(section) \(metric)")
                if let value {
                    #expect(abs(found - value) <= 1e-6 * max(1, abs(value)), "\(section) \(metric)")
                } else {
                    #expect(!found.isFinite, "\(section) \(metric)")
                }
            }
        }
    }

    @Test func aFailingVectorIsNamedWithItsReason() throws {
        let reasons = [
            "missing answers": "decode-1 was not run: too long",
            "a continuation that ends early": "decode-2 the continuation ends after 3 of 4 tokens",
            "other ids": "tokenizer-1 has other ids from token 2 on: [] in the vectors, [9] here",
        ]
        for (name, reason) in reasons {
            let judged = try #require(JudgedCase.all.first { $0.name == name })
            #expect(try ParityVerdict(judged.report, judged.vectors).summary.contains(reason))
        }
    }

    @Test func anArtifactWithoutLimitsIsNotJudged() throws {
        var judged = JudgedCase.all[0].report
        judged.runtime.artifact = "coreml/other.mlpackage"
        #expect(throws: ParityError.noGates(artifact: "coreml/other.mlpackage")) {
            try ParityVerdict(judged, JudgedCase.all[0].vectors)
        }
    }

    /// Files that would make the comparison read outside an array.
    @Test(arguments: [
        #""decode": [{"id": "a", "ids": [1], "first": 0, "top": [], "continuation": [1]}]"#,
        #""decode": [{"id": "a", "ids": [1], "first": -1, "top": [{"ids": [1], "logprobs": [0]}], "continuation": [1]}]"#,
        #""decode": [{"id": "a", "ids": [1], "first": 0, "top": [{"ids": [], "logprobs": []}], "continuation": [1]}]"#,
        #""scores": [{"id": "a", "ids": [1], "values": [1, 2, 3], "rows": 2}]"#,
        #""scores": [{"id": "a", "ids": [1], "values": [1], "rows": 0}]"#,
        #""embed": [{"id": "a", "ids": [1, 2], "values": [1], "types": [0]}]"#,
        #""embed": [{"id": "a"}]"#,
    ])
    func vectorsThatContradictThemselvesAreRefused(section: String) {
        let json = #"{"schema_version": 1, "name": "n", "task": "t", \#(section)}"#
        #expect(throws: ParityError.self) { try DeviceVectors(json: Data(json.utf8)) }
        #expect(throws: ParityError.unknownSchema(version: 2)) {
            try DeviceVectors(json: Data(#"{"schema_version": 2}"#.utf8))
        }
    }

    @Test func reportsHaveTheKeysThatKogataReads() throws {
        let json = try JudgedCase.all[0].report.json()
        let report = try #require(JSONSerialization.jsonObject(with: json) as? [String: Any])
        #expect(Set(report.keys) == ["schema_version", "bundle", "device", "runtime", "results", "speed"])
        #expect((report["runtime"] as? [String: Any])?["compute_units"] as? String == "cpuOnly")
        #expect((report["device"] as? [String: Any])?["memory_bytes"] as? Int == 1)
        let results = try #require(report["results"] as? [String: Any])
        #expect(Set(results.keys) == ["tokenizer", "chat", "decode", "embed", "scores", "errors"])
    }

    @Test func aNumberThatIsNotFiniteIsNull() throws {
        let values = logProbabilities([0, .nan, 1], of: [0, 1, 2, 3])
        #expect(values == [nil, nil, nil, nil])
        let answer = DeviceReport.Decode(id: "a", logprobs: [[nil, -1]], top1: [0], continuation: [])
        #expect(String(decoding: try JSONEncoder().encode(answer), as: UTF8.self).contains("[[null,-1]]"))
    }

    @Test func logProbabilitiesAreThoseOfASoftmax() {
        // log(softmax([1, 2, 3])), to five digits
        #expect(logProbabilities([1, 2, 3], of: [2, 0, 1]) == [-0.40761, -2.40761, -1.40761])
        #expect(logProbabilities([0, -.infinity], of: [0, 1]) == [0, -100])
        #expect(mostLikely([.nan, 1, 3, 3]) == 2)
    }
}
