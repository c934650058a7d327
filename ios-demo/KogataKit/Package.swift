// swift-tools-version: 6.0
// KogataKit: opens, checks and runs the bundles that `kogata export` writes. Every library can be taken alone.
import Foundation
import PackageDescription

let libraries = [
    "KogataBundle", "KogataTokenizer", "KogataChat", "KogataSampler", "KogataEngine", "KogataParity",
]

// KogataONNX is built where onnxruntime's C header is: nothing links against onnxruntime, it is opened at run time.
// KOGATA_ONNXRUNTIME_INCLUDE names a folder with onnxruntime_c_api.h; "none" leaves the target out.
let usualFolders = ["/usr/include/onnxruntime", "/usr/local/include/onnxruntime", "/opt/homebrew/include/onnxruntime"]
let headerFolder = (Context.environment["KOGATA_ONNXRUNTIME_INCLUDE"].map { [$0] } ?? usualFolders)
    .first { FileManager.default.fileExists(atPath: $0 + "/onnxruntime_c_api.h") }
let onnxTargets: [Target] =
    headerFolder.map { folder in
        [
            .target(name: "COnnxRuntime", cSettings: [.unsafeFlags(["-I", folder])]),
            .target(
                name: "KogataONNX", dependencies: ["COnnxRuntime", "KogataBundle", "KogataEngine"],
                swiftSettings: [.unsafeFlags(["-Xcc", "-I", "-Xcc", folder])]),
        ]
    } ?? []
let onnxDependency: [Target.Dependency] = headerFolder == nil ? [] : ["KogataONNX"]
let onnxSettings: [SwiftSetting] =
    headerFolder.map { folder in
        [.define("KOGATA_ONNX"), .unsafeFlags(["-Xcc", "-I", "-Xcc", folder])]
    } ?? []

let package = Package(
    name: "KogataKit",
    platforms: [.iOS(.v18), .macOS(.v15)],
    products: libraries.map { .library(name: $0, targets: [$0]) }
        + (headerFolder == nil ? [] : [.library(name: "KogataONNX", targets: ["KogataONNX"])])
        + [.executable(name: "kogata-swift", targets: ["kogata-swift"])],
    targets: onnxTargets + [
        .target(name: "KogataBundle"),
        .target(name: "KogataTokenizer"),
        .target(name: "KogataChat"),
        .target(name: "KogataSampler"),
        .target(name: "KogataEngine", dependencies: ["KogataBundle", "KogataTokenizer", "KogataSampler"]),
        .target(
            name: "KogataParity", dependencies: ["KogataBundle", "KogataTokenizer", "KogataChat", "KogataEngine"]),
        .executableTarget(
            name: "kogata-swift",
            dependencies: [
                "KogataBundle", "KogataTokenizer", "KogataChat", "KogataSampler", "KogataEngine", "KogataParity",
            ] + onnxDependency,
            swiftSettings: onnxSettings),
        .testTarget(name: "KogataBundleTests", dependencies: ["KogataBundle"]),
        .testTarget(
            name: "KogataChatTests", dependencies: ["KogataChat"], resources: [.copy("Resources/conversations.json")]),
        .testTarget(
            name: "KogataSamplerTests", dependencies: ["KogataSampler"], resources: [.copy("Resources/filters.json")]),
        .testTarget(
            name: "KogataTokenizerTests", dependencies: ["KogataTokenizer"], resources: [.copy("Resources")]),
        .testTarget(name: "KogataEngineTests", dependencies: ["KogataEngine"]),
        .testTarget(
            name: "KogataParityTests", dependencies: ["KogataParity"], resources: [.copy("Resources/verdicts.json")]),
    ],
    swiftLanguageModes: [.v6]
)
