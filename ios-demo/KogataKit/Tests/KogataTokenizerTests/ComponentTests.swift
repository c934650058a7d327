import Foundation
import Testing

@testable import KogataTokenizer

/// A tokenizer.json around one component, with what Python's `tokenizers` makes of some texts.
struct ComponentCase: Sendable, CustomTestStringConvertible {
    let name: String
    let json: JSON
    let data: Data
    var testDescription: String { name }

    func texts(_ key: String) -> [Bytes] { json[key]?.items?.compactMap(\.text) ?? [] }

    func ids(_ key: String) -> [[Int]] {
        json[key]?.items?.map { $0.items?.compactMap(\.integer) ?? [] } ?? []
    }

    static let all: [ComponentCase] = {
        guard let file = Bundle.module.url(forResource: "components", withExtension: "json", subdirectory: "Resources"),
            let text = try? String(contentsOf: file, encoding: .utf8)
        else { return [] }
        // One case a line, between the lines of the brackets.
        return text.split(separator: "\n").dropFirst().dropLast().compactMap { line in
            let data = Data(line.hasSuffix(",") ? line.dropLast().utf8 : line[...].utf8)
            guard let json = try? JSON(data), let name = json["name"]?.name else { return nil }
            return ComponentCase(name: name, json: json, data: data)
        }
    }()
}

@Test func resourcesAreComplete() {
    #expect(ComponentCase.all.count > 60)
}

@Test(arguments: ComponentCase.all)
func componentsAgreeWithTokenizers(one: ComponentCase) throws {
    let tokenizer = try Tokenizer(value: try #require(one.json["tokenizer"]))
    let texts = one.texts("texts")
    #expect(!texts.isEmpty)
    for (index, bytes) in texts.enumerated() {
        let text = String(bytes)
        let ids = tokenizer.encode(text)
        #expect(ids == one.ids("ids")[index], "\(text.debugDescription)")
        #expect(tokenizer.encode(text, addSpecialTokens: false) == one.ids("bare")[index], "\(text.debugDescription)")
        let plain = one.texts("plain")[index]
        #expect(Bytes(tokenizer.decode(ids, skipSpecialTokens: false).utf8) == one.texts("text")[index])
        #expect(Bytes(tokenizer.decode(ids).utf8) == plain)
    }
}

@Test(arguments: ComponentCase.all)
func streamsAreWhatDecodeGives(one: ComponentCase) throws {
    let tokenizer = try Tokenizer(value: try #require(one.json["tokenizer"]))
    for (ids, whole) in zip(one.ids("ids"), one.texts("plain")) {
        var stream = tokenizer.stream()
        var text = ids.map { stream.append($0) }.joined()
        text += stream.finish()
        if one.name.contains("ByteFallback") || one.name.contains("Llama"), whole != Bytes(text.utf8) {
            #expect(String(whole).contains("\u{FFFD}"))  // bytes that aren't UTF-8, the exception that is documented
        } else {
            #expect(Bytes(text.utf8) == whole)
        }
    }
}
