import Foundation
import Testing

@testable import KogataBundle

private func digest(_ pieces: [Data]) -> String {
    var hash = PlainSHA256()
    for piece in pieces { hash.update(data: piece) }
    return hash.finalize().map { String(format: "%02x", $0) }.joined()
}

/// NIST's example values for SHA-256 (csrc.nist.gov, "Examples with Intermediate Values", and SHA256ShortMsg.rsp).
private let published: [(Data, String)] = [
    (Data(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (Data([0xd3]), "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"),
    (Data("abc".utf8), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
        Data("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8),
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
    (
        Data(
            ("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
                + "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu").utf8),
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
    ),
    (Data(repeating: 0x61, count: 1_000_000), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
]

@Test func hashesAreThePublishedOnes() {
    for (message, expected) in published { #expect(digest([message]) == expected) }
}

@Test func theHashDoesntDependOnThePieces() {
    let (message, expected) = published[4]
    for size in 1...message.count {
        let pieces = stride(from: 0, to: message.count, by: size).map { message[$0..<min($0 + size, message.count)] }
        #expect(digest(pieces.map { Data($0) }) == expected)
        #expect(digest(pieces) == expected)  // slices keep their indices
    }
}

@Test func everyLengthAroundABlockEndsRight() {
    // Made with Python's hashlib: sha256 over the hex digits of the hashes of bytes(n) for n in 0 … 130, one after another.
    let all = (0...130).map { digest([Data(count: $0)]) }.joined()
    #expect(digest([Data(all.utf8)]) == "54e76fce7077001577d4cd003983a26b89611ab84dce9950b9aaf77133a69f94")
}
