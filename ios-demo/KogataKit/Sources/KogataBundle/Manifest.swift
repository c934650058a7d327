import Foundation

/// What an app needs of `manifest.json`. docs/bundle-format.md describes every field. Unknown fields are ignored.
public struct Manifest: Codable, Equatable, Sendable {
    /// The only version that this package reads.
    public static let schemaVersion = 1
    /// The name of the file in a bundle.
    static let file = "manifest.json"

    public let name: String
    /// The task's name on the Hugging Face hub, such as `text-generation`.
    public let task: String
    public let model: Model
    public let source: Source
    public let languages: [String]
    /// Longest sequence in tokens, prompt and answer together; nil for a model without text.
    public let context: Int?
    /// Inputs, outputs and states by artifact path.
    public let io: [String: Ports]
    public let artifacts: [Artifact]
    /// Comparison with the checkpoint by artifact path.
    public let parity: [String: Parity]
    /// Names and versions of the packages that made the bundle.
    public let tools: [String: String]
    /// Gates that failed and aren't about one artifact, in words.
    public let failures: [String]
    private let recordedVerdict: Verdict?

    /// The verdict of the whole bundle. Older bundles have none of their own: theirs follows from their artifacts.
    public var verdict: Verdict {
        if let recordedVerdict { return recordedVerdict }
        let verdicts = artifacts.map { parity[$0.path]?.verdict ?? .unchecked }
        return verdicts.contains(.failed) ? .failed : verdicts.contains(.unchecked) ? .unchecked : .passed
    }

    /// - Throws: `BundleError.unknownSchema` or `.badManifest`.
    init(json: Data) throws {
        do {
            let version = try JSONDecoder().decode(Version.self, from: json).schemaVersion
            guard version == Manifest.schemaVersion else { throw BundleError.unknownSchema(version: version) }
            self = try JSONDecoder().decode(Manifest.self, from: json)
        } catch let error as DecodingError {
            throw BundleError.badManifest(reason: sentence(error))
        }
        for path in artifacts.flatMap({ [$0.path] + $0.files.map(\.path) }) {
            if let problem = pathProblem(path) {
                throw BundleError.badManifest(reason: "the path '\(printable(path))' \(problem)")
            }
        }
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        name = try values.decode(String.self, forKey: .name)
        task = try values.decode(String.self, forKey: .task)
        model = try values.decode(Model.self, forKey: .model)
        source = try values.decode(Source.self, forKey: .source)
        languages = try values.decode([String].self, forKey: .languages)
        context = try values.decodeIfPresent(Int.self, forKey: .context)
        io = try values.decode([String: Ports].self, forKey: .io)
        artifacts = try values.decode([Artifact].self, forKey: .artifacts)
        parity = try values.decode([String: Parity].self, forKey: .parity)
        tools = try values.decode([String: String].self, forKey: .tools)
        failures = try values.decodeIfPresent([String].self, forKey: .failures) ?? []
        recordedVerdict = try values.decodeIfPresent(Verdict.self, forKey: .recordedVerdict)
    }

    private enum CodingKeys: String, CodingKey {
        case name, task, model, source, languages, context, io, artifacts, parity, tools, failures
        case recordedVerdict = "verdict"
    }
}

private struct Version: Decodable {
    let schemaVersion: Int

    private enum CodingKeys: String, CodingKey {
        case schemaVersion = "schema_version"
    }
}

/// `unchecked`: the file was not compared with its checkpoint.
public enum Verdict: String, Codable, Sendable {
    case passed, failed, unchecked
}

extension Manifest {
    /// Facts about the model; sizes in elements.
    public struct Model: Codable, Equatable, Sendable {
        public let family: String
        public let vocabularySize: Int?
        public let hiddenSize: Int?
        // Decoders:
        public let heads: Int?
        public let layers: Int?
        public let kvHeads: Int?
        public let headDim: Int?
        // Encoders: `mean`, `cls`, …; nil where the graph's output isn't pooled.
        public let pooling: String?
        public let normalize: Bool?
        /// The sentence embedding is cut to so many elements after it was normalized.
        public let truncateDim: Int?
        /// Name → text that goes before a text. No graph adds it.
        public let prompts: [String: String]?
        public let defaultPromptName: String?
        // Classifiers: the labels of the logits, in the same order, and the function that makes scores of logits.
        public let labels: [String]?
        public let scores: String?

        private enum CodingKeys: String, CodingKey {
            case family, heads, layers, pooling, normalize, prompts, labels, scores
            case vocabularySize = "vocab_size"
            case hiddenSize = "hidden_size"
            case kvHeads = "kv_heads"
            case headDim = "head_dim"
            case truncateDim = "truncate_dim"
            case defaultPromptName = "default_prompt_name"
        }
    }

    /// The checkpoint. nil is unknown.
    public struct Source: Codable, Equatable, Sendable {
        public let repo: String?
        public let revision: String?
        public let license: String?
        public let licenseLink: String?
        public let digest: String

        private enum CodingKeys: String, CodingKey {
            case repo, revision, license, digest
            case licenseLink = "license_link"
        }
    }

    public struct Ports: Codable, Equatable, Sendable {
        public let inputs: [Port]
        public let outputs: [Port]
        public let states: [Port]
    }

    public struct Port: Codable, Equatable, Sendable {
        public let name: String
        public let dtype: String
        public let shape: [Dimension]
        /// If present, the only shapes allowed; `shape` is then the default.
        public let enumerated: [[Int]]?
        /// If present, smallest and largest size of each axis (nil: no limit).
        public let ranges: [[Int?]]?
    }

    /// The comparison of one artifact with the checkpoint.
    public struct Parity: Codable, Equatable, Sendable {
        public let verdict: Verdict
        /// What executed the file; nil where nothing did.
        public let runner: String?
        /// nil: not finite.
        public let metrics: [String: Double?]
    }
}

/// The size of one axis: a number, or the name of a variable size.
public enum Dimension: Codable, Equatable, Sendable {
    case fixed(Int)
    case variable(String)

    public init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if let size = try? value.decode(Int.self) {
            self = .fixed(size)
        } else {
            self = .variable(try value.decode(String.self))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var value = encoder.singleValueContainer()
        switch self {
        case .fixed(let size): try value.encode(size)
        case .variable(let name): try value.encode(name)
        }
    }
}

/// `error` in words, with the place in the file.
func sentence(_ error: DecodingError) -> String {
    let place = { (path: [any CodingKey]) in
        path.isEmpty ? "the file" : path.map { $0.intValue.map(String.init) ?? $0.stringValue }.joined(separator: ".")
    }
    switch error {
    case .keyNotFound(let key, let context): return "\(place(context.codingPath + [key])) is missing"
    case .typeMismatch(_, let context): return "\(place(context.codingPath)) has the wrong type"
    case .valueNotFound(_, let context): return "\(place(context.codingPath)) is null"
    case .dataCorrupted(let context): return "\(place(context.codingPath)) is not valid"
    @unknown default: return "it can't be decoded"
    }
}
