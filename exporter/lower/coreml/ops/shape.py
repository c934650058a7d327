"""Ops that move elements without computing: reshape, slice, concat, expand, and ops that compute shapes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.errors import UnsupportedError
from exporter.lower.coreml.attributes import constant_ints, fixed_shape, integer, optional_input, required_input
from exporter.lower.coreml.emit import broadcast_to, name_of, operand, set_result, shape_of
from exporter.lower.coreml.kernels import is_kernel_reshape
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Var, mb

LowerOp = Callable[[Lowering, ir.Node], None]
WHOLE_AXIS = 2**31 - 1  # ONNX writes "to the end" as a very large number
MAX_RANK = 5  # of a Core ML tensor


def has_fixed_shape(value: ir.Value) -> bool:
    """Whether all sizes of `value` are known."""
    return value.shape is not None and all(isinstance(size, int) for size in value.shape)


def reshaped(lowering: Lowering, node: ir.Node, x: Var) -> None:
    """Binds the node's output to `x`, reshaped to the output's shape.

    A value of more than five axes stays as it is: whoever reads it has_rule its shape from the graph, and only ops that
    keep the order of elements may use it.
    """
    shape = fixed_shape(node.outputs[0])
    if len(shape) > MAX_RANK or shape == shape_of(x):
        set_result(lowering, node, x)
    else:
        set_result(lowering, node, mb.reshape(x=x, shape=list(shape), name=name_of(lowering, node)))


def lower_reshape(lowering: Lowering, node: ir.Node) -> None:
    """Reshape. If the shape is open, MIL treats -1 like ONNX."""
    if is_kernel_reshape(lowering, node):
        return
    x = operand(lowering, node)
    if has_fixed_shape(node.outputs[0]):
        reshaped(lowering, node, x)
        return
    target = required_input(node, 1)
    shape = _kept(lowering.array(target), x) if lowering.is_constant(target) else lowering.var(target)
    set_result(lowering, node, mb.reshape(x=x, shape=shape, name=name_of(lowering, node)))


def _kept(shape: NDArray[np.generic], x: Var) -> NDArray[np.generic] | list[int]:
    """`shape` with its zeros replaced by sizes: 0 keeps the size of an axis, counted from the left in ONNX and from the
    right in iOS 17."""
    if len(shape) == x.rank or 0 not in shape:
        return shape
    sizes = [x.shape[axis] if size == 0 else int(size) for axis, size in enumerate(shape)]
    known = [int(size) if isinstance(size, int | np.integer) else -1 for size in sizes]
    if known.count(-1) > 1:
        raise UnsupportedError.of(
            "coreml.reshape", "a shape that keeps more than one axis of open size is not supported", where=x.name
        )
    return known


def lower_unsqueeze(lowering: Lowering, node: ir.Node) -> None:
    """Unsqueeze by expand_dims."""
    x = operand(lowering, node)
    if has_fixed_shape(node.outputs[0]) and len(fixed_shape(node.outputs[0])) > MAX_RANK:
        reshaped(lowering, node, x)
        return
    axes = constant_ints(lowering, node, 1)
    set_result(lowering, node, mb.expand_dims(x=x, axes=axes, name=name_of(lowering, node)))


def lower_squeeze(lowering: Lowering, node: ir.Node) -> None:
    """Squeeze of named axes, or of every axis of size 1."""
    x = operand(lowering, node)
    if has_fixed_shape(node.outputs[0]):
        reshaped(lowering, node, x)
        return
    axes = constant_ints(lowering, node, 1) if optional_input(node, 1) is not None else None
    set_result(lowering, node, mb.squeeze(x=x, axes=axes, name=name_of(lowering, node)))


def lower_flatten(lowering: Lowering, node: ir.Node) -> None:
    """Flatten into a matrix."""
    reshaped(lowering, node, operand(lowering, node))


def lower_concat(lowering: Lowering, node: ir.Node) -> None:
    """Concat along one axis."""
    values = [operand(lowering, node, i) for i in range(len(node.inputs))]
    set_result(lowering, node, mb.concat(values=values, axis=integer(node, "axis", 0), name=name_of(lowering, node)))


def lower_split(lowering: Lowering, node: ir.Node) -> None:
    """Split into parts with the sizes of the node's outputs."""
    x, axis = operand(lowering, node), integer(node, "axis", 0)
    if len(node.outputs) == 1:
        set_result(lowering, node, x)
        return
    sizes = [fixed_shape(value)[axis] for value in node.outputs]
    parts = mb.split(x=x, split_sizes=sizes, axis=axis, name=name_of(lowering, node))
    for value, part in zip(node.outputs, parts, strict=True):
        lowering.bind(value, part)


