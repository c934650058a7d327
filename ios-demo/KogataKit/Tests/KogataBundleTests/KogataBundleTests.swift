import Foundation
import Testing

@testable import KogataBundle

private let iPhone = System(name: "iOS", version: [26, 1])

@Test func aBundleOpensAndKnowsItsFacts() throws {
    let sample = try SampleBundle()
    let bundle = try ModelBundle(at: sample.root)
    #expect(bundle.manifest.name == "m")
    #expect(bundle.manifest.model.vocabularySize == 512)
    #expect(bundle.manifest.model.kvHeads == 2)
    #expect(bundle.manifest.verdict == .passed)
    let port = try #require(bundle.manifest.io["coreml/m.mlpackage"]?.inputs.first)
    #expect(port.shape == [.fixed(1), .variable("q")])
    #expect(port.ranges == [[1, 1], [1, nil]])
    #expect(bundle.manifest.parity["coreml/m.mlpackage"]?.metrics["psnr"] == .some(.none))
    let list = try Data(contentsOf: sample.url("SHA256SUMS"))
    #expect(bundle.digest == sha256(of: list))
    let artifact = try bundle.artifact(format: .coreml, on: iPhone)
    #expect(bundle.url(of: artifact).path == sample.url("coreml/m.mlpackage").path)
    let again = try JSONDecoder().decode(Manifest.self, from: try JSONEncoder().encode(bundle.manifest))
    #expect(again == bundle.manifest)
}

@Test func anIntactBundleIsVerifiedWithProgress() throws {
    let sample = try SampleBundle()
    try sample.write("coreml/.DS_Store", "left by the Finder")
    var seen: [Double] = []
    try ModelBundle(at: sample.root).verify { seen.append($0) }
    #expect(seen.count >= 4)  // three pieces of the weights
    #expect(seen == seen.sorted())
    #expect(seen.last == 1)
}

@Test func everyDifferenceIsNamed() throws {
    let sample = try SampleBundle()
    let bundle = try ModelBundle(at: sample.root)
    try sample.write("onnx/model.onnx", "0nnx")
    try sample.write("coreml/m.mlpackage/Data/more.bin", "x")
    try sample.remove("tokenizer/tokenizer.json")
    try sample.remove("coreml/m.mlpackage/Data/weight.bin")
    try FileManager.default.createSymbolicLink(
        at: sample.url("coreml/m.mlpackage/Data/weight.bin"), withDestinationURL: sample.url("onnx/model.onnx"))
    try FileManager.default.createSymbolicLink(
        at: sample.url("folder"), withDestinationURL: FileManager.default.temporaryDirectory)
    let expected: [BundleProblem] = [
        .link(path: "coreml/m.mlpackage/Data/weight.bin"), .added(path: "coreml/m.mlpackage/Data/more.bin"),
        .link(path: "folder"), .changed(path: "onnx/model.onnx"), .missing(path: "tokenizer/tokenizer.json"),
    ]
    do {
        try bundle.verify()
        Issue.record("a changed bundle was accepted")
    } catch BundleError.notIntact(let problems) {
        #expect(problems == expected.sorted { $0.path < $1.path })
    }
}

@Test func aChangedListIsNoticed() throws {
    let sample = try SampleBundle()
    let bundle = try ModelBundle(at: sample.root)
    try sample.write("onnx/model.onnx", "other")
    try sample.writeSums()  // whoever changed the file, changed the list too
    #expect(throws: BundleError.self) { try bundle.verify() }
}

@Test func anAppMayShipOneArtifactOnly() throws {
    let sample = try SampleBundle()
    try sample.remove("onnx")
    let bundle = try ModelBundle(at: sample.root)
    let artifact = try bundle.artifact(format: .coreml, on: iPhone)
    try bundle.verify(.shipped(artifact))
    #expect(throws: BundleError.notIntact([.missing(path: "onnx/model.onnx")])) { try bundle.verify() }
    try sample.write("tokenizer/tokenizer.json", "changed")
    #expect(throws: BundleError.notIntact([.changed(path: "tokenizer/tokenizer.json")])) {
        try bundle.verify(.shipped(artifact))
    }
}

@Test func aCancelledTaskEndsTheVerification() async throws {
    let sample = try SampleBundle()
    let bundle = try ModelBundle(at: sample.root)
    let task = Task {
        while !Task.isCancelled { await Task.yield() }
        try bundle.verify()
    }
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
}

