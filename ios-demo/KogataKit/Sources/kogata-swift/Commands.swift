import Foundation

/// One command of `kogata-swift`.
protocol Command {
    static var name: String { get }
    /// What stands behind the name in the usage line.
    static var usage: String { get }
    /// One sentence.
    static var summary: String { get }
    static var options: [Option] { get }

    /// Returns the exit code.
    static func run(_ arguments: Arguments) async throws -> ExitCode
}

/// The same codes as `kogata` has.
enum ExitCode: Int32 {
    case success = 0
    /// A check failed.
    case failed = 1
    /// The command line or a file is wrong.
    case badInput = 2
    case unsupported = 3
    /// A runtime, such as onnxruntime, is absent.
    case runtimeAbsent = 4
}

let commands: [any Command.Type] = [
    VerifyCommand.self, TokensCommand.self, ChatCommand.self, EmbedCommand.self, ParityCommand.self, BenchCommand.self,
]

/// Runs a command line without the program's name.
func runCommand(_ line: [String]) async -> ExitCode {
    guard let name = line.first, name != "--help", name != "-h" else {
        standardOutput(overview + "\n")
        return line.isEmpty ? .badInput : .success
    }
    guard let command = commands.first(where: { $0.name == name }) else {
        return report(UsageError("There is no command '\(name)'."), hint: "kogata-swift --help lists the commands.")
    }
    if line.dropFirst().prefix(while: { $0 != "--" }).contains(where: { ["--help", "-h"].contains($0) }) {
        standardOutput(help(command) + "\n")
        return .success
    }
    do {
        return try await command.run(try Arguments(Array(line.dropFirst()), options: command.options))
    } catch let error as UsageError {
        return report(error, hint: "kogata-swift \(name) --help shows the options.")
    } catch {
        return report(error)
    }
}

private func report(_ error: any Error, hint: String? = nil) -> ExitCode {
    let reason = (error as? any LocalizedError)?.errorDescription ?? "\(error)"
    standardError("error: \(reason)" + (hint.map { "\n\nhint: \($0)" } ?? ""))
    return exitCode(of: error)
}

/// Writes to standard output at once: answers appear while they are generated, also in a pipe.
func standardOutput(_ text: String) {
    FileHandle.standardOutput.write(Data(text.utf8))
}

/// Writes a line to standard error.
func standardError(_ line: String) {
    FileHandle.standardError.write(Data((line + "\n").utf8))
}

private var overview: String {
    let lines = commands.map { "  \($0.name.padding(to: 8))  \($0.summary)" }
    return """
        Usage: kogata-swift COMMAND BUNDLE …

        Runs the bundles that `kogata export` writes, with the Swift code that an app contains.

        Commands:
        \(lines.joined(separator: "\n"))

        kogata-swift COMMAND --help shows the options of a command.

        Exit codes: 0 success, 1 a check failed, 2 the command line or a file is wrong, 3 not supported,
        4 a runtime is absent.
        """
}

private func help(_ command: any Command.Type) -> String {
    let names = command.options.map { [$0.name, $0.value].compactMap { $0 }.joined(separator: " ") }
    let width = names.map(\.count).max() ?? 0
    let lines = zip(names, command.options).map { "  \($0.padding(to: width))  \($1.help)" }
    let usage = "Usage: kogata-swift \(command.name) \(command.usage)\n\n\(command.summary)"
    return lines.isEmpty ? usage : "\(usage)\n\nOptions:\n\(lines.joined(separator: "\n"))"
}

extension String {
    func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