def lower_slice(lowering: Lowering, node: ir.Node) -> None:
    """Slice with constant axes and steps. The bounds may be computed."""
    x = operand(lowering, node)
    axes = constant_ints(lowering, node, 3) if optional_input(node, 3) is not None else None
    steps = constant_ints(lowering, node, 4) if optional_input(node, 4) is not None else None
    starts, ends = (_bounds(lowering, required_input(node, i)) for i in (1, 2))
    count = len(starts) if axes is None else len(axes)
    axes = [axis % x.rank for axis in (axes if axes is not None else range(count))]
    begin: list[object] = [0] * x.rank
    end: list[object] = [0] * x.rank
    stride, open_begin, open_end = [1] * x.rank, [True] * x.rank, [True] * x.rank
    for i, axis in enumerate(axes):
        step = steps[i] if steps else 1
        first, last, size = starts[i], ends[i], x.shape[axis]
        if isinstance(first, int) and isinstance(last, int) and isinstance(size, int | np.integer):
            begin[axis], stop = _clamped(first, last, step, int(size))
            end[axis] = stop
            open_end[axis] = stop < 0 if step < 0 else bool(stop >= size)
        else:
            begin[axis], end[axis] = first, last
            open_end[axis] = isinstance(last, int) and last >= WHOLE_AXIS
        stride[axis], open_begin[axis] = step, False
    var = mb.slice_by_index(
        x=x,
        begin=_vector(begin),
        end=_vector([0 if open_ else e for e, open_ in zip(end, open_end, strict=True)]),
        stride=stride,
        begin_mask=open_begin,
        end_mask=open_end,
        name=name_of(lowering, node),
    )
    set_result(lowering, node, var)


def _clamped(first: int, last: int, step: int, size: int) -> tuple[int, int]:
    """Begin and end within an axis, by ONNX's rules: unlike in numpy, a negative step clamps begin to the axis."""
    first, last = (value + size if value < 0 else value for value in (first, last))
    if step > 0:
        return min(max(first, 0), size), min(max(last, 0), size)
    return min(max(first, 0), size - 1), min(max(last, -1), size - 1)


def _bounds(lowering: Lowering, value: ir.Value) -> list[object]:
    if lowering.is_constant(value):
        return [int(v) for v in lowering.array(value).reshape(-1)]
    var = lowering.var(value)
    return [mb.slice_by_index(x=var, begin=[i], end=[i + 1]) for i in range(var.shape[0])]


def _vector(parts: list[object]) -> object:
    if all(isinstance(part, int) for part in parts):
        return parts
    return mb.concat(values=[np.array([p], np.int32) if isinstance(p, int) else p for p in parts], axis=0)


def lower_expand(lowering: Lowering, node: ir.Node) -> None:
    """Expand: repeats the axes of size 1."""
    set_result(lowering, node, broadcast_to(lowering, node, operand(lowering, node), fixed_shape(node.outputs[0])))


def lower_tile(lowering: Lowering, node: ir.Node) -> None:
    """Tile."""
    x, reps = operand(lowering, node), constant_ints(lowering, node, 1)
    set_result(lowering, node, mb.tile(x=x, reps=reps, name=name_of(lowering, node)))


def lower_shape(lowering: Lowering, node: ir.Node) -> None:
    """Shape, or the part of it between `start` and `end`, which are clamped to the rank as slices are in Python."""
    x = operand(lowering, node)
    shape = mb.shape(x=x)
    start, stop, _ = slice(integer(node, "start", 0), integer(node, "end", x.rank)).indices(x.rank)
    if stop <= start:
        set_result(lowering, node, mb.const(val=np.zeros(0, np.int32), name=name_of(lowering, node)))
        return
    set_result(lowering, node, mb.slice_by_index(x=shape, begin=[start], end=[stop], name=name_of(lowering, node)))


def lower_range(lowering: Lowering, node: ir.Node) -> None:
    """Range over scalars."""
    start, end, step = (operand(lowering, node, i) for i in range(3))
    set_result(lowering, node, mb.range_1d(start=start, end=end, step=step, name=name_of(lowering, node)))


def lower_identity(lowering: Lowering, node: ir.Node) -> None:
    """Identity."""
    set_result(lowering, node, mb.identity(x=operand(lowering, node), name=name_of(lowering, node)))


def lower_constant_of_shape(lowering: Lowering, node: ir.Node) -> None:
    """ConstantOfShape: all elements have one value."""
    tensor = node.attributes["value"].as_tensor() if "value" in node.attributes else None
    array = np.zeros(1, np.float32) if tensor is None else np.asarray(tensor.numpy())
    kind = np.bool_ if array.dtype == np.bool_ else np.int32 if np.issubdtype(array.dtype, np.integer) else np.float16
    shape = list(fixed_shape(node.outputs[0]))
    set_result(lowering, node, mb.fill(shape=shape, value=kind(array.reshape(-1)[0]), name=name_of(lowering, node)))


OPS: dict[str, LowerOp] = {
    "Reshape": lower_reshape,
    "Unsqueeze": lower_unsqueeze,
    "Squeeze": lower_squeeze,
    "Flatten": lower_flatten,
    "Concat": lower_concat,
    "Split": lower_split,
    "Slice": lower_slice,
    "Expand": lower_expand,
    "Tile": lower_tile,
    "Shape": lower_shape,
    "Range": lower_range,
    "Identity": lower_identity,
    "ConstantOfShape": lower_constant_of_shape,
}
CONSTANT: dict[str, tuple[int, ...]] = {
    "Unsqueeze": (1,),
    "Slice": (3, 4),
    "Tile": (1,),
}
MOVES_IN_ORDER = frozenset({"Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose"})
"""Ops whose inputs and outputs may have more than five axes."""
