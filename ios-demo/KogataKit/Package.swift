// swift-tools-version: 6.0
// KogataKit: opens, checks and runs the bundles that `kogata export` writes. Every library can be taken alone.
import PackageDescription

let libraries = [
    "KogataBundle", "KogataTokenizer", "KogataChat", "KogataSampler", "KogataEngine", "KogataParity",
]

let package = Package(
    name: "KogataKit",
    platforms: [.iOS(.v18), .macOS(.v15)],
    products: libraries.map { .library(name: $0, targets: [$0]) }
        + [.executable(name: "kogata-swift", targets: ["kogata-swift"])],
    targets: [
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
            ]),
        .testTarget(name: "KogataBundleTests", dependencies: ["KogataBundle"]),
        .testTarget(name: "KogataTokenizerTests", dependencies: ["KogataTokenizer"]),
        .testTarget(name: "KogataChatTests", dependencies: ["KogataChat"]),
        .testTarget(name: "KogataSamplerTests", dependencies: ["KogataSampler"]),
        .testTarget(name: "KogataEngineTests", dependencies: ["KogataEngine"]),
        .testTarget(name: "KogataParityTests", dependencies: ["KogataParity"]),
    ],
    swiftLanguageModes: [.v6]
)
