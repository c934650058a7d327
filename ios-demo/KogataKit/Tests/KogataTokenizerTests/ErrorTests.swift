import Foundation
import Testing

@testable import KogataTokenizer

private let model = #""model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}"#

private func problem(_ json: String) -> TokenizerError? {
    do {
        _ = try Tokenizer(json: Data(json.utf8))
        return nil
    } catch {
        return error as? TokenizerError
    }
}

@Test(arguments: [
    ("normalizer", "normalizer"), ("pre_tokenizer", "pre-tokenizer"), ("post_processor", "post-processor"),
    ("decoder", "decoder"),
])
func unknownComponentsAreNamed(field: String, kind: String) {
    let found = problem("{\(model), \"\(field)\": {\"type\": \"Fancy\"}}")
    #expect(found == .unknownComponent(kind: kind, name: "Fancy"))
    #expect(found?.description.contains("\"Fancy\"") == true)
}

@Test func unknownModelIsNamed() {
    #expect(problem(#"{"model": {"type": "Neural"}}"#) == .unknownComponent(kind: "model", name: "Neural"))
}

@Test func missingFileIsNamed() {
    #expect(throws: TokenizerError.noFile(path: "/nowhere/tokenizer.json")) {
        try Tokenizer(folder: URL(fileURLWithPath: "/nowhere"))
    }
}

@Test(arguments: ["", "{", "[1,]", #"{"a" 1}"#, #""\ud800""#, "nul", "{} x", "\"\u{01}\"", "1e", #""\x""#])
func damagedJSONIsRefused(text: String) {
    #expect(throws: TokenizerError.self) { try JSON(Data(text.utf8)) }
}

@Test func deepJSONIsRefused() {
    #expect(throws: TokenizerError.self) { try JSON(Data(String(repeating: "[", count: 100_000).utf8)) }
}

/// A file with one setting that can't be honoured, and a word of the message.
@Test(arguments: [
    (#""normalizer": {"type": "Strip"}"#, "strip_left"),
    (#""normalizer": {"type": "Replace", "pattern": {"Regex": "(a)\\1"}, "content": ""}"#, "\\1"),
    (#""normalizer": {"type": "Precompiled", "precompiled_charsmap": "????"}"#, "base64"),
    (#""normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////w=="}"#, "shorter"),
    (#""pre_tokenizer": {"type": "Split", "pattern": {"String": "a"}, "behavior": "Odd", "invert": false}"#, "Odd"),
    (#""pre_tokenizer": {"type": "Metaspace", "replacement": "ab"}"#, "one character"),
    (#""pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "odd"}"#, "odd"),
    (#""post_processor": {"type": "TemplateProcessing", "single": [], "special_tokens": {}}"#, "without the text"),
    (
        #""post_processor": {"type": "TemplateProcessing", "special_tokens":{}, "single": [{"SpecialToken": {"id": "x"}}]}"#,
        "\"x\""
    ),
    (#""decoder": {"type": "BPEDecoder", "suffix": ""}"#, "empty suffix"),
    (#""decoder": {"type": "CTC"}"#, "CTC"),
    (#""truncation": {"max_length": 4, "strategy": "OnlySecond", "stride": 0}"#, "second text"),
    (#""padding": {"strategy": "Longest", "pad_id": 0}"#, "strategy"),
    (#""padding": {"strategy": {"Fixed": 4000000000}, "pad_id": 0}"#, "4000000000"),
    (#""version": "2.0""#, "2.0"),
])
func settingsThatCannotBeHonouredAreNamed(part: String, word: String) {
    let found = problem("{\(model), \(part)}")
    #expect(found?.description.contains(word) == true, "\(String(describing: found))")
}

@Test(arguments: [
    (#"{"type": "BPE", "dropout": 0.1, "vocab": {}, "merges": []}"#, "dropout"),
    (#"{"type": "BPE", "unk_token": "?", "vocab": {}, "merges": []}"#, "\"?\""),
    (#"{"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}"#, "\"b\""),
    (#"{"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}"#, "pairs"),
    (#"{"type": "BPE", "vocab": {"a": -1}, "merges": []}"#, "whole number"),
    (#"{"type": "BPE", "vocab": {"a": 0}}"#, "merges"),
    (#"{"type": "WordLevel", "vocab": {}, "unk_token": "?"}"#, "\"?\""),
    (#"{"type": "WordPiece", "vocab": {}, "unk_token": "?"}"#, "continuing_subword_prefix"),
    (#"{"type": "Unigram", "vocab": [["a", 0]], "unk_id": null}"#, "unk_id"),
    (#"{"type": "Unigram", "vocab": [["a", 0]], "unk_id": 1}"#, "unk_id 1"),
    (#"{"type": "Unigram", "vocab": [["a"]], "unk_id": 0}"#, "pairs"),
])
func damagedModelsAreRefused(json: String, word: String) {
    let found = problem("{\"model\": \(json)}")
    #expect(found?.description.contains(word) == true, "\(String(describing: found))")
}