@Test func whatIsNoBundleIsSaidInASentence() throws {
    let sample = try SampleBundle()
    let path = { (name: String) in sample.url(name).path }
    let open = { (name: String) in _ = try ModelBundle(at: sample.url(name)) }
    #expect(throws: BundleError.nothingThere(path: path("x"))) { try open("x") }
    #expect(throws: BundleError.notAFolder(path: path("manifest.json"))) { try open("manifest.json") }
    for inside in ["coreml/m.mlpackage", "onnx", "tokenizer"] {
        #expect(throws: BundleError.modelInsteadOfBundle(path: path(inside))) { try open(inside) }
    }
    #expect(throws: BundleError.notABundle(path: path("coreml"))) { try open("coreml") }
    try sample.remove("SHA256SUMS")
    #expect(throws: BundleError.fileMissing(path: "SHA256SUMS")) { try ModelBundle(at: sample.root) }
    let sentence = BundleError.modelInsteadOfBundle(path: "m").localizedDescription
    #expect(sentence == "m is a model inside a bundle. Choose the bundle's folder, which contains manifest.json.")
}

@Test func badManifestsAreRefused() throws {
    let opened = { (old: String, new: String) in
        let sample = try SampleBundle(change: (old, new))
        _ = try ModelBundle(at: sample.root)
    }
    #expect(throws: BundleError.unknownSchema(version: 2)) {
        try opened(#""schema_version": 1"#, #""schema_version": 2"#)
    }
    #expect(throws: BundleError.badManifest(reason: "artifacts.0.min_os has the wrong type")) {
        try opened(#""min_os": "iOS 18""#, #""min_os": 18"#)
    }
    #expect(throws: BundleError.badManifest(reason: "name is missing")) { try opened(#""name": "m""#, #""nome": "m""#) }
    #expect(throws: BundleError.self) { try opened("{", "") }
    for path in ["../m.mlpackage", "/m.mlpackage", "a//b", "../\u{301}x"] {
        #expect(throws: BundleError.self) { try opened(#""path": "coreml/m.mlpackage""#, #""path": "\#(path)""#) }
    }
}

@Test func aFailedBundleOpensOnlyIfAsked() throws {
    let failed = try SampleBundle(change: (#""verdict": "passed", "tools""#, #""verdict": "failed", "tools""#))
    #expect(throws: BundleError.failedVerdict(failures: [])) { try ModelBundle(at: failed.root) }
    #expect(try ModelBundle(at: failed.root, acceptFailed: true).manifest.verdict == .failed)
    let older = try SampleBundle(change: (#""verdict": "passed", "tools""#, #""tools""#))
    #expect(try ModelBundle(at: older.root).manifest.verdict == .passed)
    let failedOlder = try SampleBundle(change: (#""verdict": "passed", "tools""#, #""tools""#))
    let text = try String(contentsOf: failedOlder.url("manifest.json"), encoding: .utf8)
    let passed = #""verdict": "passed", "runner": null"#
    try failedOlder.write(
        "manifest.json",
        text.replacingOccurrences(of: passed, with: passed.replacingOccurrences(of: "passed", with: "failed")))
    #expect(throws: BundleError.failedVerdict(failures: ["onnx/model.onnx differs too much from its checkpoint"])) {
        try ModelBundle(at: failedOlder.root)
    }
}

@Test func artifactsAreChosenForTheSystem() throws {
    let sample = try SampleBundle()
    let bundle = try ModelBundle(at: sample.root)
    let coreml = { (name: String, version: [Int]) in
        try bundle.artifact(format: .coreml, on: System(name: name, version: version)).path
    }
    for (name, version) in [
        ("iOS", [18]), ("iOS", [26, 1]), ("macOS", [15, 2, 0]), ("macOS", [26]), ("visionOS", [2]), ("watchOS", [11]),
    ] {
        #expect(try coreml(name, version) == "coreml/m.mlpackage", "\(name) \(version)")
    }
    for (name, version) in [("iOS", [17, 7, 2]), ("macOS", [14, 9]), ("visionOS", [1, 3])] {
        let system = System(name: name, version: version)
        let error = BundleError.systemTooOld(needs: "iOS 18", has: system.description)
        #expect(throws: error) { try coreml(name, version) }
    }
    let linux = System(name: "Linux", version: [6])
    #expect(throws: BundleError.wrongSystem(format: "Core ML", has: "Linux 6")) { try coreml("Linux", [6]) }
    #expect(try bundle.artifact(format: .onnx, on: linux).path == "onnx/model.onnx")
    #expect(try bundle.artifact(format: .onnx, on: iPhone).form == nil)
    #expect(throws: BundleError.noArtifact(format: "onnx", found: ["coreml/m.mlpackage", "onnx/model.onnx"])) {
        try bundle.artifact(format: .onnx, component: "encoder_model", on: linux)
    }
}
