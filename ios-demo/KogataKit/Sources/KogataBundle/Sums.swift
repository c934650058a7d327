import Foundation

/// The hashes in `SHA256SUMS`, by path.
struct Sums: Sendable {
    /// The name of the file in a bundle.
    static let file = "SHA256SUMS"

    /// Path relative to the bundle → SHA-256 in lower-case hex digits.
    let hashes: [String: String]

    /// Reads what `kogata export` writes: "<64 lower-case hex digits>  <path>", one line for each file, sorted by path.
    ///
    /// - Throws: `BundleError.badSums`, which names every line that can't be used.
    init(_ data: Data) throws {
        guard let text = String(data: data, encoding: .utf8) else { throw BundleError.badSums(["it is not UTF-8"]) }
        var hashes: [String: String] = [:]
        var seen: Set<String> = []
        var problems: [String] = []
        var lines = text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        if lines.last?.isEmpty == true { lines.removeLast() }
        for (index, line) in lines.enumerated() {
            guard let (digest, path) = Sums.parts(of: line) else {
                problems.append("line \(index + 1) is not '<SHA-256>  <path>'")
                continue
            }
            if let problem = pathProblem(path) {
                problems.append("line \(index + 1): the path '\(printable(path))' \(problem)")
            } else if path == Sums.file {
                problems.append("line \(index + 1): it lists itself")
            } else if !seen.insert(folded(path)).inserted {
                problems.append("line \(index + 1): '\(path)' is listed twice")
            } else {
                hashes[path] = digest
            }
        }
        if hashes.isEmpty && problems.isEmpty { problems.append("it lists no file") }
        guard problems.isEmpty else { throw BundleError.badSums(problems) }
        self.hashes = hashes
    }

    private static func parts(of line: Substring.UTF8View) -> (String, String)? {
        let bytes = Array(line)
        let isHex = { (byte: UInt8) in (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte) }
        guard bytes.count > 66, bytes[64] == 0x20, bytes[65] == 0x20, bytes[..<64].allSatisfy(isHex) else { return nil }
        return (String(decoding: bytes[..<64], as: UTF8.self), String(decoding: bytes[66...], as: UTF8.self))
    }
}

/// Why `path` can't be the path of a file in a bundle; nil if it can.
func pathProblem(_ path: String) -> String? {
    if path.utf8.count > 1024 { return "is longer than 1024 bytes" }
    if path.unicodeScalars.contains(where: isUnprintable) { return "contains a backslash or a control character" }
    // Bytes, not characters: a combining accent after a "/" makes another character of it, but not another path.
    let bytes = Array(path.utf8)
    if bytes.first == UInt8(ascii: "/") || bytes.dropFirst().first == UInt8(ascii: ":") { return "is absolute" }
    let parts = bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    let special = ["", ".", ".."].map { Array($0.utf8) }
    if parts.contains(where: { special.contains(Array($0)) }) { return "has an empty, '.' or '..' part" }
    return nil
}

/// Two paths with the same text are one file where the file system ignores case and Unicode composition.
func folded(_ path: String) -> String {
    path.precomposedStringWithCanonicalMapping.lowercased()
}

/// `path` for a message, without control characters.
func printable(_ path: String) -> String {
    String(path.unicodeScalars.prefix(100).map { isUnprintable($0) && $0 != "\\" ? "?" : Character($0) })
}

private func isUnprintable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7f..<0xa0, 0x5c, 0x2028, 0x2029: true
    default: false
    }
}
