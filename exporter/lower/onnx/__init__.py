"""Writes a graph and its palettes as ONNX files."""

from exporter.lower.onnx.artifact import OnnxArtifact, OnnxBytes, OnnxOptions, OnnxWeights
from exporter.lower.onnx.lowering import lower_onnx

__all__ = ["OnnxArtifact", "OnnxBytes", "OnnxOptions", "OnnxWeights", "lower_onnx"]
