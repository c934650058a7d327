"""Gather, scatter and one-hot. MIL's indices can't be negative: where ONNX's may be, they are brought into range."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from exporter.graph.names import words
from exporter.lower.coreml.attributes import (
    constant_ints,
    fixed_shape,
    integer,
    required_input,
    string,
    without_casts,
)
from exporter.lower.coreml.emit import back_to_bool, is_float, name_of, numeric, operand, set_result, shape_of
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Var, mb
from exporter.lower.coreml.ops.shape import has_fixed_shape
from exporter.lower.coreml.sources import any_source

LowerOp = Callable[[Lowering, ir.Node], None]
_FROM_ZERO = words(
    """
    ArgMax ArgMin NonZero Shape Size OneHot Abs ReduceL1 ReduceL2 ReduceSumSquare
    """
)
_KEEP_SIGN = words(
    """
    Cast Reshape Unsqueeze Squeeze Expand Slice Concat Gather Transpose Tile Identity Flatten Add Mul Max Min
    Range Div Mod CumSum Split ReduceSum ReduceMax ReduceMin Where
    """
)


def may_be_negative(value: ir.Value | None, *, inputs: bool = False) -> bool:
    """Whether an index may be negative. inputs: whether graph inputs may be; token and position ids aren't."""
    return any_source(value, lambda current: _sign_step(current, inputs))


def _sign_step(value: ir.Value, inputs: bool) -> bool | Sequence[ir.Value | None]:
    if value.dtype == ir.DataType.BOOL or value.is_graph_input():
        return inputs and value.dtype != ir.DataType.BOOL
    if value.const_value is not None:
        return bool((value.const_value.numpy() < 0).any())
    node = value.producer()
    if node is None or node.op_type in _FROM_ZERO or (node.op_type == "TopK" and value is node.outputs[1]):
        return False
    if node.op_type not in _KEEP_SIGN:
        return True
    operands = node.inputs[:1] if _reads_one(node) else node.inputs
    return node.inputs[1:] if node.op_type == "Where" else operands


def _reads_one(node: ir.Node) -> bool:
    return node.op_type not in ("Add", "Mul", "Max", "Min", "Range", "Div", "Mod", "Concat")


def _indices(lowering: Lowering, node: ir.Node, index: int, size: int | None) -> Var:
    """Input `index` as indices from 0 to size - 1. size: None if it isn't known before the program runs."""
    value = required_input(node, index)
    if lowering.is_constant(value):
        places = lowering.array(value).astype(np.int32)
        if size is not None and places.size and bool((places < 0).any()):
            return np.where(places < 0, places + size, places).astype(np.int32)
        return lowering.var(value)
    var = lowering.var(value)
    if size is None or not may_be_negative(value):
        return var
    return _wrapped(lowering, node, var, np.int32(size))


def _wrapped(lowering: Lowering, node: ir.Node, var: Var, size: np.int32 | np.ndarray) -> Var:
    below = mb.less(x=var, y=np.int32(0), name=name_of(lowering, node, "from_the_end"))
    raised = mb.add(x=var, y=size, name=name_of(lowering, node, "raised"))
    return mb.select(cond=below, a=raised, b=var, name=name_of(lowering, node, "places"))


def _size(x: Var, axis: int) -> int | None:
    size = x.shape[axis]
    return int(size) if isinstance(size, int | np.integer) else None


def lower_gather(lowering: Lowering, node: ir.Node) -> None:
    """Gather along one axis. For ids that are always 0 (token types), the row becomes a constant."""
    table, ids = without_casts(required_input(node, 0)), required_input(node, 1)
    axis = integer(node, "axis", 0)
    if lowering.is_zero(ids) and axis == 0 and lowering.is_constant(table):
        row: np.ndarray = lowering.array(table)[0]
        set_result(lowering, node, mb.const(val=row[None, None], name=name_of(lowering, node)))
        return
    given_ = lowering.var(table)
    x = numeric(lowering, node, given_)
    places = _indices(lowering, node, 1, _size(x, axis))
    var = mb.gather(x=x, indices=places, axis=axis, validate_indices=False, name=name_of(lowering, node))
    set_result(lowering, node, back_to_bool(lowering, node, var, given_))


def lower_gather_elements(lowering: Lowering, node: ir.Node) -> None:
    """GatherElements. If the indices are smaller than x, the part of x that they can't reach is cut off first."""
    given_ = operand(lowering, node)
    x, axis = numeric(lowering, node, given_), integer(node, "axis", 0) % given_.rank
    places = _indices(lowering, node, 1, _size(x, axis))
    sizes = [own if i == axis else size for i, (own, size) in enumerate(zip(x.shape, places.shape, strict=True))]
    known = all(isinstance(size, int | np.integer) for size in (*x.shape, *sizes))  # an encoder's length is open
    if known and tuple(sizes) != shape_of(x):
        x = mb.slice_by_size(x=x, begin=[0] * x.rank, size=sizes, name=name_of(lowering, node, "reached"))
    var = mb.gather_along_axis(x=x, indices=places, axis=axis, validate_indices=False, name=name_of(lowering, node))
    set_result(lowering, node, back_to_bool(lowering, node, var, given_))


