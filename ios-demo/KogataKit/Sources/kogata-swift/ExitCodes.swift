import KogataBundle
import KogataChat
import KogataEngine
import KogataParity
import KogataTokenizer

/// The exit code for an error that ended a command.
func exitCode(of error: any Error) -> ExitCode {
    switch error {
    case let error as BundleError: exitCode(of: error)
    case let error as EngineError: exitCode(of: error)
    case ChatError.notReducible, ChatError.unknownSchema, ParityError.unknownSchema: .unsupported
    case TokenizerError.unknownComponent, TokenizerError.unsupportedSetting: .unsupported
    case TokenizerError.unsupportedPattern: .unsupported
    default: .badInput
    }
}

private func exitCode(of error: BundleError) -> ExitCode {
    switch error {
    case .notIntact, .failedVerdict: .failed
    case .unknownSchema, .systemTooOld, .wrongSystem: .unsupported
    default: .badInput
    }
}

private func exitCode(of error: EngineError) -> ExitCode {
    switch error {
    case .runtimeAbsent: .runtimeAbsent
    case .wrongTask, .missingInput, .missingOutput, .unsupportedType, .unexpectedShape: .unsupported
    case .runtimeFailed: .failed
    case .notLoaded, .emptyText, .tooLong, .noSuchPosition, .notInVocabulary: .badInput
    }
}
