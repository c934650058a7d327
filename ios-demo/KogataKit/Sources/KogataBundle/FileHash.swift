import Foundation

#if canImport(CryptoKit)
    import CryptoKit
    private typealias Hash = SHA256
#else
    private typealias Hash = PlainSHA256
#endif

let chunkBytes = 1 << 20  // of a file in memory at once

/// SHA-256 of `data` in lower-case hex digits.
func sha256(of data: Data) -> String {
    var hash = Hash()
    hash.update(data: data)
    return hex(hash.finalize())
}

/// SHA-256 of a regular file in lower-case hex digits. A file is read in pieces of 1 MiB.
///
/// - Parameter read: gets the number of bytes of each piece.
/// - Throws: `CancellationError` if the task was cancelled; an error of Foundation if the file can't be read, which
///   includes a link in its place.
func sha256(ofFile path: String, read: (Int) -> Void) throws -> String {
    let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
    let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    var hash = Hash()
    while let chunk = try nextChunk(of: file) {
        try Task.checkCancellation()
        hash.update(data: chunk)
        read(chunk.count)
    }
    return hex(hash.finalize())
}

private func nextChunk(of file: FileHandle) throws -> Data? {
    #if canImport(ObjectiveC)
        // Each piece is freed at once, not when the whole file was read.
        let chunk = try autoreleasepool { try file.read(upToCount: chunkBytes) }
    #else
        let chunk = try file.read(upToCount: chunkBytes)
    #endif
    return chunk.flatMap { $0.isEmpty ? nil : $0 }
}

private func hex(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}
