"""Kogata: one checkpoint in, ONNX and Core ML bundles for phones out, with proof of parity."""

__version__ = "0.1.0"
