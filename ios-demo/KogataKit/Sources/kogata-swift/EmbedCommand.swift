import KogataBundle
import KogataEngine

enum EmbedCommand: Command {
    static let name = "embed"
    static let usage = "BUNDLE TEXT…"
    static let summary = "Prints each text's embedding, or its labels with scores, as a line of JSON."
    static let options =
        [Option("--prompts", "FILE", "Also read texts from a .jsonl file, an object with \"text\" on each line.")]
        + engineOptions

    static func run(_ arguments: Arguments) async throws -> ExitCode {
        let fromFile = try arguments.text("--prompts").map(TextLine.read) ?? []
        let texts = arguments.words.dropFirst() + fromFile.flatMap { $0.messages.map(\.content) }
        let opened = try OpenedBundle(arguments)
        guard !texts.isEmpty else { throw UsageError("Give a text.") }
        let model = opened.bundle.manifest.model
        let task = opened.bundle.manifest.task
        let tokenizer = try opened.tokenizer()
        let engine = try opened.engine(arguments)
        // No graph adds the prompt that the model expects before a text.
        let prompt = model.defaultPromptName.flatMap { model.prompts?[$0] } ?? ""
        for text in texts {
            let ids = tokenizer.encode(prompt + text)
            if task == "text-classification" {
                guard let function = model.scores.flatMap(ScoreFunction.init(rawValue:)) else {
                    throw EngineError.wrongTask(task, needed: "scores: the manifest doesn't say how to compute them")
                }
                let scores = try await engine.classify(ids, scores: function)
                try printJSON(Scores(text: text, scores: named(scores, model.labels ?? [])))
            } else {
                try printJSON(Embedding(text: text, tokens: ids.count, embedding: try await engine.embed(ids)))
            }
        }
        return .success
    }

    private static func named(_ scores: [Float], _ labels: [String]) -> [Label] {
        scores.enumerated().map { index, score in
            Label(label: labels.indices.contains(index) ? labels[index] : "\(index)", score: score)
        }
    }

    private struct Embedding: Encodable {
        let text: String
        let tokens: Int
        let embedding: [Float]
    }

    private struct Scores: Encodable {
        let text: String
        let scores: [Label]
    }

    private struct Label: Encodable {
        let label: String
        let score: Float
    }
}
