import KogataBundle

#if os(iOS)
    import os
#endif

extension EngineSource {
    /// The memory that the model needs, in bytes: its weights, its KV cache, and the logits of 64 tokens. What a runtime
    /// needs for itself isn't known and not in it.
    public var memoryBytes: Int {
        let cache = ports.states.reduce(0) { sum, state in
            let sizes = state.shape.map { size in if case .fixed(let count) = size { count } else { 1 } }
            return sum + sizes.reduce(1, *) * (state.dtype == "float32" ? 4 : 2)
        }
        return artifact.bytes + cache + 64 * 4 * (vocabularySize ?? 0)
    }
}

/// What the system still gives this app, in bytes; nil where it says nothing, as on macOS and in the simulator.
public func availableMemory() -> Int? {
    #if os(iOS)
        let bytes = os_proc_available_memory()
        return bytes > 0 ? bytes : nil
    #else
        return nil
    #endif
}
