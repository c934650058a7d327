"""Reductions, and sums along an axis."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from exporter.lower.coreml.attributes import constant_ints, integer, optional_input, required_input
from exporter.lower.coreml.emit import back_to_bool, name_of, numeric, operand, set_result
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Var, mb

LowerOp = Callable[[Lowering, ir.Node], None]


def _axes(lowering: Lowering, node: ir.Node, rank: int) -> list[int]:
    """The axes of a reduction, from input 1. Without axes: all, or none with `noop_with_empty_axes`."""
    if optional_input(node, 1) is not None and (axes := constant_ints(lowering, node, 1)):
        return sorted(axis % rank for axis in axes)
    return [] if integer(node, "noop_with_empty_axes", 0) else list(range(rank))


def _reduce(build: Callable[..., Var]) -> LowerOp:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        given_ = operand(lowering, node)
        x = numeric(lowering, node, given_)
        axes, name = _axes(lowering, node, x.rank), name_of(lowering, node)
        if not axes:
            set_result(lowering, node, mb.identity(x=given_, name=name))
            return
        var = build(x=x, axes=axes, keep_dims=bool(integer(node, "keepdims", 1)), name=name)
        set_result(lowering, node, back_to_bool(lowering, node, var, given_))

    return lower


def lower_reduce_log_sum_exp(lowering: Lowering, node: ir.Node) -> None:
    """ReduceLogSumExp, relative to the largest value, so that no exponential overflows float16."""
    x = operand(lowering, node)
    axes, keep = _axes(lowering, node, x.rank), bool(integer(node, "keepdims", 1))
    peak = mb.reduce_max(x=x, axes=axes, keep_dims=True, name=name_of(lowering, node, "peak"))
    shifted = mb.sub(x=x, y=peak, name=name_of(lowering, node, "shifted"))
    total = mb.reduce_log_sum_exp(x=shifted, axes=axes, keep_dims=keep, name=name_of(lowering, node, "total"))
    if not keep:
        peak = mb.squeeze(x=peak, axes=axes, name=name_of(lowering, node, "flat_peak"))
    set_result(lowering, node, mb.add(x=total, y=peak, name=name_of(lowering, node)))


def lower_cumsum(lowering: Lowering, node: ir.Node) -> None:
    """CumSum."""
    x = operand(lowering, node)
    var = mb.cumsum(
        x=x,
        axis=constant_ints(lowering, node, 1)[0] % x.rank,
        exclusive=bool(integer(node, "exclusive", 0)),
        reverse=bool(integer(node, "reverse", 0)),
        name=name_of(lowering, node),
    )
    set_result(lowering, node, var)


def refuse_integer_mean(node: ir.Node) -> str:
    """Supported: floats. ONNX truncates an integer mean; Core ML's behaviour isn't documented."""
    value = required_input(node, 0)
    return "" if value.dtype is None or value.dtype.is_floating_point() else "the mean of integers"


OPS: dict[str, LowerOp] = {
    "ReduceSum": _reduce(mb.reduce_sum),
    "ReduceMean": _reduce(mb.reduce_mean),
    "ReduceMax": _reduce(mb.reduce_max),
    "ReduceMin": _reduce(mb.reduce_min),
    "ReduceProd": _reduce(mb.reduce_prod),
    "ReduceL1": _reduce(mb.reduce_l1_norm),
    "ReduceL2": _reduce(mb.reduce_l2_norm),
    "ReduceSumSquare": _reduce(mb.reduce_sum_square),
    "ReduceLogSum": _reduce(mb.reduce_log_sum),
    "ReduceLogSumExp": lower_reduce_log_sum_exp,
    "CumSum": lower_cumsum,
}
CONSTANT: dict[str, tuple[int, ...]] = {**dict.fromkeys([op for op in OPS if op.startswith("Reduce")], (1,))}
CONSTANT |= {"CumSum": (1,)}
REFUSALS: dict[str, Callable[[ir.Node], str]] = {"ReduceMean": refuse_integer_mean}
