"""Ops that move elements without computing: reshape, slice, concat, and the arithmetic on shapes around them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from coremltools.converters.mil.mil import Builder as mb

from exporter.lower.coreml.attributes import constant_ints, given, integer, optional
from exporter.lower.coreml.lowering import Lowering

WHOLE_AXIS = 2**31 - 1  # ONNX writes "to the end" as a huge number


def lower_reshape(lowering: Lowering, node: ir.Node) -> None:
    """Reshape; MIL reads 0 (keep this axis) and -1 (the rest) as ONNX does."""
    target = given(node, 1)
    shape = lowering.array(target) if lowering.is_constant(target) else lowering.var(target)
    name = lowering.op_name(node.outputs[0].name or "")
    lowering.bind(node.outputs[0], mb.reshape(x=lowering.var(given(node, 0)), shape=shape, name=name))


def lower_unsqueeze(lowering: Lowering, node: ir.Node) -> None:
    """Unsqueeze is expand_dims."""
    axes = constant_ints(lowering, node, 1)
    name = lowering.op_name(node.outputs[0].name or "")
    lowering.bind(node.outputs[0], mb.expand_dims(x=lowering.var(given(node, 0)), axes=axes, name=name))


def lower_squeeze(lowering: Lowering, node: ir.Node) -> None:
    """Squeeze of named axes, or of every axis of size 1."""
    axes = constant_ints(lowering, node, 1) if optional(node, 1) is not None else None
    name = lowering.op_name(node.outputs[0].name or "")
    lowering.bind(node.outputs[0], mb.squeeze(x=lowering.var(given(node, 0)), axes=axes, name=name))


def lower_concat(lowering: Lowering, node: ir.Node) -> None:
    """Concat along one axis."""
    values = [lowering.var(given(node, i)) for i in range(len(node.inputs))]
    name = lowering.op_name(node.outputs[0].name or "")
    lowering.bind(node.outputs[0], mb.concat(values=values, axis=integer(node, "axis", 0), name=name))


def lower_slice(lowering: Lowering, node: ir.Node) -> None:
    """Slice with constant axes and steps; its bounds may be computed."""
    x = lowering.var(given(node, 0))
    axes = constant_ints(lowering, node, 3) if optional(node, 3) is not None else None
    steps = constant_ints(lowering, node, 4) if optional(node, 4) is not None else None
    starts, ends = (_bounds(lowering, given(node, i)) for i in (1, 2))
    count = len(starts) if axes is None else len(axes)
    axes = [axis % x.rank for axis in (axes if axes is not None else range(count))]
    begin: list[object] = [0] * x.rank
    end: list[object] = [0] * x.rank
    stride, open_end = [1] * x.rank, [True] * x.rank
    for i, axis in enumerate(axes):
        begin[axis], end[axis], stride[axis] = starts[i], ends[i], (steps[i] if steps else 1)
        last = ends[i]
        open_end[axis] = isinstance(last, int) and last >= WHOLE_AXIS
    var = mb.slice_by_index(
        x=x,
        begin=_vector(begin),
        end=_vector([0 if open_ else e for e, open_ in zip(end, open_end, strict=True)]),
        stride=stride,
        end_mask=open_end,
        name=lowering.op_name(node.outputs[0].name or ""),
    )
    lowering.bind(node.outputs[0], var)


def _bounds(lowering: Lowering, value: ir.Value) -> list[object]:
    if lowering.is_constant(value):
        return [int(v) for v in lowering.array(value).reshape(-1)]
    var = lowering.var(value)
    return [mb.slice_by_index(x=var, begin=[i], end=[i + 1]) for i in range(var.shape[0])]


def _vector(parts: list[object]) -> object:
    if all(isinstance(part, int) for part in parts):
        return parts
    return mb.concat(values=[np.array([p], np.int32) if isinstance(p, int) else p for p in parts], axis=0)


def lower_shape(lowering: Lowering, node: ir.Node) -> None:
    """Shape, or the part of it between `start` and `end`."""
    x = lowering.var(given(node, 0))
    shape = mb.shape(x=x)
    start = integer(node, "start", 0) % x.rank
    stop = integer(node, "end", x.rank)
    stop = stop % x.rank if stop < 0 else min(stop, x.rank)
    name = lowering.op_name(node.outputs[0].name or "")
    lowering.bind(node.outputs[0], mb.slice_by_index(x=shape, begin=[start], end=[stop], name=name))


def lower_range(lowering: Lowering, node: ir.Node) -> None:
    """Range over scalars."""
    start, end, step = (lowering.var(given(node, i)) for i in range(3))
    name = lowering.op_name(node.outputs[0].name or "")
    lowering.bind(node.outputs[0], mb.range_1d(start=start, end=end, step=step, name=name))


def lower_identity(lowering: Lowering, node: ir.Node) -> None:
    """Identity."""
    name = lowering.op_name(node.outputs[0].name or "")
    lowering.bind(node.outputs[0], mb.identity(x=lowering.var(given(node, 0)), name=name))


OPS: dict[str, Callable[[Lowering, ir.Node], None]] = {
    "Reshape": lower_reshape,
    "Unsqueeze": lower_unsqueeze,
    "Squeeze": lower_squeeze,
    "Concat": lower_concat,
    "Slice": lower_slice,
    "Shape": lower_shape,
    "Range": lower_range,
    "Identity": lower_identity,
}
