import Foundation

/// A kind of model file.
public enum ArtifactFormat: String, Codable, CaseIterable, Sendable {
    case coreml, onnx
}

/// One model in a bundle: what an app opens.
public struct Artifact: Codable, Equatable, Sendable {
    /// `coreml` or `onnx`; kept as text so that a bundle with a kind of a later version still opens.
    public let kind: String
    /// The family of runtimes that it was written for, such as `flexible`; nil in older bundles.
    public let form: String?
    /// The part of the model, such as `encoder_model`; nil or `model`: the whole model.
    public let component: String?
    /// The file or package to open, relative to the bundle.
    public let path: String
    public let files: [File]
    /// The oldest system that reads it, such as `iOS 18`; nil where it is unknown.
    public let minimumSystem: String?
    /// The sum of its files.
    public let bytes: Int

    public struct File: Codable, Equatable, Sendable {
        public let path: String
        public let bytes: Int
    }

    public var format: ArtifactFormat? { ArtifactFormat(rawValue: kind) }

    private enum CodingKeys: String, CodingKey {
        case kind, form, component, path, files, bytes
        case minimumSystem = "min_os"
    }
}

/// The name and version of an operating system.
public struct System: Equatable, Sendable, CustomStringConvertible {
    public let name: String
    public let version: [Int]

    public init(name: String, version: [Int]) {
        self.name = name
        self.version = version
    }

    /// Reads texts such as `iOS 18` or `macOS 15.1`; nil for others.
    public init?(_ text: String) {
        let words = text.split(separator: " ")
        guard words.count >= 2 else { return nil }
        let numbers = words[1].split(separator: ".").map { Int($0) }
        guard !numbers.isEmpty, !numbers.contains(nil) else { return nil }
        self.init(name: String(words[0]), version: numbers.compactMap { $0 })
    }

    /// The system on which this code runs.
    public static var current: System {
        let version = ProcessInfo.processInfo.operatingSystemVersion
        return System(name: currentName, version: [version.majorVersion, version.minorVersion, version.patchVersion])
    }

    public var description: String {
        "\(name) \(version.map(String.init).joined(separator: "."))"
    }

    /// Whether Core ML exists here.
    var hasCoreML: Bool { firstWithCoreML18[name] != nil }

    /// Whether this system is too old for `minimum`. A minimum for a system of another maker says nothing about this one.
    func isOlder(than minimum: System) -> Bool {
        guard let needed = minimum.counterpart(on: name) else { return false }
        return version.lexicographicallyPrecedes(needed.version)
    }

    /// The version of system `other` that came out with this one; nil if there is none.
    private func counterpart(on other: String) -> System? {
        if name == other { return self }
        guard let own = firstWithCoreML18[name], let its = firstWithCoreML18[other], let major = version.first else {
            return nil
        }
        // From 26 on, Apple's systems share one number.
        let shifted = major >= 26 ? major : major - own + its
        return System(name: other, version: [shifted] + version.dropFirst())
    }

    private static var currentName: String {
        #if os(iOS)
            "iOS"
        #elseif os(macOS)
            "macOS"
        #elseif os(visionOS)
            "visionOS"
        #elseif os(tvOS)
            "tvOS"
        #elseif os(watchOS)
            "watchOS"
        #else
            "Linux"
        #endif
    }
}

/// The version of each of Apple's systems that came out in 2024, with iOS 18.
private let firstWithCoreML18 = ["iOS": 18, "iPadOS": 18, "macOS": 15, "tvOS": 18, "visionOS": 2, "watchOS": 11]
