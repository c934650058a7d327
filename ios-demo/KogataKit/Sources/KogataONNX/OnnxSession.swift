import COnnxRuntime
import Foundation
import KogataEngine

/// An open model. Not Sendable: an engine's actor owns it.
final class OnnxSession {
    private let library: OnnxLibrary
    private let environment: OpaquePointer
    private let session: OpaquePointer

    /// threads: for one operation; the same number gives the same results on one machine.
    init(library: OnnxLibrary, model: URL, threads: Int) throws {
        let api = library.api.pointee
        var environment: OpaquePointer?
        try library.check(api.CreateEnv(ORT_LOGGING_LEVEL_FATAL, "kogata", &environment))
        var options: OpaquePointer?
        var session: OpaquePointer?
        do {
            try library.check(api.CreateSessionOptions(&options))
            defer { api.ReleaseSessionOptions(options) }
            try library.check(api.SetIntraOpNumThreads(options, Int32(threads)))
            try library.check(api.SetInterOpNumThreads(options, 1))
            try library.check(api.AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0"))
            try library.check(api.CreateSession(environment, model.path, options, &session))
        } catch {
            api.ReleaseEnv(environment)
            throw error
        }
        guard let environment, let session else { throw EngineError.runtimeFailed("onnxruntime opened no session") }
        self.library = library
        self.environment = environment
        self.session = session
    }

    deinit {
        library.api.pointee.ReleaseSession(session)
        library.api.pointee.ReleaseEnv(environment)
    }

    /// Runs the model: inputs by name, results by name.
    func run(_ inputs: [String: OnnxValue], outputs: [String]) throws -> [String: OnnxValue] {
        let names = inputs.keys.sorted()
        let values: [OpaquePointer?] = names.map { inputs[$0]?.pointer }
        var results = [OpaquePointer?](repeating: nil, count: outputs.count)
        let status = withCStrings(names) { inputNames in
            withCStrings(outputs) { outputNames in
                library.api.pointee.Run(
                    session, nil, inputNames, values, values.count, outputNames, outputs.count, &results)
            }
        }
        let made = results.map { $0.map { OnnxValue($0, library: library) } }
        try library.check(status)
        withExtendedLifetime(inputs) {}
        return Dictionary(uniqueKeysWithValues: zip(outputs, made)).compactMapValues { $0 }
    }
}

/// Calls `body` with C strings that live as long as the call.
private func withCStrings<Result>(
    _ texts: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) throws -> Result
) rethrows -> Result {
    let copies = texts.map { UnsafePointer(strdup($0)) }
    defer { for copy in copies { free(UnsafeMutablePointer(mutating: copy)) } }
    return try copies.withUnsafeBufferPointer { try body($0.baseAddress!) }
}
