import Foundation

/// What can be wrong with a bundle. Each case describes itself in a sentence for people (`localizedDescription`).
public enum BundleError: Error, Equatable, Sendable {
    /// There is nothing at this path.
    case nothingThere(path: String)
    /// The path is a file; a bundle is a folder.
    case notAFolder(path: String)
    /// The path is a model inside a bundle (`.mlpackage`, `.mlmodelc`, or the `onnx` folder), not the bundle.
    case modelInsteadOfBundle(path: String)
    /// The folder has neither `manifest.json` nor `SHA256SUMS`.
    case notABundle(path: String)
    /// One file without which a bundle can't be opened is missing.
    case fileMissing(path: String)
    /// A file of the bundle can't be read.
    case unreadable(path: String, reason: String)
    /// `schema_version` isn't one that this package knows.
    case unknownSchema(version: Int)
    /// `manifest.json` isn't what `kogata export` writes.
    case badManifest(reason: String)
    /// `SHA256SUMS` isn't what `kogata export` writes.
    case badSums([String])
    /// The files differ from `SHA256SUMS`.
    case notIntact([BundleProblem])
    /// The bundle failed a gate when it was made.
    case failedVerdict(failures: [String])
    /// No artifact has this format (and component).
    case noArtifact(format: String, found: [String])
    /// The artifact needs a newer system.
    case systemTooOld(needs: String, has: String)
    /// The artifact's format doesn't run on this system.
    case wrongSystem(format: String, has: String)
}

/// One difference between a bundle's files and its list of hashes.
public enum BundleProblem: Equatable, Sendable, CustomStringConvertible {
    case missing(path: String)
    case added(path: String)
    case changed(path: String)
    case link(path: String)
    case unreadable(path: String)

    public var description: String {
        switch self {
        case .missing(let path): "\(path) is missing"
        case .added(let path): "\(path) was added"
        case .changed(let path): "\(path) was changed"
        case .link(let path): "\(path) is a link or a device, not a file"
        case .unreadable(let path): "\(path) can't be read"
        }
    }
}

extension BundleError: LocalizedError {
    public var errorDescription: String? {
        switch self {
        case .nothingThere(let path):
            "There is nothing at \(path)."
        case .notAFolder(let path):
            "\(path) is a file. Choose the folder that `kogata export` wrote."
        case .modelInsteadOfBundle(let path):
            "\(path) is a model inside a bundle. Choose the bundle's folder, which contains manifest.json."
        case .notABundle(let path):
            "\(path) is not a bundle: it has neither manifest.json nor SHA256SUMS."
        case .fileMissing(let path):
            "The bundle has no \(path). Copy the bundle again."
        case .unreadable(let path, let reason):
            "\(path) can't be read: \(reason)."
        case .unknownSchema(let version):
            "The bundle's manifest has schema version \(version); this app knows version \(Manifest.schemaVersion) only."
        case .badManifest(let reason):
            "The bundle's manifest.json can't be used: \(reason)."
        case .badSums(let problems):
            "The bundle's SHA256SUMS can't be used: \(firstFew(problems))."
        case .notIntact(let problems):
            "The bundle's files differ from its list of hashes: \(firstFew(problems.map(\.description))). Copy it again."
        case .failedVerdict(let failures):
            "The bundle failed its checks when it was made\(failures.isEmpty ? "" : ": \(firstFew(failures))")."
        case .noArtifact(let format, let found):
            "The bundle has no \(format) model. It contains: \(found.joined(separator: ", "))."
        case .systemTooOld(let needs, let has):
            "The model needs \(needs) or newer; this is \(has)."
        case .wrongSystem(let format, let has):
            "A \(format) model doesn't run on \(has)."
        }
    }
}

private func firstFew(_ texts: [String]) -> String {
    let shown = texts.prefix(5).joined(separator: "; ")
    return texts.count > 5 ? "\(shown); and \(texts.count - 5) more" : shown
}
