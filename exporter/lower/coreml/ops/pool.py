"""Pooling ops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from exporter.lower.coreml.attributes import fixed_shape, integer, integers, is_used, required_input
from exporter.lower.coreml.emit import as_half, is_float, name_of, operand, set_result
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Var, mb
from exporter.lower.coreml.ops.shape import has_fixed_shape
from exporter.lower.coreml.windows import Window, window_of

LowerOp = Callable[[Lowering, ir.Node], None]


def lower_max_pool(lowering: Lowering, node: ir.Node) -> None:
    """MaxPool. Padding is never the maximum. MIL's op has only floats; float16 holds integers of 8 bits exactly."""
    given, window = operand(lowering, node), _window(node)
    var = mb.max_pool(
        x=as_half(lowering, node, given),
        kernel_sizes=list(window.kernel),
        strides=list(window.strides),
        pad_type="custom",
        pad=window.flat_pads,
        name=name_of(lowering, node, "" if is_float(given) else "largest"),
    )
    set_result(lowering, node, var if is_float(given) else mb.cast(x=var, dtype="int32", name=name_of(lowering, node)))


def lower_average_pool(lowering: Lowering, node: ir.Node) -> None:
    """AveragePool. Padding from `ceil_mode` is never counted, stated padding only with `count_include_pad`."""
    x, window = operand(lowering, node), _window(node)
    pads, counted = window.pads, bool(integer(node, "count_include_pad", 0))
    if counted and any(window.extra):
        stated = [(before, behind - more) for (before, behind), more in zip(window.pads, window.extra, strict=True)]
        sides = [0, 0, 0, 0, *(count for pair in stated for count in pair)]
        x = mb.pad(x=x, pad=sides, constant_val=np.float16(0), name=name_of(lowering, node, "padded"))
        pads, counted = tuple((0, more) for more in window.extra), False
    var = mb.avg_pool(
        x=x,
        kernel_sizes=list(window.kernel),
        strides=list(window.strides),
        pad_type="custom",
        pad=[count for pair in pads for count in pair],
        exclude_padding_from_average=not counted,
        name=name_of(lowering, node),
    )
    set_result(lowering, node, var)


def _window(node: ir.Node) -> Window:
    return window_of(node, tuple(integers(node, "kernel_shape", [])))


def _global(build: Callable[..., Var]) -> LowerOp:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        x = operand(lowering, node)
        set_result(
            lowering, node, build(x=x, axes=list(range(2, x.rank)), keep_dims=True, name=name_of(lowering, node))
        )

    return lower


def refuse_pool(node: ir.Node) -> str:
    """Supported: no dilated windows and no indices of the maxima, as in MIL."""
    value = required_input(node, 0)
    if not has_fixed_shape(value):
        return "sizes that are known only at run time"
    if not 3 <= len(fixed_shape(value)) <= 5:
        return "more than three spatial axes"
    if any(step != 1 for step in integers(node, "dilations", [1])):
        return "dilations"
    return "the indices of the maxima as an output" if is_used(node, 1) else ""


OPS: dict[str, LowerOp] = {
    "MaxPool": lower_max_pool,
    "AveragePool": lower_average_pool,
    "GlobalMaxPool": _global(mb.reduce_max),
    "GlobalAveragePool": _global(mb.reduce_mean),
}
REFUSALS: dict[str, Callable[[ir.Node], str]] = {"MaxPool": refuse_pool, "AveragePool": refuse_pool}
