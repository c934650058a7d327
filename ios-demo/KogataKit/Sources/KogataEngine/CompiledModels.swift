#if canImport(CoreML)
    import CoreML
    import Foundation

    /// Compiled models, kept so that only the first start of an app has to compile.
    ///
    /// They lie in `FOLDER/DIGEST/NAME.mlmodelc`, where DIGEST is the bundle's: another version of a bundle never gets
    /// the compiled model of the first.
    public struct CompiledModels: Sendable {
        private let folder: URL?

        /// folder: nil: `Kogata` in Application Support.
        public init(folder: URL? = nil) {
            self.folder = folder
        }

        /// Where the compiled model lies. Compiles it if it isn't there.
        func url(for source: EngineSource) async throws -> URL {
            let place = try place(of: source)
            return FileManager.default.fileExists(atPath: place.path) ? place : try await compile(source, to: place)
        }

        /// Compiles the model again.
        func recompiled(_ source: EngineSource) async throws -> URL {
            try await compile(source, to: try place(of: source))
        }

        /// Removes what was kept for every bundle but this one.
        public func removeAll(except digest: String) throws {
            let manager = FileManager.default
            for kept in try manager.contentsOfDirectory(at: try root(), includingPropertiesForKeys: nil)
            where kept.lastPathComponent != digest {
                try manager.removeItem(at: kept)
            }
        }

        private func compile(_ source: EngineSource, to place: URL) async throws -> URL {
            // An Xcode target compiles the packages that it contains; such a model is ready.
            if source.model.pathExtension == "mlmodelc" { return source.model }
            let made = try await MLModel.compileModel(at: source.model)
            let manager = FileManager.default
            try manager.createDirectory(at: place.deletingLastPathComponent(), withIntermediateDirectories: true)
            try? manager.removeItem(at: place)
            try manager.moveItem(at: made, to: place)
            return place
        }

        private func place(of source: EngineSource) throws -> URL {
            let name = source.model.deletingPathExtension().lastPathComponent
            return try root().appendingPathComponent(source.digest).appendingPathComponent(name + ".mlmodelc")
        }

        private func root() throws -> URL {
            if let folder { return folder }
            let support = try FileManager.default.url(
                for: .applicationSupportDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
            var root = support.appendingPathComponent("Kogata")
            try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
            // A backup needn't contain what can be compiled again.
            var values = URLResourceValues()
            values.isExcludedFromBackup = true
            try root.setResourceValues(values)
            return root
        }
    }
#endif
