#if canImport(CoreML)
    import CoreML
    import Foundation

    /// Runs a bundle's `.mlpackage` in Core ML.
    ///
    /// The actor owns the model and its state, which aren't Sendable: a state allows one prediction at a time. Predictions
    /// are synchronous calls inside the actor, so cancelling takes effect between two tokens.
    public actor CoreMLEngine: Engine {
        public nonisolated let facts: EngineFacts
        public private(set) var cachedTokens: [Int] = []

        private let source: EngineSource
        private let compiled: CompiledModels
        private var model: MLModel?
        private var state: MLState?

        private static let knownInputs: Set<String> = [
            "inputIds", "causalMask", "input_ids", "attention_mask", "token_type_ids",
        ]

        /// computeUnits: nil: as `ComputeUnits.preferred` chooses. prefillChunk: tokens of a prompt in one call; 64 suits
        /// the processors, and a cancelled answer ends soon. compiledModels: where compiled models are kept.
        public init(
            source: EngineSource, computeUnits: ComputeUnits? = nil, prefillChunk: Int = 64,
            compiledModels: CompiledModels = CompiledModels()
        ) throws {
            try source.requireKnownInputs { CoreMLEngine.knownInputs.contains($0) }
            let units =
                computeUnits
                ?? ComputeUnits.preferred(form: source.artifact.form ?? "", hasStates: !source.ports.states.isEmpty)
            self.source = source
            compiled = compiledModels
            facts = source.facts(runtime: "coreml", computeUnits: units, prefillChunk: prefillChunk)
        }

        public func load() async throws {
            guard model == nil else { return }
            let opened: OpenedModel
            do {
                opened = try await OpenedModel(at: try await compiled.url(for: source), facts.computeUnits)
            } catch let error where !(error is CancellationError) {
                // A model that an older system compiled may not load any more. Compile it again, once.
                opened = try await OpenedModel(at: try await compiled.recompiled(source), facts.computeUnits)
            }
            guard model == nil else { return }  // another call of load was faster
            model = opened.model
            try reset()
        }

        public func feed(_ ids: [Int], at position: Int, rows: LogitRows) throws -> [[Float]] {
            guard let model, let state else { throw EngineError.notLoaded }
            guard (0...cachedTokens.count).contains(position) else {
                throw EngineError.noSuchPosition(position, count: cachedTokens.count)
            }
            // The mask's width tells the program where the new tokens stand (docs/coreml.md): one row of zeros, one wider
            // than the text. Going back to an earlier position is a mask for the shorter text.
            let mask = try zeroMask(width: position + ids.count + 1)
            let inputs = try MLDictionaryFeatureProvider(dictionary: [
                "inputIds": MLFeatureValue(multiArray: try tokenArray(ids)),
                "causalMask": MLFeatureValue(multiArray: mask),
            ])
            let outputs = try model.prediction(from: inputs, using: state)
            guard let logits = outputs.featureValue(for: "logits")?.multiArrayValue else {
                throw EngineError.missingOutput("logits")
            }
            cachedTokens = Array(cachedTokens.prefix(position)) + ids
            return try logits.rows(name: "logits", last: rows == .last ? 1 : ids.count)
        }

        public func reset() throws {
            cachedTokens = []
            state = source.ports.states.isEmpty ? nil : model?.makeState()
        }

        public func encode(_ ids: [Int], types: [Int]) throws -> EncoderOutput {
            guard let model else { throw EngineError.notLoaded }
            let length = try paddedLength(ids.count)
            let padding = [Int](repeating: 0, count: length - ids.count)
            let rows = [
                "input_ids": ids + padding,  // what stands in padding doesn't matter
                "attention_mask": ids.map { _ in 1 } + padding,
                "token_type_ids": types + padding,
            ]
            var features: [String: Any] = [:]
            for name in source.inputNames {
                guard let row = rows[name] else { throw EngineError.missingInput(name) }
                features[name] = MLFeatureValue(multiArray: try tokenArray(row))
            }
            let outputs = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: features))
            var tensors: [String: FloatTensor] = [:]
            for name in EncoderOutput.needed(of: Array(outputs.featureNames)) {
                guard let array = outputs.featureValue(for: name)?.multiArrayValue else { continue }
                tensors[name] = FloatTensor(shape: array.shape.map(\.intValue), values: try array.numbers(name: name))
            }
            return try EncoderOutput(outputs: tensors, count: ids.count)
        }

        /// The smallest length that the program takes and that a text of `count` tokens fits in.
        private func paddedLength(_ count: Int) throws -> Int {
            guard let port = source.ports.inputs.first(where: { $0.name == "input_ids" }) else {
                throw EngineError.missingInput("input_ids")
            }
            guard let shapes = port.enumerated else { return count }
            let lengths = shapes.compactMap(\.last)
            guard let length = lengths.filter({ $0 >= count }).min() else {
                throw EngineError.tooLong(tokens: count, context: lengths.max() ?? 0)
            }
            return length
        }
    }

    /// A model on its way into the actor. `@unchecked Sendable`: nothing else refers to it.
    private struct OpenedModel: @unchecked Sendable {
        let model: MLModel

        init(at url: URL, _ units: ComputeUnits) async throws {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = units.coreML
            model = try await MLModel.load(contentsOf: url, configuration: configuration)
        }
    }

    extension ComputeUnits {
        /// The same in Core ML.
        var coreML: MLComputeUnits {
            switch self {
            case .cpuOnly: .cpuOnly
            case .cpuAndGPU: .cpuAndGPU
            case .cpuAndNeuralEngine: .cpuAndNeuralEngine
            case .all: .all
            }
        }
    }
#endif
