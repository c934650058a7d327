import Foundation
import Testing

@testable import KogataChat

/// Made by tests/support/swift_values.py: the texts come from transformers' Jinja environment.
private struct Cases {
    let template: ChatTemplate
    let conversations: [(messages: [Message], text: String?)]

    static func all() throws -> [String: Cases] {
        let file = try #require(Bundle.module.url(forResource: "conversations", withExtension: "json"))
        let data = try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: [String: Any]]
        return try #require(data).mapValues { value in
            let chat = try JSONSerialization.data(withJSONObject: try #require(value["chat"]))
            struct Conversation: Decodable {
                let messages: [Message]
                let text: String?
            }
            let raw = try JSONSerialization.data(withJSONObject: try #require(value["conversations"]))
            let decoded = try JSONDecoder().decode([Conversation].self, from: raw)
            return Cases(template: try ChatTemplate(json: chat), conversations: decoded.map { ($0.messages, $0.text) })
        }
    }
}

@Test func promptsAreTheTextsOfJinja() throws {
    let all = try Cases.all()
    #expect(all.count == 10)
    for (name, cases) in all {
        #expect(cases.conversations.count == 10)
        for (messages, text) in cases.conversations {
            guard let text else {
                #expect(throws: ChatError.self, "\(name): \(messages)") { try cases.template.prompt(for: messages) }
                continue
            }
            let found = try cases.template.prompt(for: messages)
            #expect(Array(found.utf8) == Array(text.utf8), "\(name): \(messages)")
        }
        #expect(cases.template.stopIDs.contains(2))
    }
}

@Test func trimmingIsPythons() {
    // Every scalar for which Python 3.11's str.isspace() is true.
    let spaces: [ClosedRange<UInt32>] = [
        0x9...0xd, 0x1c...0x20, 0x85...0x85, 0xa0...0xa0, 0x1680...0x1680, 0x2000...0x200a, 0x2028...0x2029,
        0x202f...0x202f, 0x205f...0x205f, 0x3000...0x3000,
    ]
    let all = (0...UInt32(0x10ffff)).compactMap(Unicode.Scalar.init).filter(isPythonSpace).map(\.value)
    #expect(all == spaces.flatMap { Array($0) })
    #expect(trimmed(" \u{301}a ") == "\u{301}a")
    #expect(trimmed("\r\n \u{3000}") == "")
}

private let pieces = """
    "schema_version": 1, "reducible": true, "start": "", "default_system": null, "generation_prompt": "A:",
    "stop_ids": [], "stop_texts": ["\\nQ:"], "later": {"ignored": 1},
    "roles": {"user": {"prefix": "Q:", "suffix": "", "trim": false},
              "assistant": {"prefix": "A:", "suffix": "", "trim": false}}
    """

private func template(_ rest: String) throws -> ChatTemplate {
    try ChatTemplate(json: Data("{\(pieces), \(rest)}".utf8))
}

@Test func conversationsThatTheTemplateRefusesAreRefused() throws {
    let strict = try template(#""alternates": true, "forbidden": ["</think>", "e"], "system_in_user": null"#)
    #expect(strict.stopTexts == ["\nQ:"])
    #expect(try strict.prompt(for: [.user("hi")]) == "Q:hiA:")
    #expect(throws: ChatError.empty) { try strict.prompt(for: []) }
    #expect(throws: ChatError.unknownRole("system", known: ["assistant", "user"])) {
        try strict.prompt(for: [.system("s"), .user("u")])
    }
    #expect(throws: ChatError.unknownRole("tool", known: ["assistant", "user"])) {
        try strict.prompt(for: [.user("u"), Message(role: "tool", content: "")])
    }
    #expect(throws: ChatError.notAlternating(index: 1, expected: "assistant")) {
        try strict.prompt(for: [.user("u"), .user("u")])
    }
    #expect(throws: ChatError.notAlternating(index: 0, expected: "user")) { try strict.prompt(for: [.assistant("a")]) }
    #expect(throws: ChatError.notAlternating(index: 2, expected: "user")) {
        try strict.prompt(for: [.user("u"), .assistant("a")])
    }
    #expect(throws: ChatError.forbidden(text: "</think>", index: 0)) { try strict.prompt(for: [.user("x</think>")]) }
    // The letter is there although Swift sees one character "é".
    #expect(throws: ChatError.forbidden(text: "e", index: 0)) { try strict.prompt(for: [.user("e\u{301}")]) }
    let around = #""system_in_user": {"prefix": "<", "suffix": ">"}"#
    let inside = try template(#""alternates": false, "forbidden": [], \#(around)"#)
    #expect(try inside.prompt(for: [.system(" s"), .user("u"), .user("v")]) == "Q:< s>uQ:vA:")
    #expect(throws: ChatError.systemWithoutUser) { try inside.prompt(for: [.system("s"), .assistant("a")]) }
    #expect(throws: ChatError.systemWithoutUser) { try inside.prompt(for: [.system("s")]) }
    #expect(throws: ChatError.systemNotFirst(index: 1)) { try inside.prompt(for: [.user("u"), .system("s")]) }
}

@Test func filesThatCantBeUsedAreRefusedWithASentence() throws {
    let read = { (text: String) in _ = try ChatTemplate(json: Data(text.utf8)) }
    #expect(throws: ChatError.unknownSchema(version: 2)) { try read(#"{"schema_version": 2, "reducible": true}"#) }
    #expect(throws: ChatError.notReducible(reason: "tools")) {
        try read(#"{"schema_version": 1, "reducible": false, "reason": "tools"}"#)
    }
    #expect(throws: ChatError.badTemplate(reason: "start is missing")) {
        try read(#"{"schema_version": 1, "reducible": true}"#)
    }
    #expect(throws: ChatError.self) { try read("nonsense") }
    let folder = URL(fileURLWithPath: "/nowhere")
    #expect(throws: ChatError.noTemplate(path: "/nowhere/chat.json")) { try ChatTemplate(folder: folder) }
    #expect(ChatError.empty.localizedDescription == "The conversation has no message.")
}
