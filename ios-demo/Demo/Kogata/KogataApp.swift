import KogataBundle
import SwiftUI
import UniformTypeIdentifiers

@main
struct KogataApp: App {
    @State private var library = Library()

    var body: some Scene {
        WindowGroup {
            TabView {
                Tab("Model", systemImage: "shippingbox") { ModelScreen(library: library) }
                if let model = library.model {
                    if model.generatesText {
                        Tab("Chat", systemImage: "bubble.left.and.bubble.right") { ChatScreen(model: model) }
                    }
                    if model.makesEmbeddings {
                        Tab("Search", systemImage: "magnifyingglass") { SearchScreen(model: model) }
                    }
                    Tab("Parity", systemImage: "checkmark.seal") { ParityScreen(model: model) }
                }
            }
            .id(library.model?.bundle.digest)  // another model: new screens
            .onAppear { library.refresh() }
        }
    }
}

/// Choose a bundle: one that is in the app, an imported folder, or an asset pack.
struct ModelScreen: View {
    let library: Library
    @State private var isImporting = false
    @AppStorage("assetPack") private var assetPack = ""

    var body: some View {
        NavigationStack {
            List {
                Section { StateView(library: library) }
                Section("On this device") {
                    if library.bundles.isEmpty { Text("No bundle yet").foregroundStyle(.secondary) }
                    ForEach(library.bundles, id: \.self) { folder in
                        Button(folder.lastPathComponent) { library.open(folder) }
                    }
                    Button("Import a bundle…", systemImage: "folder") { isImporting = true }
                }
                Section {
                    TextField("Name of the asset pack", text: $assetPack)
                        .textInputAutocapitalization(.never)
                        .autocorrectionDisabled()
                    Button("Download", systemImage: "icloud.and.arrow.down") { library.download(assetPack: assetPack) }
                        .disabled(assetPack.isEmpty)
                } header: {
                    Text("Background Assets")
                } footer: {
                    Text("The name is the assetPackID in background-assets.json, which kogata pack wrote.")
                }
            }
            .navigationTitle("Kogata")
            .fileImporter(isPresented: $isImporting, allowedContentTypes: [.folder]) { picked in
                if case .success(let folder) = picked { library.importBundle(folder) }
            }
        }
    }
}

/// What the library is doing, or what it has open.
private struct StateView: View {
    let library: Library

    var body: some View {
        switch library.state {
        case .empty:
            Label("Choose a bundle that kogata export wrote.", systemImage: "hand.point.down")
        case .working(let step, let progress, _):
            VStack(alignment: .leading) {
                ProgressView(value: progress) { Text(title(of: step)) }
                if step == .preparing { Text("The first time, this can take minutes.").font(.footnote) }
                Button("Cancel", role: .cancel) { library.cancel() }
            }
            .accessibilityElement(children: .contain)
        case .failed(.unusable(let sentence)):
            Label(sentence, systemImage: "xmark.octagon").foregroundStyle(.red)
        case .failed(.tooLarge(let needed, let available)):
            Label {
                Text(
                    "This model needs \(size(needed)) of memory; the system gives this app \(size(available)). Close other apps, or choose a smaller model."
                )
            } icon: {
                Image(systemName: "memorychip")
            }
            .foregroundStyle(.red)
        case .ready(let model):
            FactsView(model: model)
        }
    }

    private func title(of step: Library.Step) -> LocalizedStringKey {
        switch step {
        case .copying: "Copying"
        case .downloading: "Downloading"
        case .verifying: "Checking every file"
        case .preparing: "Preparing the model"
        }
    }
}

private struct FactsView: View {
    let model: OpenModel

    var body: some View {
        let manifest = model.bundle.manifest
        Label("\(manifest.name): all files are intact", systemImage: "checkmark.shield").foregroundStyle(.green)
        LabeledContent("Task", value: manifest.task)
        LabeledContent("Size", value: size(model.source.artifact.bytes))
        if let context = manifest.context { LabeledContent("Context", value: "\(context)") }
        LabeledContent("Licence", value: manifest.source.license ?? "–")
        if manifest.verdict == .unchecked {
            Label("Never compared with its checkpoint", systemImage: "questionmark.circle").foregroundStyle(.orange)
        }
    }
}

private func size(_ bytes: Int) -> String { Int64(bytes).formatted(.byteCount(style: .memory)) }
