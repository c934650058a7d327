"""Writes a graph and its palettes as ONNX files."""

from exporter.lower.onnx.artifact import INTEGERS, OnnxArtifact, OnnxBytes, OnnxOptions, OnnxWeights
from exporter.lower.onnx.lowering import lower_onnx

__all__ = ["INTEGERS", "OnnxArtifact", "OnnxBytes", "OnnxOptions", "OnnxWeights", "lower_onnx"]
