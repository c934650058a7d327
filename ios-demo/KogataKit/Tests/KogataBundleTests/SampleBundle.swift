import Foundation

@testable import KogataBundle

/// A small folder that looks like a bundle, in a folder of its own under the temporary one.
final class SampleBundle {
    let root: URL

    /// - Parameter change: replaces a text of the manifest.
    init(change: (String, String)? = nil) throws {
        root = FileManager.default.temporaryDirectory.appendingPathComponent("kogata-\(UUID().uuidString)")
        var manifest = sampleManifest
        if let change { manifest = manifest.replacingOccurrences(of: change.0, with: change.1) }
        try write("manifest.json", manifest)
        try write("coreml/m.mlpackage/Manifest.json", "{}")
        try write("coreml/m.mlpackage/Data/weight.bin", String(repeating: "w", count: 3_000_000))
        try write("onnx/model.onnx", "onnx")
        try write("tokenizer/tokenizer.json", "{}")
        try writeSums()
    }

    deinit { try? FileManager.default.removeItem(at: root) }

    func url(_ path: String) -> URL { root.appendingPathComponent(path) }

    func write(_ path: String, _ text: String) throws {
        let file = url(path)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
    }

    func remove(_ path: String) throws { try FileManager.default.removeItem(at: url(path)) }

    func writeSums() throws {
        let paths = [
            "coreml/m.mlpackage/Data/weight.bin", "coreml/m.mlpackage/Manifest.json", "manifest.json",
            "onnx/model.onnx", "tokenizer/tokenizer.json",
        ]
        let lines = try paths.map { "\(sha256(of: try Data(contentsOf: url($0))))  \($0)\n" }
        try write("SHA256SUMS", lines.joined())
    }
}

let sampleManifest = """
    {"schema_version": 1, "name": "m", "task": "text-generation", "later": [1, {"a": null}], "languages": ["en"],
     "context": 256, "verdict": "passed", "tools": {"kogata": "1.0"}, "failures": [],
     "model": {"family": "llama", "vocab_size": 512, "layers": 4, "kv_heads": 2, "head_dim": 64, "new": true},
     "source": {"repo": null, "revision": null, "license": "MIT", "license_link": null, "digest": "sha256:00"},
     "io": {"coreml/m.mlpackage": {"inputs": [{"name": "inputIds", "dtype": "int32", "shape": [1, "q"],
        "ranges": [[1, 1], [1, null]]}], "outputs": [], "states": []}},
     "artifacts": [
       {"kind": "coreml", "form": "flexible", "path": "coreml/m.mlpackage", "min_os": "iOS 18", "target": [],
        "bytes": 3000002, "files": [{"path": "coreml/m.mlpackage/Data/weight.bin", "bytes": 3000000},
        {"path": "coreml/m.mlpackage/Manifest.json", "bytes": 2}]},
       {"kind": "onnx", "path": "onnx/model.onnx", "min_os": "Android 7.0 (API level 24)", "target": [], "bytes": 4,
        "files": [{"path": "onnx/model.onnx", "bytes": 4}]}],
     "compression": {"bits": 4},
     "parity": {"coreml/m.mlpackage": {"verdict": "passed", "runner": "reference", "metrics": {"kl": 0.1, "psnr": null},
        "thresholds": {}}, "onnx/model.onnx": {"verdict": "passed", "runner": null, "metrics": {}, "thresholds": {}}}}
    """