def lower_gather_nd(lowering: Lowering, node: ir.Node) -> None:
    """GatherND."""
    given_ = operand(lowering, node)
    x, batch = numeric(lowering, node, given_), integer(node, "batch_dims", 0)
    places = _tuples(lowering, node, 1, shape_of(x)[batch:])
    var = mb.gather_nd(x=x, indices=places, batch_dims=batch, validate_indices=False, name=name_of(lowering, node))
    set_result(lowering, node, back_to_bool(lowering, node, var, given_))


def _tuples(lowering: Lowering, node: ir.Node, index: int, sizes: tuple[int, ...]) -> Var:
    """Input `index`, whose last axis holds an index for each axis of `sizes`, brought into range."""
    value = required_input(node, index)
    if lowering.is_constant(value):
        places = lowering.array(value).astype(np.int32)
        bounds = np.array(sizes[: places.shape[-1]], np.int32)
        return np.where(places < 0, places + bounds, places).astype(np.int32)
    var = lowering.var(value)
    if not may_be_negative(value):
        return var
    return _wrapped(lowering, node, var, np.array(sizes[: var.shape[-1]], np.int32))


def _mode(node: ir.Node) -> str:
    return {"none": "update"}.get(string(node, "reduction", "none"), string(node, "reduction", "none"))


def lower_scatter_elements(lowering: Lowering, node: ir.Node) -> None:
    """ScatterElements."""
    given_ = operand(lowering, node)
    data, axis = numeric(lowering, node, given_), integer(node, "axis", 0) % given_.rank
    var = mb.scatter_along_axis(
        data=data,
        indices=_indices(lowering, node, 1, _size(data, axis)),
        updates=numeric(lowering, node, operand(lowering, node, 2)),
        axis=axis,
        mode=_mode(node),
        validate_indices=False,
        name=name_of(lowering, node),
    )
    set_result(lowering, node, back_to_bool(lowering, node, var, given_))


def lower_scatter_nd(lowering: Lowering, node: ir.Node) -> None:
    """ScatterND."""
    given_ = operand(lowering, node)
    data = numeric(lowering, node, given_)
    var = mb.scatter_nd(
        data=data,
        indices=_tuples(lowering, node, 1, shape_of(data)),
        updates=numeric(lowering, node, operand(lowering, node, 2)),
        mode=_mode(node),
        validate_indices=False,
        name=name_of(lowering, node),
    )
    set_result(lowering, node, back_to_bool(lowering, node, var, given_))


def refuse_scatter(node: ir.Node) -> str:
    """Supported: indices that cover the data in all axes but the indexed one, as MIL requires."""
    data, indices, axis = required_input(node, 0), required_input(node, 1), integer(node, "axis", 0)
    if not (has_fixed_shape(data) and has_fixed_shape(indices)):
        return ""
    own, shape = fixed_shape(data), fixed_shape(indices)
    fits = all(i == axis % len(own) or own[i] == shape[i] for i in range(len(own)))
    return "" if fits else "indices that cover only a part of the data"


def lower_one_hot(lowering: Lowering, node: ir.Node) -> None:
    """OneHot. An index beyond the depth gives a row of off values."""
    depth = constant_ints(lowering, node, 1)[0]
    off, on = lowering.array(required_input(node, 2))
    var = operand(lowering, node)
    if is_float(var):
        var = mb.cast(x=var, dtype="int32", name=name_of(lowering, node, "places"))
    if may_be_negative(required_input(node, 0), inputs=True):  # a class may be negative, unlike an id
        var = _wrapped(lowering, node, var, np.int32(depth))
    axis = integer(node, "axis", -1)
    result = mb.one_hot(
        indices=var, one_hot_vector_size=depth, axis=axis, on_value=on, off_value=off, name=name_of(lowering, node)
    )
    set_result(lowering, node, result)


OPS: dict[str, LowerOp] = {
    "Gather": lower_gather,
    "GatherElements": lower_gather_elements,
    "GatherND": lower_gather_nd,
    "ScatterElements": lower_scatter_elements,
    "ScatterND": lower_scatter_nd,
    "OneHot": lower_one_hot,
}
CONSTANT: dict[str, tuple[int, ...]] = {"OneHot": (1, 2)}
REFUSALS: dict[str, Callable[[ir.Node], str]] = {"ScatterElements": refuse_scatter}
