import Foundation
import KogataTokenizer

/// What a bundle states about its answers: the ids that end one, and how long it may be.
public struct GenerationDefaults: Sendable, Equatable {
    public let endIDs: Set<Int>
    /// `max_new_tokens` of generation_config.json.
    public let maxTokens: Int?

    /// Reads `generation_config.json`, and where it states no end, the end token of `tokenizer_config.json`.
    /// folder: the bundle's tokenizer folder. Missing files state nothing.
    public init(folder: URL, tokenizer: Tokenizer) {
        let generation: StatedGeneration? = read("generation_config.json", in: folder)
        let settings: StatedTokens? = read("tokenizer_config.json", in: folder)
        let end = settings?.eosToken?.content.flatMap { tokenizer.id(of: $0) }
        endIDs = Set(generation?.eosTokenId?.ids ?? end.map { [$0] } ?? [])
        maxTokens = generation?.maxNewTokens.flatMap { $0 > 0 ? $0 : nil }
    }
}

private func read<Value: Decodable>(_ name: String, in folder: URL) -> Value? {
    guard let json = try? Data(contentsOf: folder.appendingPathComponent(name)) else { return nil }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try? decoder.decode(Value.self, from: json)
}

private struct StatedGeneration: Decodable {
    let eosTokenId: OneOrMore?
    let maxNewTokens: Int?
}

private struct StatedTokens: Decodable {
    let eosToken: TokenText?
}

/// A number or a list of them.
private struct OneOrMore: Decodable {
    let ids: [Int]

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        ids = try (try? value.decode([Int].self)) ?? [value.decode(Int.self)]
    }
}

/// A text, or an object with the text in `content`.
private struct TokenText: Decodable {
    let content: String?

    private struct Added: Decodable {
        let content: String
    }

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        content = (try? value.decode(String.self)) ?? (try? value.decode(Added.self))?.content
    }
}
