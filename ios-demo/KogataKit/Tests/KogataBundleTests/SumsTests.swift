import Foundation
import Testing

@testable import KogataBundle

private let digest = String(repeating: "ab", count: 32)

private func problems(_ text: String) -> [String] {
    do {
        _ = try Sums(Data(text.utf8))
        return []
    } catch BundleError.badSums(let problems) {
        return problems
    } catch {
        return ["\(error)"]
    }
}

@Test func aListIsRead() throws {
    let sums = try Sums(Data("\(digest)  a b/ç.bin\n\(digest)  c\n".utf8))
    #expect(sums.hashes == ["a b/ç.bin": digest, "c": digest])
}

@Test(arguments: [
    "../x", "a/../x", "/etc/passwd", "a//b", "./a", "a/.", "C:/x", "a\\b", "a\u{7}b", "a\u{2028}b", "..", "/\u{301}a",
    "../\u{301}a", "a/..\u{2f}\u{301}",
])
func pathsThatLeaveTheBundleAreRefused(path: String) {
    #expect(problems("\(digest)  \(path)\n").count == 1)
    #expect(pathProblem(path) != nil)
}

@Test func linesOfAnotherFormAreRefused() {
    let lines = [
        "\(digest) a", "\(digest)  ", "\(digest.uppercased())  a", "\(digest.dropLast())  a", "", "\(digest) *a",
        "# comment", "\(digest)  a\n\n\(digest)  b",
    ]
    for line in lines { #expect(problems("\(line)\n").count == 1, "\(line)") }
    #expect(problems("") == ["it lists no file"])
}

@Test func allProblemsAreNamedAtOnce() {
    let text = "\(digest)  a\nnonsense\n\(digest)  ../b\n\(digest)  A\n\(digest)  SHA256SUMS\n\(digest)  a\n"
    #expect(
        problems(text) == [
            "line 2 is not '<SHA-256>  <path>'", "line 3: the path '../b' has an empty, '.' or '..' part",
            "line 4: 'A' is listed twice", "line 5: it lists itself", "line 6: 'a' is listed twice",
        ])
    #expect(problems("\(digest)  \u{e9}\n\(digest)  e\u{301}\n") == ["line 2: 'e\u{301}' is listed twice"])
}

@Test func bytesThatAreNotUTF8AreRefused() {
    let line = Data(digest.utf8) + Data([32, 32, 0xff, 10])
    #expect(throws: BundleError.badSums(["it is not UTF-8"])) { try Sums(line) }
}
