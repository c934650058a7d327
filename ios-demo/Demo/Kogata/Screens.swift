import KogataEngine
import SwiftUI

struct ChatScreen: View {
    let model: OpenModel
    @State private var conversation = Conversation()
    @State private var draft = ""

    var body: some View {
        NavigationStack {
            ScrollView {
                LazyVStack(alignment: .leading, spacing: 12) {
                    ForEach(conversation.turns) { TurnView(turn: $0) }
                }
                .padding()
            }
            .defaultScrollAnchor(.bottom)
            .safeAreaInset(edge: .bottom) { input }
            .navigationTitle(model.bundle.manifest.name)
            .toolbar {
                Toggle("Remember earlier turns", systemImage: "clock", isOn: $conversation.remembers)
                Button("New conversation", systemImage: "square.and.pencil") { conversation.clear() }
                    .disabled(conversation.answering != nil)
            }
            .onAppear { conversation.remembers = !model.bundle.manifest.name.hasPrefix("home-intents") }
        }
    }

    private var input: some View {
        HStack(alignment: .bottom) {
            TextField("Message", text: $draft, axis: .vertical).textFieldStyle(.roundedBorder).onSubmit(send)
            if conversation.answering == nil {
                Button("Send", systemImage: "arrow.up.circle.fill", action: send)
                    .disabled(draft.trimmingCharacters(in: .whitespacesAndNewlines).isEmpty)
            } else {
                Button("Stop", systemImage: "stop.circle.fill") { conversation.stop() }
            }
        }
        .labelStyle(.iconOnly)
        .font(.title2)
        .padding()
        .background(.bar)
    }

    private func send() {
        guard !draft.isEmpty else { return }
        conversation.send(draft, to: model)
        draft = ""
    }
}

private struct TurnView: View {
    let turn: Conversation.Turn

    var body: some View {
        let isUser = turn.message.role == "user"
        VStack(alignment: .leading, spacing: 4) {
            if let action = turn.action {
                ActionCard(action: action)
            } else {
                Text(turn.message.content).textSelection(.enabled).padding(10)
                    .background(
                        isUser ? AnyShapeStyle(.tint.opacity(0.2)) : AnyShapeStyle(.quaternary),
                        in: .rect(cornerRadius: 12)
                    )
                    .accessibilityLabel(
                        isUser ? Text("You: \(turn.message.content)") : Text("Answer: \(turn.message.content)"))
            }
            if let problem = turn.problem { Label(problem, systemImage: "xmark.octagon").foregroundStyle(.red) }
            if let result = turn.result { SpeedLine(result: result) }
        }
        .frame(maxWidth: .infinity, alignment: isUser ? .trailing : .leading)
    }
}

/// An action of home-intents. A declined request looks different from an action that a home would run.
private struct ActionCard: View {
    let action: HomeAction

    var body: some View {
        GroupBox {
            if action.isDeclined {
                Text(reason)
            } else {
                ForEach(action.values, id: \.name) { value in
                    LabeledContent(words(value.name), value: words(value.value))
                }
            }
        } label: {
            if action.isDeclined {
                Label("Nothing was done", systemImage: "hand.raised").foregroundStyle(.secondary)
            } else {
                Label(words(action.name), systemImage: "house").foregroundStyle(.tint)
            }
        }
        .accessibilityElement(children: .combine)
    }

    private var reason: LocalizedStringKey {
        switch action.reason {
        case "unclear": "It isn't clear what is meant. Name the device or the room."
        case "unsafe": "This could be dangerous, so it wasn't done."
        default: "This home can't do that."
        }
    }

    private func words(_ name: String) -> String { name.replacingOccurrences(of: "_", with: " ") }
}

private struct SpeedLine: View {
    let result: GenerationResult

    var body: some View {
        let first = result.firstTokenSeconds.formatted(.number.precision(.fractionLength(2)))
        let rate = result.decodeTokensPerSecond?.formatted(.number.precision(.fractionLength(1))) ?? "–"
        Text("First token after \(first) s, then \(rate) tokens/s")
            .font(.caption).foregroundStyle(.secondary).monospacedDigit()
    }
}

struct SearchScreen: View {
    let model: OpenModel
    @State private var search = SentenceSearch()
    @State private var query = ""

    var body: some View {
        NavigationStack {
            List {
                if let progress = search.progress { ProgressView("Reading the sentences", value: progress) }
                if let problem = search.problem { Label(problem, systemImage: "xmark.octagon").foregroundStyle(.red) }
                ForEach(search.hits) { hit in
                    LabeledContent(hit.text, value: hit.score.formatted(.number.precision(.fractionLength(2))))
                }
            }
            .searchable(text: $query, prompt: "Say it in your own words")
            .navigationTitle("Search by meaning")
            .task { await search.prepare(model) }
            .task(id: query) {
                try? await Task.sleep(for: .milliseconds(300))  // wait until typing pauses
                if !Task.isCancelled, !query.isEmpty, search.progress == nil { await search.find(query, model) }
            }
        }
    }
}

struct ParityScreen: View {
    let model: OpenModel
    @State private var check = ParityCheck()

    var body: some View {
        NavigationStack {
            List {
                Section {
                    if let running = check.running {
                        ProgressView(running.units.rawValue, value: running.progress)
                        Button("Stop") { check.stop() }
                    } else {
                        Button("Run the test vectors on each compute unit") { check.run(model) }
                    }
                } footer: {
                    Text("Send a report to the bundle's maker: kogata check BUNDLE --device-report FILE reads it.")
                }
                ForEach(check.outcomes) { outcome in
                    Section(outcome.id.rawValue) {
                        if outcome.passed {
                            Label("Passed", systemImage: "checkmark.seal.fill").foregroundStyle(.green)
                        } else {
                            Label("Failed", systemImage: "xmark.seal.fill").foregroundStyle(.red)
                        }
                        Text(outcome.summary).font(.caption.monospaced()).textSelection(.enabled)
                        if let rate = outcome.speed?.decodeTokensPerSecond {
                            LabeledContent(
                                "Tokens per second", value: rate.formatted(.number.precision(.fractionLength(1))))
                        }
                        if let report = outcome.report { ShareLink("Share the report", item: report) }
                    }
                }
            }
            .navigationTitle("Parity")
        }
    }
}
