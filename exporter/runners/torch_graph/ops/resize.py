"""Resize, as one matrix per axis."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from exporter.errors import UnsupportedError
from exporter.graph.resize import Axis, axis_matrix, unsupported_resize
from exporter.runners.torch_graph.attributes import Attributes, Op, OpMaker, ints


def _resize(facts: Attributes) -> Op:
    node, chosen = facts.node, facts.integers("axes")
    reason = unsupported_resize(node)
    if reason:
        raise NotImplementedError(reason)
    fixed = _fixed_scales(node)
    if facts.flag("antialias") and any(factor < 1 for factor in fixed):
        raise NotImplementedError("antialiasing")

    def run(x: Tensor, _roi: Tensor | None, scales: Tensor | None = None, sizes: Tensor | None = None) -> Tensor:
        along = chosen if chosen is not None else list(range(x.ndim))
        if scales is not None and scales.numel():
            factors = fixed or [float(scale) for scale in scales.tolist()]
            results = [_size(x.shape[axis], factor) for axis, factor in zip(along, factors, strict=True)]
        else:
            assert sizes is not None
            results = ints(sizes)
            factors = [result / x.shape[axis] for axis, result in zip(along, results, strict=True)]
        for axis, result, factor in zip(along, results, factors, strict=True):
            at = axis % x.ndim
            if result != x.shape[at] or factor != 1.0:
                matrix = axis_matrix(node, Axis(x.shape[at], result, factor))
                if isinstance(matrix, str):
                    raise UnsupportedError.of(
                        "calibration.op", f"calibration has no rule for {matrix}", where=str(node.name)
                    )
                x = _interpolated(x, at, torch.from_numpy(matrix))
        return x

    return run


def _fixed_scales(node: ir.Node) -> list[float]:
    """The scales that the graph stores, as exactly as it does; none where they are computed."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    tensor = None if value is None else value.const_value
    return [] if tensor is None else [float(scale) for scale in tensor.numpy()]


def _size(size: int, factor: float) -> int:
    """Of the result. The product is float32's, as runtimes have it: 5 · 2.6 is 13, though float32's 2.6 is less."""
    return math.floor(np.float32(size) * np.float32(factor))


def _interpolated(x: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """`matrix` `[result, size]` along one axis: a selection where each row picks one element."""
    if bool(((matrix == 0) | (matrix == 1)).all()):
        return x.index_select(axis, matrix.argmax(1).to(x.device))
    return torch.matmul(x.movedim(axis, -1), matrix.T.to(x.device, x.dtype)).movedim(-1, axis)


OPS: dict[str, OpMaker] = {"Resize": _resize}
