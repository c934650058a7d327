import Foundation

/// Which files `ModelBundle.verify` expects.
public enum VerificationScope: Sendable {
    /// Every file of the bundle.
    case everything
    /// The files of one artifact, the tokenizer and the manifest. Others may be missing, but not changed: an app that
    /// ships only what it needs uses this.
    case shipped(Artifact)
}

extension ModelBundle {
    /// Compares every file with `SHA256SUMS`. Links and devices are refused, and never read.
    ///
    /// The function reads the whole bundle: call it outside the main actor. A cancelled task ends it early.
    ///
    /// - Parameter progress: gets the part of the bytes that was read, 0 … 1.
    /// - Throws: `BundleError.notIntact` with everything that is missing, added or changed; `CancellationError`.
    public func verify(_ scope: VerificationScope = .everything, progress: ((Double) -> Void)? = nil) throws {
        var (files, problems) = scan()
        // The Finder writes .DS_Store into folders that somebody opened.
        files = files.filter { sums.hashes[$0.key] != nil || $0.key.split(separator: "/").last != ".DS_Store" }
        let named = Set(problems.map(\.path))
        for path in sums.hashes.keys where files[path] == nil && !named.contains(path) && isNeeded(path, in: scope) {
            problems.append(.missing(path: path))
        }
        problems += artifactProblems(files)
        let total = Double(max(1, files.values.reduce(0, +)))
        var read = 0
        for path in files.keys.sorted() where path != Sums.file {
            guard let expected = sums.hashes[path] else {
                problems.append(.added(path: path))
                continue
            }
            do {
                let found = try sha256(ofFile: url(of: path).path) { count in
                    read += count
                    progress?(min(1, Double(read) / total))
                }
                if found != expected { problems.append(.changed(path: path)) }
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                problems.append(.unreadable(path: path))
            }
        }
        guard problems.isEmpty else { throw BundleError.notIntact(problems.sorted { $0.path < $1.path }) }
        // The list was read when the bundle was opened. It must still be the same.
        guard sha256(of: (try? Data(contentsOf: url(of: Sums.file))) ?? Data()) == digest else {
            throw BundleError.notIntact([.changed(path: Sums.file)])
        }
        progress?(1)
    }

    private func isNeeded(_ path: String, in scope: VerificationScope) -> Bool {
        guard case .shipped(let artifact) = scope else { return true }
        return path == Manifest.file || path.hasPrefix("tokenizer/") || artifact.files.contains { $0.path == path }
    }

    /// Files that the manifest names as part of an artifact, but that have no hash: they would be loaded unchecked.
    private func artifactProblems(_ files: [String: Int]) -> [BundleProblem] {
        manifest.artifacts.flatMap(\.files).map(\.path)
            .filter { sums.hashes[$0] == nil && files[$0] == nil }
            .map { .missing(path: $0) }
    }

    /// The regular files under the folder with their sizes in bytes, and everything that is neither file nor folder.
    private func scan() -> ([String: Int], [BundleProblem]) {
        var files: [String: Int] = [:]
        var problems: [BundleProblem] = []
        var pending = [""]
        while let folder = pending.popLast() {
            let place = folder.isEmpty ? root.path : url(of: folder).path
            guard let names = try? FileManager.default.contentsOfDirectory(atPath: place) else {
                problems.append(.unreadable(path: folder.isEmpty ? "." : folder))
                continue
            }
            for name in names {
                let path = folder.isEmpty ? name : "\(folder)/\(name)"
                // Describes a link itself, not the file that it points to.
                let attributes = try? FileManager.default.attributesOfItem(atPath: "\(place)/\(name)")
                switch attributes?[.type] as? FileAttributeType {
                case .typeDirectory?: pending.append(path)
                case .typeRegular?: files[path] = (attributes?[.size] as? NSNumber)?.intValue ?? 0
                default: problems.append(.link(path: path))
                }
            }
        }
        return (files, problems)
    }
}

extension BundleProblem {
    /// The file, relative to the bundle.
    public var path: String {
        switch self {
        case .missing(let path), .added(let path), .changed(let path), .link(let path), .unreadable(let path): path
        }
    }
}
