import COnnxRuntime
import Foundation
import KogataEngine

/// onnxruntime, opened at run time. It is never closed again: its threads may outlive every model.
///
/// `@unchecked Sendable`: the table of functions never changes, and onnxruntime may be called from any thread.
final class OnnxLibrary: @unchecked Sendable {
    let api: UnsafePointer<OrtApi>
    let version: String

    /// The first version that reads the files Kogata writes; see docs/bundle.md.
    private static let oldest = [1, 23]

    /// path: of the library; nil: the one that KOGATA_ONNXRUNTIME names, else the system's.
    init(path: String?) throws {
        // Builds of Microsoft send usage data from 1.29 on, unless this is set before the library is opened.
        setenv("ORT_DISABLE_TELEMETRY", "1", 1)
        let handle = try OnnxLibrary.open(path ?? ProcessInfo.processInfo.environment["KOGATA_ONNXRUNTIME"])
        guard let symbol = dlsym(handle, "OrtGetApiBase") else {
            throw EngineError.runtimeAbsent("The library isn't onnxruntime: it has no function OrtGetApiBase.")
        }
        typealias GetBase = @convention(c) () -> UnsafePointer<OrtApiBase>?
        guard let base = unsafeBitCast(symbol, to: GetBase.self)() else {
            throw EngineError.runtimeAbsent("onnxruntime has no table of functions.")
        }
        version = base.pointee.GetVersionString().map { String(cString: $0) } ?? "unknown"
        let numbers = version.split(separator: ".").compactMap { Int($0) }
        guard !numbers.lexicographicallyPrecedes(OnnxLibrary.oldest),
            let api = base.pointee.GetApi(UInt32(ORT_API_VERSION))
        else {
            throw EngineError.runtimeAbsent(
                "This is onnxruntime \(version), but the model needs 1.23 or newer. \(OnnxLibrary.hint)")
        }
        self.api = api
    }

    /// Throws what a call of onnxruntime reports.
    func check(_ status: OrtStatusPtr?) throws {
        guard let status else { return }
        defer { api.pointee.ReleaseStatus(status) }
        throw EngineError.runtimeFailed(api.pointee.GetErrorMessage(status).map { String(cString: $0) } ?? "no reason")
    }

    private static let hint = """
        Name the library with --onnxruntime or KOGATA_ONNXRUNTIME; Python's package has it as \
        onnxruntime/capi/libonnxruntime.so.VERSION.
        """

    private static func open(_ path: String?) throws -> UnsafeMutableRawPointer {
        let names = path.map { [$0] } ?? ["libonnxruntime.so.1", "libonnxruntime.so", "libonnxruntime.dylib"]
        for name in names {
            if let handle = dlopen(name, RTLD_NOW | RTLD_LOCAL) { return handle }
        }
        let reason = path == nil ? "it isn't installed" : dlerror().map { String(cString: $0) } ?? "no reason"
        throw EngineError.runtimeAbsent("onnxruntime can't be opened: \(reason). \(hint)")
    }
}
