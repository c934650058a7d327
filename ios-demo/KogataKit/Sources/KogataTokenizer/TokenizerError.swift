import Foundation

/// Why a `tokenizer.json` can't be used. Every case has a sentence that says what is wrong and where.
public enum TokenizerError: Error, Equatable, Sendable {
    /// There is no file at this path.
    case noFile(path: String)
    /// The file isn't JSON.
    case notJSON(offset: Int, problem: String)
    /// A field that the component needs is missing.
    case missingField(name: String, component: String)
    /// A field has a value of another kind.
    case wrongField(name: String, component: String, expected: String)
    /// The file names a component that this package doesn't know. `kind` is normalizer, pre-tokenizer, and so on.
    case unknownComponent(kind: String, name: String)
    /// The component is known, but not with this setting.
    case unsupportedSetting(component: String, setting: String, reason: String)
    /// A token that a component uses isn't in the vocabulary.
    case tokenNotInVocabulary(token: String, component: String)
    /// A regular expression uses something that this package doesn't execute exactly.
    case unsupportedPattern(pattern: String, reason: String)
    /// The character map of a Precompiled normalizer is damaged.
    case damagedCharacterMap(reason: String)
}

extension TokenizerError: LocalizedError, CustomStringConvertible {
    public var errorDescription: String? { description }

    public var description: String {
        switch self {
        case .noFile(let path):
            "There is no tokenizer file at \(path)."
        case .notJSON(let offset, let problem):
            "tokenizer.json isn't valid JSON: \(problem) at byte \(offset)."
        case .missingField(let name, let component):
            "The \(component) in tokenizer.json has no field \"\(name)\"."
        case .wrongField(let name, let component, let expected):
            "The field \"\(name)\" of the \(component) in tokenizer.json must be \(expected)."
        case .unknownComponent(let kind, let name):
            "tokenizer.json uses the \(kind) \"\(name)\", which this app doesn't know."
        case .unsupportedSetting(let component, let setting, let reason):
            "The \(component) in tokenizer.json has the setting \(setting), which this app doesn't support: \(reason)."
        case .tokenNotInVocabulary(let token, let component):
            "The \(component) in tokenizer.json uses the token \"\(token)\", which isn't in the vocabulary."
        case .unsupportedPattern(let pattern, let reason):
            "The regular expression \(pattern) in tokenizer.json can't be used: \(reason)."
        case .damagedCharacterMap(let reason):
            "The character map of the normalizer Precompiled is damaged: \(reason)."
        }
    }
}
