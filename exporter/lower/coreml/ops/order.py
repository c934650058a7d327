"""ArgMax, ArgMin and TopK. Among equal values ONNX takes the lowest index, while Core ML promises no order.

So the programs only use what doesn't depend on an order: the values of `topk`, which are the same in every order, and
the indices of `topk` if no two values are equal or if a later step sorts them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from exporter.lower.coreml.attributes import constant_ints, integer, is_used, required_input
from exporter.lower.coreml.emit import name_of, numeric, operand, set_result, shape_of
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Var, mb

LowerOp = Callable[[Lowering, ir.Node], None]
MAX_COMPARED_ELEMENTS = 1 << 20  # 4 MB for each int32 intermediate result


@dataclass(frozen=True)
class _Names:
    """Names for the intermediate values of one node."""

    lowering: Lowering
    node: ir.Node

    def __call__(self, part: str) -> str:
        return name_of(self.lowering, self.node, part)


def place_of_extreme(lowering: Lowering, node: ir.Node, x: Var, axis: int, *, largest: bool, last: bool = False) -> Var:
    """The index of the largest or smallest value along `axis`, which is kept with size 1; int32.

    last: of the last such value instead of the first. An index is inside the axis even if all values are NaN.
    """
    name, size = _Names(lowering, node), shape_of(x)[axis]
    reduce = mb.reduce_max if largest else mb.reduce_min
    extreme = reduce(x=x, axes=[axis], keep_dims=True, name=name("extreme"))
    others = mb.cast(x=mb.not_equal(x=x, y=extreme, name=name("others")), dtype="int32", name=name("other_count"))
    steps = np.arange(size, dtype=np.int32).reshape([-1 if i == axis else 1 for i in range(x.rank)])
    away = mb.mul(x=others, y=np.int32(-size if last else size), name=name("away"))  # others move beyond the axis
    places = mb.add(x=away, y=steps, name=name("places"))
    if last:
        place = mb.reduce_max(x=places, axes=[axis], keep_dims=True, name=name("place"))
        return mb.maximum(x=place, y=np.int32(0), name=name("inside"))
    place = mb.reduce_min(x=places, axes=[axis], keep_dims=True, name=name("place"))
    return mb.minimum(x=place, y=np.int32(size - 1), name=name("inside"))


def _arg(*, largest: bool) -> LowerOp:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        x = numeric(lowering, node, operand(lowering, node))
        axis, last = integer(node, "axis", 0) % x.rank, bool(integer(node, "select_last_index", 0))
        place = place_of_extreme(lowering, node, x, axis, largest=largest, last=last)
        if integer(node, "keepdims", 1):
            set_result(lowering, node, mb.identity(x=place, name=name_of(lowering, node)))
        else:
            set_result(lowering, node, mb.squeeze(x=place, axes=[axis], name=name_of(lowering, node)))

    return lower


def lower_topk(lowering: Lowering, node: ir.Node) -> None:
    """TopK: values and their indices."""
    x, k, largest = operand(lowering, node), constant_ints(lowering, node, 1)[0], bool(integer(node, "largest", 1))
    axis = integer(node, "axis", -1) % x.rank
    values, _ = mb.topk(x=x, k=k, axis=axis, ascending=not largest, name=name_of(lowering, node))
    lowering.bind(node.outputs[0], values)
    if not is_used(node, 1):
        return
    if k == 1:
        lowering.bind(node.outputs[1], place_of_extreme(lowering, node, x, axis, largest=largest))
        return
    name = _Names(lowering, node)
    rows, chosen = (_as_rows(var, axis, name) for var in (x, values))
    if math.prod(shape_of(rows)) * k <= MAX_COMPARED_ELEMENTS:
        places = _counted(rows, chosen, name)
    else:
        places = _sorted(rows, chosen, largest, name)
    lowering.bind(node.outputs[1], _from_rows(places, shape_of(values), axis, name))


def _as_rows(x: Var, axis: int, name: _Names) -> Var:
    """`x` as `[rows, size of axis]`."""
    if axis != x.rank - 1:
        x = mb.transpose(x=x, perm=[i for i in range(x.rank) if i != axis] + [axis], name=name("axis_last"))
    return mb.reshape(x=x, shape=[-1, shape_of(x)[-1]], name=name("rows"))


def _from_rows(x: Var, shape: tuple[int, ...], axis: int, name: _Names) -> Var:
    """The inverse of `_as_rows`. shape: of the result."""
    others = [i for i in range(len(shape)) if i != axis]
    x = mb.reshape(x=x, shape=[*(shape[i] for i in others), shape[axis]], name=name("unrolled"))
    if axis == len(shape) - 1:
        return x
    order = [*others, axis]
    return mb.transpose(x=x, perm=[order.index(i) for i in range(len(shape))], name=name("indices"))


def _counted(rows: Var, values: Var, name: _Names) -> Var:
    """The indices `[rows, k]` of the sorted `values` `[rows, k]` in `rows` `[rows, n]`, by comparing all of them.

    The value in slot r is the (e + 1)-th of its equals, if e earlier slots have the same value. Its index is the number
    of places up to which at most e equals were counted.
    """
    k, size = shape_of(values)[1], shape_of(rows)[1]
    column = mb.expand_dims(x=values, axes=[2], name=name("slots"))  # [rows, k, 1]
    equal = mb.equal(x=mb.expand_dims(x=rows, axes=[1], name=name("all")), y=column, name=name("equal"))
    counts = mb.cumsum(x=mb.cast(x=equal, dtype="int32", name=name("equals")), axis=2, name=name("counts"))
    same = mb.equal(x=column, y=mb.expand_dims(x=values, axes=[1], name=name("others")), name=name("same"))
    before = np.tril(np.ones((1, k, k), np.int32), -1)  # slot s is earlier than slot r
    earlier = mb.mul(x=mb.cast(x=same, dtype="int32", name=name("same_count")), y=before, name=name("earlier"))
    earlier = mb.reduce_sum(x=earlier, axes=[2], keep_dims=True, name=name("earlier_count"))
    passed = mb.less_equal(x=counts, y=earlier, name=name("passed"))
    passed = mb.cast(x=passed, dtype="int32", name=name("passed_count"))
    places = mb.reduce_sum(x=passed, axes=[2], keep_dims=False, name=name("places"))
    return mb.minimum(x=places, y=np.int32(size - 1), name=name("inside"))  # a NaN has no equal


def _sorted(rows: Var, values: Var, largest: bool, name: _Names) -> Var:
    """As `_counted`, for more elements: keys of (number of the value, place) are sorted; no two keys are equal."""
    k, size = shape_of(values)[1], shape_of(rows)[1]
    candidates = None
    if k < size:
        candidates = _first_k(rows, values, largest, name)
        rows = mb.gather_along_axis(
            x=rows, indices=candidates, axis=1, validate_indices=False, name=name("candidate_values")
        )
    ordered, places = mb.topk(x=rows, k=k, axis=1, ascending=not largest, name=name("ordered"))
    here, there = (
        mb.slice_by_index(x=ordered, begin=[0, i], end=[0, i + k - 1], end_mask=[True, False], name=name("neighbours"))
        for i in (0, 1)
    )
    steps = mb.cast(x=mb.not_equal(x=here, y=there, name=name("differ")), dtype="int32", name=name("steps"))
    zero = np.zeros((shape_of(rows)[0], 1), np.int32)
    number = mb.cumsum(x=mb.concat(values=[zero, steps], axis=1, name=name("all_steps")), axis=1, name=name("number"))
    keys = mb.add(x=mb.mul(x=number, y=np.int32(k), name=name("base")), y=places, name=name("keys"))
    keys, _ = mb.topk(x=keys, k=k, axis=1, ascending=True, name=name("ordered_keys"))
    places = mb.mod(x=keys, y=np.int32(k), name=name("ordered_places"))
    if candidates is None:
        return places
    return mb.gather_along_axis(x=candidates, indices=places, axis=1, validate_indices=False, name=name("places"))


def _first_k(rows: Var, values: Var, largest: bool, name: _Names) -> Var:
    """The ascending indices `[rows, k]` of the k values: all beyond the last one, and the first ones that equal it."""
    k, size = shape_of(values)[1], shape_of(rows)[1]
    limit = mb.slice_by_index(x=values, begin=[0, k - 1], end=[0, k], end_mask=[True, False], name=name("limit"))
    beyond = (mb.greater if largest else mb.less)(x=rows, y=limit, name=name("beyond"))
    count = mb.cast(x=beyond, dtype="int32", name=name("beyond_number"))
    count = mb.reduce_sum(x=count, axes=[1], keep_dims=True, name=name("beyond_count"))
    left = mb.sub(x=np.int32(k), y=count, name=name("left"))
    equal = mb.equal(x=rows, y=limit, name=name("equal"))
    numbers = mb.cumsum(x=mb.cast(x=equal, dtype="int32", name=name("equals")), axis=1, name=name("numbers"))
    early = mb.less_equal(x=numbers, y=left, name=name("early"))
    chosen = mb.logical_or(x=beyond, y=mb.logical_and(x=equal, y=early, name=name("taken")), name=name("chosen"))
    others = mb.cast(x=mb.logical_not(x=chosen, name=name("others")), dtype="int32", name=name("other_number"))
    away = mb.mul(x=others, y=np.int32(size), name=name("away"))
    places = mb.add(x=away, y=np.arange(size, dtype=np.int32)[None], name=name("all_places"))
    return mb.topk(x=places, k=k, axis=1, ascending=True, name=name("candidates"))[0]


def refuse_sorting_bools(node: ir.Node) -> str:
    """Supported: numbers, not bools."""
    value = required_input(node, 0)
    return "bools" if value.dtype == ir.DataType.BOOL else ""


OPS: dict[str, LowerOp] = {"ArgMax": _arg(largest=True), "ArgMin": _arg(largest=False), "TopK": lower_topk}
CONSTANT: dict[str, tuple[int, ...]] = {"TopK": (1,)}
REFUSALS: dict[str, Callable[[ir.Node], str]] = {"TopK": refuse_sorting_bools}
