"""Elementwise ops, reductions and normalizations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from coremltools.converters.mil.mil import Builder as mb

from exporter.lower.coreml.attributes import constant_ints, given, integer, number, optional, string
from exporter.lower.coreml.lowering import Lowering, Var, as_float16, first_columns

SMALLEST_HALF = 2.0**-24  # float16's smallest positive number: an epsilon below it would become 0


def epsilon(node: ir.Node, default: float) -> np.float16:
    """A normalization's epsilon as float16, never rounded down to nothing."""
    return np.float16(max(number(node, "epsilon", default), SMALLEST_HALF))


def _binary(build: Callable[..., Var]) -> Callable[[Lowering, ir.Node], None]:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        x, y = (lowering.var(given(node, i)) for i in (0, 1))
        lowering.bind(node.outputs[0], build(x=x, y=y, name=lowering.op_name(node.outputs[0].name or "")))

    return lower


def _unary(build: Callable[..., Var], **fixed: Any) -> Callable[[Lowering, ir.Node], None]:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        name = lowering.op_name(node.outputs[0].name or "")
        lowering.bind(node.outputs[0], build(x=lowering.var(given(node, 0)), name=name, **fixed))

    return lower


def _reduce(build: Callable[..., Var]) -> Callable[[Lowering, ir.Node], None]:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        axes = constant_ints(lowering, node, 1)
        keep = bool(integer(node, "keepdims", 1))
        name = lowering.op_name(node.outputs[0].name or "")
        var = build(x=lowering.var(given(node, 0)), axes=axes, keep_dims=keep, name=name)
        lowering.bind(node.outputs[0], var)

    return lower


def lower_gelu(lowering: Lowering, node: ir.Node) -> None:
    """Gelu, exact or by tanh."""
    mode = "TANH_APPROXIMATION" if string(node, "approximate", "none") == "tanh" else "EXACT"
    name = lowering.op_name(node.outputs[0].name or "")
    lowering.bind(node.outputs[0], mb.gelu(x=lowering.var(given(node, 0)), mode=mode, name=name))


def lower_softmax(lowering: Lowering, node: ir.Node) -> None:
    """Softmax along one axis."""
    name = lowering.op_name(node.outputs[0].name or "")
    axis = integer(node, "axis", -1)
    lowering.bind(node.outputs[0], mb.softmax(x=lowering.var(given(node, 0)), axis=axis, name=name))


def lower_cast(lowering: Lowering, node: ir.Node) -> None:
    """Every float is float16 and every integer int32 here, so that most casts change nothing."""
    target = ir.DataType(node.attributes["to"].as_int())
    dtype = "bool" if target == ir.DataType.BOOL else "fp16" if target.is_floating_point() else "int32"
    name = lowering.op_name(node.outputs[0].name or "")
    lowering.bind(node.outputs[0], mb.cast(x=lowering.var(given(node, 0)), dtype=dtype, name=name))


def lower_where(lowering: Lowering, node: ir.Node) -> None:
    """Where is MIL's select."""
    condition, a, b = (lowering.var(given(node, i)) for i in range(3))
    name = lowering.op_name(node.outputs[0].name or "")
    lowering.bind(node.outputs[0], mb.select(cond=condition, a=a, b=b, name=name))


def lower_layer_norm(lowering: Lowering, node: ir.Node) -> None:
    """LayerNormalization over the axes from `axis` on."""
    x = lowering.var(given(node, 0))
    first = integer(node, "axis", -1) % x.rank
    bias = optional(node, 2)
    var = mb.layer_norm(
        x=x,
        axes=list(range(first, x.rank)),
        gamma=lowering.array(given(node, 1)),
        beta=None if bias is None else lowering.array(bias),
        epsilon=epsilon(node, 1e-5),
        name=lowering.op_name(node.outputs[0].name or ""),
    )
    lowering.bind(node.outputs[0], var)


