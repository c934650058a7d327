import Foundation
import KogataBundle
import KogataTokenizer

extension StreamingDecoder: TokenTextDecoder {}

/// One artifact of a bundle, as an engine opens it.
public struct EngineSource: Sendable {
    /// The model's file or package.
    public let model: URL
    public let artifact: Artifact
    public let ports: Manifest.Ports
    public let task: String
    /// The longest sequence in tokens.
    public let context: Int
    /// Ids are below this number. nil: unknown.
    public let vocabularySize: Int?
    /// SHA-256 of the bundle's SHA256SUMS.
    public let digest: String

    /// A text model that states no length takes so many tokens, as in `kogata run`.
    static let defaultContext = 2048

    /// artifact: one of the bundle's. Verify the bundle before you load the engine.
    public init(bundle: ModelBundle, artifact: Artifact) throws {
        guard let ports = bundle.manifest.io[artifact.path] else {
            throw EngineError.runtimeFailed("the manifest doesn't describe the inputs of \(artifact.path)")
        }
        model = bundle.url(of: artifact)
        self.artifact = artifact
        self.ports = ports
        task = bundle.manifest.task
        context = bundle.manifest.context ?? EngineSource.defaultContext
        vocabularySize = bundle.manifest.model.vocabularySize
        digest = bundle.digest
    }

    /// The facts that an engine of this runtime reports.
    public func facts(runtime: String, computeUnits: ComputeUnits, prefillChunk: Int) -> EngineFacts {
        EngineFacts(
            runtime: runtime, artifact: artifact.path, form: artifact.form ?? "", task: task,
            computeUnits: computeUnits, context: context, vocabularySize: vocabularySize, prefillChunk: prefillChunk)
    }

    /// The names of the inputs.
    public var inputNames: [String] { ports.inputs.map(\.name) }

    /// The names of the outputs.
    public var outputNames: [String] { ports.outputs.map(\.name) }

    /// Throws if the model has an input that isn't among `known`.
    public func requireKnownInputs(_ known: (String) -> Bool) throws {
        if let other = inputNames.first(where: { !known($0) }) { throw EngineError.missingInput(other) }
    }
}
