"""Normalizations, by MIL ops that accumulate in more than float16."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.lower.coreml.attributes import integer, integers, is_used, number, optional_input, required_input
from exporter.lower.coreml.emit import MIN_FLOAT16, epsilon_of, name_of, operand, set_result, shape_of
from exporter.lower.coreml.lowering import Lowering, as_float16, first_columns
from exporter.lower.coreml.mil import Var, mb

LowerOp = Callable[[Lowering, ir.Node], None]


def epsilon(node: ir.Node, default: float) -> np.float16:
    """A normalization's epsilon as float16, not rounded to 0."""
    return epsilon_of(number(node, "epsilon", default))


def lower_layer_norm(lowering: Lowering, node: ir.Node) -> None:
    """LayerNormalization over the axes from `axis` on. A scale that isn't constant is applied afterwards."""
    x = operand(lowering, node)
    axes = list(range(integer(node, "axis", -1) % x.rank, x.rank))
    scale, bias = required_input(node, 1), optional_input(node, 2)
    shape = tuple(shape_of_last(x, len(axes)))
    fits = all(v is None or (lowering.is_constant(v) and lowering.array(v).shape == shape) for v in (scale, bias))
    if fits:
        var = mb.layer_norm(
            x=x,
            axes=axes,
            gamma=lowering.array(scale),
            beta=None if bias is None else lowering.array(bias),
            epsilon=epsilon(node, 1e-5),
            name=name_of(lowering, node),
        )
        set_result(lowering, node, var)
        return
    var = mb.layer_norm(x=x, axes=axes, epsilon=epsilon(node, 1e-5), name=name_of(lowering, node, "normed"))
    part = "" if bias is None else "scaled"
    var = mb.mul(x=var, y=lowering.var(scale), name=name_of(lowering, node, part))
    if bias is not None:
        var = mb.add(x=var, y=lowering.var(bias), name=name_of(lowering, node))
    set_result(lowering, node, var)


def shape_of_last(x: Var, count: int) -> list[object]:
    """The sizes of the last `count` axes, which may be symbolic."""
    return list(x.shape)[x.rank - count :]


def lower_rms_norm(lowering: Lowering, node: ir.Node) -> None:
    """RMSNormalization over the last axis, as the layer norm of [x, -x].

    MIL has no RMS norm, and squaring in float16 overflows from |x| = 256 on. The mean of [x, -x] is 0 and its variance
    is the mean square of x, so layer_norm, whose kernels accumulate wider, gives x / rms(x) in the first half.
    """
    x = operand(lowering, node)
    weight = lowering.array(required_input(node, 1))
    width = weight.shape[0]
    negative = mb.mul(x=x, y=np.float16(-1), name=name_of(lowering, node, "negative"))
    mirrored = mb.concat(values=[x, negative], axis=-1, name=name_of(lowering, node, "mirrored"))
    normed = mb.layer_norm(
        x=mirrored,
        axes=[-1],
        gamma=np.concatenate([weight, weight]),
        epsilon=epsilon(node, 1e-5),
        name=name_of(lowering, node, "both"),
    )
    set_result(lowering, node, first_columns(normed, width, name_of(lowering, node)))


def lower_lp_normalization(lowering: Lowering, node: ir.Node) -> None:
    """LpNormalization along one axis: x / max(‖x‖, ε), with the L1 or L2 norm."""
    x = operand(lowering, node)
    build = mb.reduce_l1_norm if integer(node, "p", 2) == 1 else mb.reduce_l2_norm
    norm = build(x=x, axes=[integer(node, "axis", -1)], keep_dims=True, name=name_of(lowering, node, "norm"))
    safe = mb.maximum(x=norm, y=np.float16(MIN_FLOAT16), name=name_of(lowering, node, "safe"))
    set_result(lowering, node, mb.real_div(x=x, y=safe, name=name_of(lowering, node)))


def lower_batch_norm(lowering: Lowering, node: ir.Node) -> None:
    """BatchNormalization with fixed statistics: a factor and an offset for each channel, computed here in float32."""
    x = operand(lowering, node)
    scale, bias, mean, variance = (_stored(required_input(node, i)) for i in range(1, 5))
    factor = scale / np.sqrt(variance + number(node, "epsilon", 1e-5))
    offset = bias - mean * factor
    name = node.outputs[0].name or ""
    if 3 <= x.rank <= 5:
        var = mb.batch_norm(
            x=x,
            mean=np.zeros(factor.shape, np.float16),
            variance=np.ones(factor.shape, np.float16),
            gamma=as_float16(factor, name),
            beta=as_float16(offset, name),
            epsilon=np.float16(MIN_FLOAT16),  # in float16, 1 + this is 1
            name=name_of(lowering, node),
        )
        set_result(lowering, node, var)
        return
    scaled = mb.mul(x=x, y=as_float16(factor, name), name=name_of(lowering, node, "scaled"))
    set_result(lowering, node, mb.add(x=scaled, y=as_float16(offset, name), name=name_of(lowering, node)))


