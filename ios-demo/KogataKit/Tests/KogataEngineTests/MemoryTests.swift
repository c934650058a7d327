import Foundation
import KogataBundle
import KogataEngine
import Testing

private let manifest = """
    {"schema_version": 1, "name": "m", "task": "text-generation", "languages": [], "context": 256, "verdict": "passed",
     "tools": {"kogata": "1"}, "model": {"family": "llama", "vocab_size": 1000},
     "source": {"repo": null, "revision": null, "license": null, "license_link": null, "digest": "sha256:00"},
     "io": {"m.mlpackage": {"inputs": [], "outputs": [], "states": [
        {"name": "keyCache", "dtype": "float16", "shape": [4, 1, 2, 256, 32]},
        {"name": "valueCache", "dtype": "float32", "shape": [4, 1, 2, 256, 32]}]}},
     "artifacts": [{"kind": "coreml", "path": "m.mlpackage", "min_os": "iOS 18", "target": [], "bytes": 5000,
        "files": []}],
     "parity": {}}
    """

@Test func aModelNeedsMemoryForWeightsCacheAndLogits() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("kogata-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try Data(manifest.utf8).write(to: folder.appendingPathComponent("manifest.json"))
    let sums = String(repeating: "0", count: 64) + "  manifest.json\n"
    try Data(sums.utf8).write(to: folder.appendingPathComponent("SHA256SUMS"))
    let bundle = try ModelBundle(at: folder)
    let phone = System(name: "iOS", version: [18])
    let source = try EngineSource(bundle: bundle, artifact: bundle.artifact(format: .coreml, on: phone))
    let cache = 4 * 2 * 256 * 32
    #expect(source.memoryBytes == 5000 + cache * 2 + cache * 4 + 64 * 1000 * 4)
}
