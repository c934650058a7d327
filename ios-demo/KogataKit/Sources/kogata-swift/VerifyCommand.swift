import KogataBundle

enum VerifyCommand: Command {
    static let name = "verify"
    static let usage = "BUNDLE"
    static let summary = "Compares every file of a bundle with its hash."
    static let options: [Option] = []

    static func run(_ arguments: Arguments) throws -> ExitCode {
        guard arguments.words.count == 1 else { throw UsageError("verify takes one bundle.") }
        let bundle = try ModelBundle(at: try arguments.bundle(), acceptFailed: true)
        try bundle.verify()
        standardOutput("\(bundle.manifest.name): every file is as it was exported. Digest: \(bundle.digest)\n")
        guard bundle.manifest.verdict != .failed else {
            standardError("error: the bundle failed its checks when it was made")
            return .failed
        }
        return .success
    }
}
