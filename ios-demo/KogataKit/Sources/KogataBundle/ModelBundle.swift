import Foundation

/// A folder that `kogata export` wrote.
///
/// Opening it reads `manifest.json` and `SHA256SUMS`. Call `verify` once before the first load of a model:
///
/// ```swift
/// let bundle = try ModelBundle(at: folder)
/// try bundle.verify { print("\(Int($0 * 100)) %") }
/// let model = bundle.url(of: try bundle.artifact(format: .coreml))
/// ```
public struct ModelBundle: Sendable {
    public let root: URL
    public let manifest: Manifest
    /// SHA-256 of `SHA256SUMS` in lower-case hex digits. It names the whole content: an app that has it built in, or
    /// from a signed source, notices every change.
    public let digest: String
    let sums: Sums

    /// - Parameter acceptFailed: also open a bundle that failed a gate when it was made. Don't ship such a bundle.
    /// - Throws: `BundleError`.
    public init(at root: URL, acceptFailed: Bool = false) throws {
        try ModelBundle.requireBundle(root)
        let list = try ModelBundle.read(Sums.file, in: root)
        self.root = root
        manifest = try Manifest(json: try ModelBundle.read(Manifest.file, in: root))
        sums = try Sums(list)
        digest = sha256(of: list)
        if manifest.verdict == .failed && !acceptFailed {
            throw BundleError.failedVerdict(failures: failures)
        }
    }

    /// The artifact of this format that runs on `system`.
    ///
    /// - Parameter component: the part of the model; nil: the whole model, or the first part if it has several.
    /// - Throws: `BundleError.noArtifact`, `.systemTooOld` or `.wrongSystem`.
    public func artifact(format: ArtifactFormat, component: String? = nil, on system: System = .current) throws
        -> Artifact
    {
        let candidates = manifest.artifacts.filter { artifact in
            artifact.format == format && (component == nil || (artifact.component ?? "model") == component)
        }
        guard !candidates.isEmpty else {
            throw BundleError.noArtifact(format: format.rawValue, found: manifest.artifacts.map(\.path))
        }
        guard format != .coreml || system.hasCoreML else {
            throw BundleError.wrongSystem(format: "Core ML", has: system.description)
        }
        let old = { (artifact: Artifact) in
            artifact.minimumSystem.flatMap { System($0) }.map { system.isOlder(than: $0) } ?? false
        }
        guard let artifact = candidates.first(where: { !old($0) }) else {
            throw BundleError.systemTooOld(needs: candidates[0].minimumSystem ?? "", has: system.description)
        }
        return artifact
    }

    /// Where an artifact lies.
    public func url(of artifact: Artifact) -> URL { url(of: artifact.path) }

    /// Where a file or folder of the bundle lies. path: relative to the bundle.
    public func url(of path: String) -> URL { root.appendingPathComponent(path) }

    /// The folder with `tokenizer.json` and `chat.json`.
    public var tokenizerFolder: URL { url(of: "tokenizer") }

    /// What failed when the bundle was made, in words.
    private var failures: [String] {
        let failed = manifest.parity.filter { $0.value.verdict == .failed }.keys.sorted()
        return manifest.failures + failed.map { "\($0) differs too much from its checkpoint" }
    }

    private static func requireBundle(_ root: URL) throws {
        let path = root.path
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
            throw BundleError.nothingThere(path: path)
        }
        guard isFolder.boolValue else { throw BundleError.notAFolder(path: path) }
        let names = Set((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [])
        // The names are compared exactly: a file system may find an .mlpackage's own Manifest.json as manifest.json.
        guard names.isDisjoint(with: [Manifest.file, Sums.file]) else { return }
        let looksLikeModel =
            ["mlpackage", "mlmodelc"].contains(root.pathExtension)
            || !names.isDisjoint(with: ["Manifest.json", "coremldata.bin", "model.onnx", "tokenizer.json"])
        throw looksLikeModel ? BundleError.modelInsteadOfBundle(path: path) : BundleError.notABundle(path: path)
    }

    private static func read(_ name: String, in root: URL) throws -> Data {
        let path = root.appendingPathComponent(name).path
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: path) else {
            throw BundleError.fileMissing(path: name)
        }
        guard attributes[.type] as? FileAttributeType == .typeRegular else {
            throw BundleError.notIntact([.link(path: name)])
        }
        // 64 MiB: a manifest has some hundred bytes per tensor and file. A larger one would fill the memory.
        guard let size = (attributes[.size] as? NSNumber)?.intValue, size <= 64 << 20 else {
            throw BundleError.unreadable(path: name, reason: "it is larger than 64 MiB")
        }
        do {
            return try Data(contentsOf: URL(fileURLWithPath: path))
        } catch {
            throw BundleError.unreadable(path: name, reason: error.localizedDescription)
        }
    }
}