def _stored(value: ir.Value) -> NDArray[np.float32]:
    if value.const_value is None:
        raise ValueError(f"{value.name} is not constant")
    return np.asarray(value.const_value.numpy()).astype(np.float32)


def refuse_training(node: ir.Node) -> str:
    """Supported: inference mode, without batch statistics."""
    if integer(node, "training_mode", 0) or any(is_used(node, i) for i in range(1, len(node.outputs))):
        return "batch statistics (training mode)"
    return ""


def lower_instance_norm(lowering: Lowering, node: ir.Node) -> None:
    """InstanceNormalization: over the positions of each channel, as a layer norm of `[n, c, positions]`."""
    x = operand(lowering, node)
    normed = _over_places(lowering, node, x, shape_of(x)[1])
    set_result(lowering, node, _per_channel(lowering, node, normed))


def lower_group_norm(lowering: Lowering, node: ir.Node) -> None:
    """GroupNormalization: over the channels and positions of each group."""
    x = operand(lowering, node)
    normed = _over_places(lowering, node, x, integer(node, "num_groups", 1))
    set_result(lowering, node, _per_channel(lowering, node, normed))


def _over_places(lowering: Lowering, node: ir.Node, x: Var, groups: int) -> Var:
    """x, normalized over all axes but the first, in `groups` equal parts."""
    shape = shape_of(x)
    flat = mb.reshape(x=x, shape=[shape[0], groups, -1], name=name_of(lowering, node, "groups"))
    normed = mb.layer_norm(x=flat, axes=[2], epsilon=epsilon(node, 1e-5), name=name_of(lowering, node, "normed"))
    return mb.reshape(x=normed, shape=list(shape), name=name_of(lowering, node, "ungrouped"))


def _per_channel(lowering: Lowering, node: ir.Node, x: Var) -> Var:
    """x · input 1 + input 2, both `[channels]`."""
    places = (1,) * (x.rank - 2)
    scale, bias = (_channels(lowering, node, i, places) for i in (1, 2))
    scaled = mb.mul(x=x, y=scale, name=name_of(lowering, node, "scaled"))
    return mb.add(x=scaled, y=bias, name=name_of(lowering, node))


def _channels(lowering: Lowering, node: ir.Node, index: int, places: tuple[int, ...]) -> Var:
    value = required_input(node, index)
    if lowering.is_constant(value):
        return lowering.array(value).reshape(-1, *places)
    return mb.reshape(x=lowering.var(value), shape=[-1, *places], name=name_of(lowering, node, "channels"))


def lower_mean_variance(lowering: Lowering, node: ir.Node) -> None:
    """MeanVarianceNormalization: a layer norm without scale, by default over all axes but the channels."""
    x, axes = operand(lowering, node), integers(node, "axes", [0, 2, 3])
    var = mb.layer_norm(x=x, axes=axes, epsilon=np.float16(MIN_FLOAT16), name=name_of(lowering, node))
    set_result(lowering, node, var)


def lower_lrn(lowering: Lowering, node: ir.Node) -> None:
    """LRN across channels."""
    var = mb.local_response_norm(
        x=operand(lowering, node),
        size=integer(node, "size", 1),
        alpha=np.float16(number(node, "alpha", 1e-4)),
        beta=np.float16(number(node, "beta", 0.75)),
        k=np.float16(number(node, "bias", 1.0)),
        name=name_of(lowering, node),
    )
    set_result(lowering, node, var)


def refuse_statistics(node: ir.Node) -> str:
    """Supported: no second and third output (mean and deviation), which are for training."""
    return "its statistics as outputs" if any(is_used(node, i) for i in range(1, len(node.outputs))) else ""


def refuse_rms(node: ir.Node) -> str:
    """Supported: only over the last axis."""
    rank = len(required_input(node, 0).shape or ())
    return "" if integer(node, "axis", -1) in (-1, rank - 1) else "an RMS norm over several axes"


OPS: dict[str, LowerOp] = {
    "LayerNormalization": lower_layer_norm,
    "RMSNormalization": lower_rms_norm,
    "LpNormalization": lower_lp_normalization,
    "BatchNormalization": lower_batch_norm,
    "InstanceNormalization": lower_instance_norm,
    "GroupNormalization": lower_group_norm,
    "MeanVarianceNormalization": lower_mean_variance,
    "LRN": lower_lrn,
}
CONSTANT: dict[str, tuple[int, ...]] = {"BatchNormalization": (1, 2, 3, 4), "RMSNormalization": (1,)}
REFUSALS: dict[str, Callable[[ir.Node], str]] = {
    "BatchNormalization": refuse_training,
    "LayerNormalization": refuse_statistics,
    "RMSNormalization": refuse_rms,
}
