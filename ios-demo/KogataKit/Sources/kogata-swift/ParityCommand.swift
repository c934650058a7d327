import Foundation
import KogataEngine
import KogataParity

enum ParityCommand: Command {
    static let name = "parity"
    static let usage = "BUNDLE"
    static let summary = "Runs the bundle's test vectors here and judges the answers by the bundle's own limits."
    static let options =
        [Option("-o", "FILE", "Write the report that `kogata check BUNDLE --device-report FILE` reads.")]
        + engineOptions

    static func run(_ arguments: Arguments) async throws -> ExitCode {
        guard arguments.words.count == 1 else { throw UsageError("parity takes one bundle.") }
        let opened = try OpenedBundle(arguments)
        let vectors = try DeviceVectors(bundle: opened.bundle)
        let engine = try opened.engine(arguments)
        let report = try await ParityRun(bundle: opened.bundle, vectors: vectors, engine: engine).report()
        if let file = arguments.text("-o") {
            do {
                try report.json().write(to: URL(fileURLWithPath: file))
            } catch {
                throw UsageError("\(file) can't be written: \(error.localizedDescription)")
            }
        }
        let verdict = try ParityVerdict(report, vectors)
        standardOutput(verdict.summary + "\n")
        return verdict.passed ? .success : .failed
    }
}
