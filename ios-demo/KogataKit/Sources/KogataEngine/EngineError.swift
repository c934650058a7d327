import Foundation

/// What can go wrong while a model runs. Each case has one sentence that says what to do.
public enum EngineError: Error, Equatable, Sendable {
    case notLoaded
    case emptyText
    case tooLong(tokens: Int, context: Int)
    case noSuchPosition(Int, count: Int)
    case notInVocabulary(id: Int)
    case wrongTask(String, needed: String)
    case missingInput(String)
    case missingOutput(String)
    case unexpectedShape(name: String, shape: [Int])
    case unsupportedType(name: String, type: String)
    case runtimeAbsent(String)
    case runtimeFailed(String)
}

extension EngineError: LocalizedError {
    public var errorDescription: String? {
        switch self {
        case .notLoaded: "The model isn't loaded: call load() first."
        case .emptyText: "The text has no tokens."
        case .tooLong(let tokens, let context):
            "The text has \(tokens) tokens, but the model takes at most \(context): shorten it or start a new conversation."
        case .noSuchPosition(let position, let count):
            "There is no position \(position) in a text of \(count) tokens."
        case .notInVocabulary(let id): "The model has no token \(id): the tokenizer belongs to another model."
        case .wrongTask(let task, let needed): "This model is for \(task), and can't be used for \(needed)."
        case .missingInput(let name): "The model has the input \(name), which this engine doesn't know."
        case .missingOutput(let name): "The model has no output \(name)."
        case .unexpectedShape(let name, let shape): "\(name) has the shape \(shape), which this engine doesn't expect."
        case .unsupportedType(let name, let type): "\(name) has the type \(type), which this engine can't read."
        case .runtimeAbsent(let reason): reason
        case .runtimeFailed(let reason): "The runtime failed: \(reason)"
        }
    }
}
