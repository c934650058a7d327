import Foundation
import KogataBundle
import KogataChat

/// `parity/device.json`: texts with the token ids and the answers that a device must reproduce, and the limits.
///
/// docs/bundle-format.md describes the file.
public struct DeviceVectors: Decodable, Sendable {
    public static let schemaVersion = 1
    /// The file's path in a bundle.
    public static let path = "parity/device.json"

    public let name: String
    public let task: String
    /// Log-probabilities or scores of the checkpoint that are nearer to each other than this count as equal.
    public let nearTie: Double
    /// The function from a head's logits to its scores.
    public let activation: String?
    public let tokenizer: [IDs]
    public let chat: [Chat]
    public let decode: [Decode]
    public let embed: [Values]
    public let scores: [Values]
    /// The limits by artifact path.
    public let gates: [String: [Gate]]

    /// A text and its token ids, special tokens included.
    public struct IDs: Decodable, Sendable {
        public let id: String
        public let text: String
        public let ids: [Int]
    }

    /// A conversation and the ids of its prompt.
    public struct Chat: Decodable, Sendable {
        public let id: String
        public let messages: [Message]
        public let ids: [Int]
    }

    /// A decoder's text with the checkpoint's answer. The logits at the positions `first` to `ids.count - 1` are judged.
    public struct Decode: Decodable, Sendable {
        public let id: String
        public let ids: [Int]
        public let first: Int
        public let top: [Top]
        /// The checkpoint's greedy continuation of `ids[...first]`.
        public let continuation: [Int]
    }

    /// The most likely tokens at one position, the most likely one first, and their natural log-probabilities.
    public struct Top: Decodable, Sendable {
        public let ids: [Int]
        public let logprobs: [Double]
    }

    /// A text with an encoder's outputs: its embedding, or the logits of a head, row by row.
    public struct Values: Decodable, Sendable {
        public let id: String
        public let ids: [Int]
        public let values: [Double]
        public let rows: Int?
        /// Token types; nil: all are 0.
        public let types: [Int]?
        /// The tokens whose rows these are; nil: the whole output.
        public let positions: [Int]?
    }

    /// An inclusive limit on a metric.
    public struct Gate: Decodable, Sendable {
        public let metric: String
        public let min: Double?
        public let max: Double?
        public let reason: String
        /// For "vectors_beyond": the largest error of each vector that doesn't count.
        public let allowed: [String: Double]?
    }

    /// The vectors of a bundle. Verify the bundle first.
    public init(bundle: ModelBundle) throws {
        let file = bundle.url(of: DeviceVectors.path)
        guard let json = try? Data(contentsOf: file) else { throw ParityError.noVectors }
        try self.init(json: json)
    }

    public init(json: Data) throws {
        struct Version: Decodable {
            let schemaVersion: Int

            private enum CodingKeys: String, CodingKey {
                case schemaVersion = "schema_version"
            }
        }
        do {
            let version = try JSONDecoder().decode(Version.self, from: json).schemaVersion
            guard version == DeviceVectors.schemaVersion else { throw ParityError.unknownSchema(version: version) }
            self = try JSONDecoder().decode(DeviceVectors.self, from: json)
            if let problem { throw ParityError.badVectors(reason: problem) }
        } catch let error as DecodingError {
            throw ParityError.badVectors(reason: "\(error)")
        }
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        name = try values.decode(String.self, forKey: .name)
        task = try values.decode(String.self, forKey: .task)
        nearTie = try values.decodeIfPresent(Double.self, forKey: .nearTie) ?? 0
        activation = try values.decodeIfPresent(String.self, forKey: .activation)
        tokenizer = try values.decodeIfPresent([IDs].self, forKey: .tokenizer) ?? []
        chat = try values.decodeIfPresent([Chat].self, forKey: .chat) ?? []
        decode = try values.decodeIfPresent([Decode].self, forKey: .decode) ?? []
        embed = try values.decodeIfPresent([Values].self, forKey: .embed) ?? []
        scores = try values.decodeIfPresent([Values].self, forKey: .scores) ?? []
        gates = try values.decodeIfPresent([String: [Gate]].self, forKey: .gates) ?? [:]
    }

    private enum CodingKeys: String, CodingKey {
        case name, task, activation, tokenizer, chat, decode, embed, scores, gates
        case nearTie = "near_tie"
    }

    /// A rule that types can't state, and that this file breaks. A bundle that kogata wrote breaks none.
    private var problem: String? {
        for vector in decode {
            let judged = vector.ids.count - vector.first
            if vector.first < 0 || judged < 1 || judged != vector.top.count || vector.continuation.isEmpty {
                return "\(vector.id) must have one entry in top for each judged position, and a continuation"
            }
            if vector.top.contains(where: { $0.ids.isEmpty || $0.ids.count != $0.logprobs.count }) {
                return "\(vector.id) must have a log-probability for each id"
            }
        }
        for vector in embed + scores {
            let rows = vector.rows ?? 1
            if rows < 1 || vector.values.isEmpty || vector.values.count % rows != 0 {
                return "the values of \(vector.id) must fill \(rows) rows"
            }
            if let types = vector.types, !types.isEmpty, types.count != vector.ids.count {
                return "\(vector.id) must have a token type for each id"
            }
        }
        return nil
    }

    /// The number of vectors.
    public var count: Int { tokenizer.count + chat.count + decode.count + embed.count + scores.count }
}

/// Why the vectors of a bundle can't be run.
public enum ParityError: Error, Equatable, Sendable {
    case noVectors
    case unknownSchema(version: Int)
    case badVectors(reason: String)
    case noGates(artifact: String)
}

extension ParityError: LocalizedError {
    public var errorDescription: String? {
        switch self {
        case .noVectors:
            "The bundle has no \(DeviceVectors.path): export it again, without --parity none."
        case .unknownSchema(let version):
            "\(DeviceVectors.path) has schema version \(version); this version of KogataKit reads \(DeviceVectors.schemaVersion)."
        case .badVectors(let reason): "\(DeviceVectors.path) can't be read: \(reason)"
        case .noGates(let artifact): "\(DeviceVectors.path) has no limits for \(artifact)."
        }
    }
}
