"""Resize, as one matrix per axis."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from exporter.calibration.attributes import Attributes, Op, OpMaker, ints
from exporter.errors import UnsupportedError
from exporter.graph.resize import Axis, axis_matrix, unsupported_resize


def _resize(facts: Attributes) -> Op:
    node, chosen = facts.node, facts.integers("axes")
    reason = unsupported_resize(node)
    if reason:
        raise NotImplementedError(reason)

    def run(x: Tensor, _roi: Tensor | None, scales: Tensor | None = None, sizes: Tensor | None = None) -> Tensor:
        along = chosen if chosen is not None else list(range(x.ndim))
        if scales is not None and scales.numel():
            factors = [float(scale) for scale in scales.tolist()]
            results = [math.floor(x.shape[axis] * factor) for axis, factor in zip(along, factors, strict=True)]
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


def _interpolated(x: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """`matrix` `[result, size]` along one axis: a selection where each row picks one element."""
    if bool(((matrix == 0) | (matrix == 1)).all()):
        return x.index_select(axis, matrix.argmax(1).to(x.device))
    return torch.matmul(x.movedim(axis, -1), matrix.T.to(x.device, x.dtype)).movedim(-1, axis)


OPS: dict[str, OpMaker] = {"Resize": _resize}
