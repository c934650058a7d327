import Foundation

/// The tokenizer of a `tokenizer.json`, the format of Hugging Face `tokenizers`, with the same ids on every system.
public struct Tokenizer: Sendable {
    private let normalizer: Normalizer?
    private let preTokenizer: PreTokenizer?
    private let model: Model
    private let postProcessor: PostProcessor?
    private let added: AddedTokens
    private let steps: [DecoderStep]
    private let truncation: Truncation?
    private let padding: Padding?
    private let needsOrigins: Bool

    /// Reads `tokenizer.json` in a folder. Throws a `TokenizerError` that names what can't be used.
    public init(folder: URL) throws {
        let file = folder.appendingPathComponent("tokenizer.json")
        guard let data = try? Data(contentsOf: file) else { throw TokenizerError.noFile(path: file.path) }
        try self.init(json: data)
    }

    /// Reads the contents of a `tokenizer.json`. Throws a `TokenizerError` that names what can't be used.
    public init(json: Data) throws {
        try self.init(value: try JSON(json))
    }

    init(value file: JSON) throws {
        guard file.members != nil, let model = file["model"] else {
            throw TokenizerError.missingField(name: "model", component: "tokenizer")
        }
        if let version = file["version"]?.name, version != "1.0" {
            throw TokenizerError.unsupportedSetting(
                component: "file", setting: "version \(version)", reason: "only 1.0 is known")
        }
        normalizer = try file["normalizer"].map(Normalizer.init)
        preTokenizer = try file["pre_tokenizer"].map(PreTokenizer.init)
        self.model = try Model(model, isByteLevel: preTokenizer?.isByteLevel ?? normalizer?.isByteLevel ?? false)
        postProcessor = try file["post_processor"].map(PostProcessor.init)
        steps = try DecoderStep.steps(file["decoder"])
        let count = postProcessor?.addedCount ?? 0
        truncation = try file["truncation"].map { try Truncation($0, addedCount: count) }
        padding = try file["padding"].map(Padding.init)
        added = try AddedTokens(file["added_tokens"]?.items ?? [], model: self.model, normalizer: normalizer)
        needsOrigins = preTokenizer?.needsOrigins ?? false
    }

    /// The number of different tokens, added ones included.
    public var vocabularySize: Int {
        model.vocabulary.count + added.count(outside: model.vocabulary)
    }

    /// The ids of a text, cut and filled as the file says.
    /// - Parameter addSpecialTokens: with the tokens that the file puts around every text, such as `[CLS]`.
    public func encode(_ text: String, addSpecialTokens: Bool = true) -> [Int] {
        var ids: [Int] = []
        var pieces = added.split(NormalizedText(scalars(text), tracked: needsOrigins), normalizer: normalizer)
        if let preTokenizer { pieces = preTokenizer.split(pieces) }
        for piece in pieces {
            if let id = piece.id { ids.append(id) } else { ids += model.tokenize(piece.text.scalars) }
        }
        let count = addSpecialTokens ? postProcessor?.addedCount ?? 0 : 0
        if let truncation { ids = truncation.truncate(ids, addedCount: count) }
        if addSpecialTokens, let postProcessor { ids = postProcessor.process(ids) }
        return padding?.pad(ids) ?? ids
    }

    /// The text of ids. Ids without a token are left out.
    public func decode(_ ids: [Int], skipSpecialTokens: Bool = true) -> String {
        var chain = DecodingChain(steps, isStreaming: false)
        var text = Bytes()
        for id in ids {
            if let token = token(of: id, skipSpecialTokens: skipSpecialTokens) { text += chain.append(token) }
        }
        return String(text + chain.finish())
    }

    /// Decodes ids one by one as a model gives them.
    public func stream(skipSpecialTokens: Bool = true) -> StreamingDecoder {
        StreamingDecoder(
            tokenizer: self, chain: DecodingChain(steps, isStreaming: true), skipSpecialTokens: skipSpecialTokens)
    }

    /// The id of a token, added or in the model's vocabulary.
    public func id(of token: String) -> Int? {
        let bytes = Bytes(token.utf8)
        return added.id(of: bytes) ?? model.vocabulary.id(of: bytes)
    }

    /// The token of an id as the file writes it, for example "Ġthe".
    public func token(of id: Int) -> String? {
        bytes(of: id).map { String($0) }
    }

    private func bytes(of id: Int) -> Bytes? {
        added.content(of: id) ?? model.vocabulary.text(of: id)
    }

    fileprivate func token(of id: Int, skipSpecialTokens: Bool) -> Bytes? {
        skipSpecialTokens && added.isSpecial(id) ? nil : bytes(of: id)
    }
}

/// Gives the text of ids as soon as it is complete: never a part of a character.
///
/// All that `append` and `finish` return, joined, is what `Tokenizer.decode` gives for all the ids. The one exception:
/// byte tokens such as <0xE3> that go on with bytes which aren't UTF-8. `decode` then shows U+FFFD for the whole run of
/// byte tokens, a stream only for what wasn't shown yet.
public struct StreamingDecoder: Sendable {
    private let tokenizer: Tokenizer
    private var chain: DecodingChain
    private let skipSpecialTokens: Bool

    init(tokenizer: Tokenizer, chain: DecodingChain, skipSpecialTokens: Bool) {
        self.tokenizer = tokenizer
        self.chain = chain
        self.skipSpecialTokens = skipSpecialTokens
    }

    /// The text that this id completes; empty while a character is unfinished.
    public mutating func append(_ id: Int) -> String {
        guard let token = tokenizer.token(of: id, skipSpecialTokens: skipSpecialTokens) else { return "" }
        return String(chain.append(token))
    }

    /// The text that was held back. Call it once, after the last id.
    public mutating func finish() -> String {
        String(chain.finish())
    }
}