def lower_rms_norm(lowering: Lowering, node: ir.Node) -> None:
    """RMSNormalization over the last axis, as the layer norm of [x, -x].

    MIL has no RMS norm, and squaring in float16 overflows from |x| = 256 on. The mean of [x, -x] is 0 and its variance
    is the mean square of x, so layer_norm, whose kernels accumulate wider, gives x / rms(x) in the first half.
    """
    x = lowering.var(given(node, 0))
    weight = lowering.array(given(node, 1))
    name = node.outputs[0].name or ""
    width = weight.shape[0]
    mirrored = mb.concat(
        values=[x, mb.mul(x=x, y=np.float16(-1), name=lowering.op_name(f"{name}/negative"))],
        axis=-1,
        name=lowering.op_name(f"{name}/mirrored"),
    )
    normed = mb.layer_norm(
        x=mirrored,
        axes=[-1],
        gamma=np.concatenate([weight, weight]),
        epsilon=epsilon(node, 1e-5),
        name=lowering.op_name(f"{name}/both"),
    )
    lowering.bind(node.outputs[0], first_columns(normed, width, lowering.op_name(name)))


def lower_lp_normalization(lowering: Lowering, node: ir.Node) -> None:
    """LpNormalization with p = 2 along one axis: x / max(‖x‖₂, tiny)."""
    x = lowering.var(given(node, 0))
    name = node.outputs[0].name or ""
    norm = mb.reduce_l2_norm(
        x=x, axes=[integer(node, "axis", -1)], keep_dims=True, name=lowering.op_name(f"{name}/norm")
    )
    safe = mb.maximum(x=norm, y=np.float16(SMALLEST_HALF), name=lowering.op_name(f"{name}/safe"))
    lowering.bind(node.outputs[0], mb.real_div(x=x, y=safe, name=lowering.op_name(name)))


def lower_clip(lowering: Lowering, node: ir.Node) -> None:
    """Clip, with either bound left out. A positive lower bound guards a division: it never rounds down to 0."""
    var = lowering.var(given(node, 0))
    name = node.outputs[0].name or ""
    low, high = optional(node, 1), optional(node, 2)
    if low is not None:
        bound = lowering.var(low)
        if lowering.is_constant(low) and lowering.array(low) == 0 and lowering.is_positive(low):
            bound = np.float16(SMALLEST_HALF)
        var = mb.maximum(x=var, y=bound, name=lowering.op_name(name if high is None else f"{name}/low"))
    if high is not None:
        var = mb.minimum(x=var, y=lowering.var(high), name=lowering.op_name(name))
    lowering.bind(node.outputs[0], var)


def lower_neg(lowering: Lowering, node: ir.Node) -> None:
    """Neg, which MIL writes as a product."""
    x = lowering.var(given(node, 0))
    factor = as_float16(np.array(-1.0), "−1") if x.is_tensor_or_scalar_of(dtype="fp16") else np.int32(-1)
    lowering.bind(node.outputs[0], mb.mul(x=x, y=factor, name=lowering.op_name(node.outputs[0].name or "")))


OPS: dict[str, Callable[[Lowering, ir.Node], None]] = {
    "Add": _binary(mb.add),
    "Sub": _binary(mb.sub),
    "Mul": _binary(mb.mul),
    "Div": _binary(mb.real_div),
    "Pow": _binary(mb.pow),
    "Min": _binary(mb.minimum),
    "Max": _binary(mb.maximum),
    "Equal": _binary(mb.equal),
    "Less": _binary(mb.less),
    "LessOrEqual": _binary(mb.less_equal),
    "Greater": _binary(mb.greater),
    "GreaterOrEqual": _binary(mb.greater_equal),
    "And": _binary(mb.logical_and),
    "Sqrt": _unary(mb.sqrt),
    "Sigmoid": _unary(mb.sigmoid),
    "Tanh": _unary(mb.tanh),
    "Relu": _unary(mb.relu),
    "Exp": _unary(mb.exp),
    "Abs": _unary(mb.abs),
    "Not": _unary(mb.logical_not),
    "Reciprocal": _unary(mb.inverse, epsilon=np.float16(0)),
    "ReduceSum": _reduce(mb.reduce_sum),
    "ReduceMean": _reduce(mb.reduce_mean),
    "ReduceMax": _reduce(mb.reduce_max),
    "ReduceL2": _reduce(mb.reduce_l2_norm),
    "Gelu": lower_gelu,
    "Softmax": lower_softmax,
    "Cast": lower_cast,
    "Where": lower_where,
    "Clip": lower_clip,
    "Neg": lower_neg,
    "LayerNormalization": lower_layer_norm,
    "RMSNormalization": lower_rms_norm,
    "LpNormalization": lower_lp_normalization,
}
