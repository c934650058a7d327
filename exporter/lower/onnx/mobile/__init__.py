"""The form for phones: weights as onnxruntime's kernels read them, and its fused ops. Nothing is decoded at load."""

from exporter.lower.onnx.mobile.lowering import MobileOptions, MobileWeights, lower_mobile, mobile_problem

__all__ = ["MobileOptions", "MobileWeights", "lower_mobile", "mobile_problem"]
