"""One file per runtime that can compute a model: torch, onnxruntime, the MIL reference executor, Core ML."""
