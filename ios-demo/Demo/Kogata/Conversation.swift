import Foundation
import KogataBundle
import KogataChat
import KogataEngine
import Observation

/// What home-intents answers: one action with its values.
struct HomeAction: Equatable, Sendable {
    let name: String
    let values: [(name: String, value: String)]

    /// The model says that it can't do what was asked.
    var isDeclined: Bool { name == "decline" || name == "none" }
    /// unsupported, unclear or unsafe.
    var reason: String? { values.first { $0.name == "reason" }?.value }

    /// nil for any other text.
    init?(_ answer: String) {
        guard let parsed = try? JSONSerialization.jsonObject(with: Data(answer.utf8)),
            let object = parsed as? [String: Any], let name = object["action"] as? String
        else { return nil }
        self.name = name
        let order = ["room", "device", "value", "item", "count", "label", "task", "day", "time", "hours", "minutes"]
        let rank = { (key: String) in order.firstIndex(of: key) ?? order.count }
        values = object.filter { $0.key != "action" }.map { (name: $0.key, value: "\($0.value)") }
            .sorted { (rank($0.name), $0.name) < (rank($1.name), $1.name) }
    }

    static func == (left: HomeAction, right: HomeAction) -> Bool {
        left.name == right.name && left.values.elementsEqual(right.values) { $0 == $1 }
    }
}

/// A conversation with the open model.
@MainActor @Observable
final class Conversation {
    struct Turn: Identifiable {
        let id: Int
        let message: Message
        var result: GenerationResult?
        var problem: String?
        var action: HomeAction?
    }

    private(set) var turns: [Turn] = []
    private(set) var answering: Task<Void, Never>?
    private var running: Generation?
    /// Whether the model sees earlier turns. home-intents takes every request by itself.
    var remembers = true

    func send(_ text: String, to model: OpenModel) {
        guard answering == nil else { return }
        append(.user(text))
        let seen = remembers ? turns.filter { $0.problem == nil }.map(\.message) : [.user(text)]
        append(.assistant(""))
        answering = Task {
            do {
                try await answer(seen, model)
            } catch {
                turns[turns.count - 1].problem = error.localizedDescription
            }
            answering = nil
        }
    }

    /// Ends the answer after the token that is being computed. The engine still reports how it went.
    func stop() { running?.cancel() }

    func clear() {
        if answering == nil { turns = [] }
    }

    private func answer(_ messages: [Message], _ model: OpenModel) async throws {
        let prompt = try model.chat?.prompt(for: messages) ?? messages.last?.content ?? ""
        let ids = model.tokenizer.encode(prompt, addSpecialTokens: model.chat == nil)
        let options = GenerationOptions(
            maxTokens: model.defaults.maxTokens, endIDs: model.defaults.endIDs.union(model.chat?.stopIDs ?? []),
            stopTexts: model.chat?.stopTexts ?? [])
        let answer = model.engine.generate(ids, options: options, decoder: model.tokenizer.stream())
        var text = ""
        var tokens = 0
        running = answer
        defer { running = nil }
        for try await event in answer {
            switch event {
            case .text(let piece): text += piece
            case .token:
                tokens += 1
                if tokens % 8 == 1 { show(text) }  // drawing every token would slow the model down
            case .stopped(let result):
                show(text)
                turns[turns.count - 1].result = result
                turns[turns.count - 1].action = HomeAction(text)
            }
        }
    }

    private func append(_ message: Message) { turns.append(Turn(id: turns.count, message: message)) }

    private func show(_ text: String) {
        let last = turns[turns.count - 1]
        turns[turns.count - 1] = Turn(id: last.id, message: .assistant(text), result: last.result, action: last.action)
    }
}
