import Foundation

/// What a device answered to the vectors of a bundle: the file that `kogata check BUNDLE --device-report` reads.
public struct DeviceReport: Codable, Sendable, Equatable {
    public var schemaVersion = 1
    public var bundle: Bound
    public var device: Device
    public var runtime: Runtime
    public var results: Results
    public var speed: Speed

    /// The bundle that was run: its name and the SHA-256 of its SHA256SUMS.
    public struct Bound: Codable, Sendable, Equatable {
        public var name: String
        public var digest: String
    }

    public struct Device: Codable, Sendable, Equatable {
        /// Such as "iPhone17,1".
        public var model: String
        /// Such as "iOS 26.1".
        public var system: String
        public var memoryBytes: Int
    }

    public struct Runtime: Codable, Sendable, Equatable {
        public var engine: String
        public var artifact: String
        public var form: String
        public var computeUnits: String
    }

    /// Numbers that aren't finite are nil.
    public struct Results: Codable, Sendable, Equatable {
        public var tokenizer: [IDs] = []
        public var chat: [IDs] = []
        public var decode: [Decode] = []
        public var embed: [Values] = []
        public var scores: [Values] = []
        /// Vectors that couldn't be run.
        public var errors: [Failed] = []
    }

    public struct IDs: Codable, Sendable, Equatable {
        public var id: String
        public var ids: [Int]
    }

    public struct Decode: Codable, Sendable, Equatable {
        public var id: String
        /// At each judged position, the natural log-probabilities of the vector's ids.
        public var logprobs: [[Double?]]
        /// The most likely token at each judged position.
        public var top1: [Int]
        public var continuation: [Int]
    }

    public struct Values: Codable, Sendable, Equatable {
        public var id: String
        public var values: [Double?]
    }

    public struct Failed: Codable, Sendable, Equatable {
        public var id: String
        public var message: String
    }

    /// nil: not measured.
    public struct Speed: Codable, Sendable, Equatable {
        public var loadSeconds: Double?
        public var firstTokenSeconds: Double?
        public var prefillTokensPerSecond: Double?
        public var decodeTokensPerSecond: Double?
        public var peakMemoryBytes: Int?

        public init() {}
    }

    /// UTF-8 JSON with sorted keys.
    public func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return try encoder.encode(self) + Data("\n".utf8)
    }
}
