"""Kogata: one checkpoint in, ONNX and Core ML bundles for phones out, with proof of parity."""

import os

__version__ = "0.1.0"

# onnxruntime 1.29 and later write usage data to ~/.cache/Microsoft and look up an events host. Only this variable, set
# before onnxruntime is imported, stops both; `disable_telemetry_events()` doesn't. Child processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
