import Foundation
import KogataBundle
import KogataChat
import KogataEngine
import KogataTokenizer
import Observation

#if canImport(BackgroundAssets)
    import BackgroundAssets
    import System
#endif

/// A bundle whose files were verified, with everything that a screen needs. Its engine loads at the first use.
struct OpenModel: Sendable {
    let bundle: ModelBundle
    let source: EngineSource
    let tokenizer: Tokenizer
    /// nil: the checkpoint has no chat template.
    let chat: ChatTemplate?
    let defaults: GenerationDefaults
    let engine: any Engine

    var generatesText: Bool { engine.facts.generatesText }
    var makesEmbeddings: Bool { bundle.manifest.task == "feature-extraction" || bundle.manifest.model.pooling != nil }
}

/// Why a bundle can't be used here. The screens say it in the user's language.
enum LibraryProblem: Equatable {
    /// In a sentence.
    case unusable(String)
    /// In bytes.
    case tooLarge(needed: Int, available: Int)
}

/// The bundles on this device, and the one that is open.
@MainActor @Observable
final class Library {
    enum Step { case copying, downloading, verifying, preparing }

    enum State {
        case empty
        case working(Step, progress: Double?, task: Task<Void, Never>)
        case failed(LibraryProblem)
        case ready(OpenModel)
    }

    private(set) var state = State.empty
    private(set) var bundles: [URL] = []

    var model: OpenModel? {
        if case .ready(let model) = state { model } else { nil }
    }

    /// Looks into the app's folder `Models` and into the folder of imported bundles.
    func refresh() {
        let shipped = Bundle.main.resourceURL?.appendingPathComponent("Models")
        let found = [shipped, imported].compactMap { $0 }.flatMap { folder in
            (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
        }
        let manifest = { (folder: URL) in folder.appendingPathComponent("manifest.json").path }
        bundles = found.filter { FileManager.default.fileExists(atPath: manifest($0)) }
            .sorted { $0.lastPathComponent < $1.lastPathComponent }
    }

    func open(_ folder: URL) {
        start(.verifying) { library in try await library.load(folder) }
    }

    /// Copies what the document picker gave, which the app may read only now, and opens the copy.
    func importBundle(_ picked: URL) {
        start(.copying) { library in
            let target = library.imported.appendingPathComponent(picked.lastPathComponent)
            try await Task.detached {
                let allowed = picked.startAccess()
                defer { if allowed { picked.stopAccess() } }
                _ = try ModelBundle(at: picked)  // refuse other folders before the copy
                let manager = FileManager.default
                try manager.createDirectory(
                    at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
                if manager.fileExists(atPath: target.path) { try manager.removeItem(at: target) }
                try manager.copyItem(at: picked, to: target)
            }.value
            try await library.load(target)
        }
    }

    /// Downloads the asset pack of `kogata pack`, if it isn't on the device yet, and opens it.
    func download(assetPack: String) {
        start(.downloading) { library in try await library.load(try await downloadedFolder(ofPack: assetPack)) }
    }

    func cancel() {
        if case .working(_, _, let task) = state { task.cancel() }
        state = .empty
    }

    private func start(_ step: Step, _ work: @escaping @MainActor (Library) async throws -> Void) {
        cancel()
        let task = Task {
            do {
                try await work(self)
                refresh()
            } catch is CancellationError {
                return
            } catch {
                if !Task.isCancelled { state = .failed(.unusable(error.localizedDescription)) }
            }
        }
        state = .working(step, progress: nil, task: task)
    }

    private func load(_ folder: URL) async throws {
        show(.verifying, 0)
        let (updates, continuation) = AsyncStream<Double>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let work = Task.detached(priority: .userInitiated) {
            defer { continuation.finish() }
            let bundle = try ModelBundle(at: folder)
            let artifact = try bundle.artifact(format: .coreml)
            try bundle.verify(.shipped(artifact)) { continuation.yield($0) }
            return (bundle, artifact)
        }
        for await part in updates { show(.verifying, part) }
        let (bundle, artifact) = try await withTaskCancellationHandler {
            try await work.value
        } onCancel: {
            work.cancel()
        }
        try Task.checkCancellation()
        let need = try EngineSource(bundle: bundle, artifact: artifact).memoryBytes
        if let available = availableMemory(), available < need {
            state = .failed(.tooLarge(needed: need, available: available))
            return
        }
        show(.preparing, nil)
        let model = try await Task.detached { try makeModel(bundle, artifact) }.value
        try await model.engine.load()  // the first time, the system compiles the model for its processors
        try Task.checkCancellation()
        state = .ready(model)
    }

    private func show(_ step: Step, _ progress: Double?) {
        guard !Task.isCancelled, case .working(_, _, let task) = state else { return }
        state = .working(step, progress: progress, task: task)
    }

    private var imported: URL {
        let folders = FileManager.default.urls(for: .applicationSupportDirectory, in: .userDomainMask)
        return folders[0].appendingPathComponent("Bundles")
    }
}

private func makeModel(_ bundle: ModelBundle, _ artifact: Artifact) throws -> OpenModel {
    let source = try EngineSource(bundle: bundle, artifact: artifact)
    let tokenizer = try Tokenizer(folder: bundle.tokenizerFolder)
    let chatFile = bundle.tokenizerFolder.appendingPathComponent("chat.json")
    let hasChat = FileManager.default.fileExists(atPath: chatFile.path)
    return OpenModel(
        bundle: bundle, source: source, tokenizer: tokenizer,
        chat: hasChat ? try ChatTemplate(folder: bundle.tokenizerFolder) : nil,
        defaults: GenerationDefaults(folder: bundle.tokenizerFolder, tokenizer: tokenizer),
        engine: try CoreMLEngine(source: source))
}

extension URL {
    /// Folders from the document picker may be read only between these two calls.
    func startAccess() -> Bool {
        #if canImport(Darwin)
            startAccessingSecurityScopedResource()
        #else
            false
        #endif
    }

    func stopAccess() {
        #if canImport(Darwin)
            stopAccessingSecurityScopedResource()
        #endif
    }
}

/// An asset pack can't be had on this system.
struct NoAssetPacks: LocalizedError {
    var errorDescription: String? { "Asset packs need iOS 26 and an app from TestFlight or the App Store." }
}

/// Where the bundle of an asset pack lies, after the system downloaded it.
func downloadedFolder(ofPack id: String) async throws -> URL {
    #if canImport(BackgroundAssets)
        if #available(iOS 26, *) {
            let pack = try await AssetPackManager.shared.assetPack(withID: id)
            try await AssetPackManager.shared.ensureLocalAvailability(of: pack)
            // `kogata pack` lists the files under this folder; all packs of an app share one tree.
            return try AssetPackManager.shared.url(for: FilePath("Sources/Model"))
        }
    #endif
    throw NoAssetPacks()
}
