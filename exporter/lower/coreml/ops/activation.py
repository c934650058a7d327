"""Activation functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from exporter.lower.coreml.attributes import integer, number, string
from exporter.lower.coreml.emit import name_of, operand, scalar_like, set_result, shape_of
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Var, mb
from exporter.lower.coreml.ops.order import place_of_extreme

LowerOp = Callable[[Lowering, ir.Node], None]

SELU_ALPHA, SELU_GAMMA = 1.6732632423543772, 1.0507009873554805  # Klambauer et al., 2017; ONNX's defaults


def _unary(build: Callable[..., Var]) -> LowerOp:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        set_result(lowering, node, build(x=operand(lowering, node), name=name_of(lowering, node)))

    return lower


def lower_relu(lowering: Lowering, node: ir.Node) -> None:
    """Relu; for integers a maximum with 0."""
    x = operand(lowering, node)
    name = name_of(lowering, node)
    var = (
        mb.relu(x=x, name=name) if scalar_like(x, 0).dtype == np.float16 else mb.maximum(x=x, y=np.int32(0), name=name)
    )
    set_result(lowering, node, var)


def lower_gelu(lowering: Lowering, node: ir.Node) -> None:
    """Gelu, exact or its tanh approximation."""
    mode = "TANH_APPROXIMATION" if string(node, "approximate", "none") == "tanh" else "EXACT"
    set_result(lowering, node, mb.gelu(x=operand(lowering, node), mode=mode, name=name_of(lowering, node)))


def lower_leaky_relu(lowering: Lowering, node: ir.Node) -> None:
    """LeakyRelu."""
    alpha = np.float16(number(node, "alpha", 0.01))
    set_result(lowering, node, mb.leaky_relu(x=operand(lowering, node), alpha=alpha, name=name_of(lowering, node)))


def lower_prelu(lowering: Lowering, node: ir.Node) -> None:
    """PRelu: max(x, 0) + slope · min(x, 0), with any broadcast of the slope."""
    x, slope = operand(lowering, node, 0), operand(lowering, node, 1)
    zero = np.float16(0)
    low = mb.minimum(x=x, y=zero, name=name_of(lowering, node, "negative"))
    sloped = mb.mul(x=low, y=slope, name=name_of(lowering, node, "sloped"))
    high = mb.relu(x=x, name=name_of(lowering, node, "positive"))
    set_result(lowering, node, mb.add(x=high, y=sloped, name=name_of(lowering, node)))


def lower_elu(lowering: Lowering, node: ir.Node) -> None:
    """Elu."""
    set_result(lowering, node, _elu(lowering, node, operand(lowering, node), number(node, "alpha", 1.0), ""))


def _elu(lowering: Lowering, node: ir.Node, x: Var, alpha: float, part: str) -> Var:
    return mb.elu(x=x, alpha=np.float16(alpha), name=name_of(lowering, node, part))


def lower_selu(lowering: Lowering, node: ir.Node) -> None:
    """Selu: gamma · elu."""
    inner = _elu(lowering, node, operand(lowering, node), number(node, "alpha", SELU_ALPHA), "elu")
    gamma = np.float16(number(node, "gamma", SELU_GAMMA))
    set_result(lowering, node, mb.mul(x=inner, y=gamma, name=name_of(lowering, node)))


def lower_celu(lowering: Lowering, node: ir.Node) -> None:
    """Celu: alpha · elu(x / alpha)."""
    alpha = number(node, "alpha", 1.0)
    scaled = mb.mul(x=operand(lowering, node), y=np.float16(1 / alpha), name=name_of(lowering, node, "scaled"))
    inner = _elu(lowering, node, scaled, 1.0, "elu")
    set_result(lowering, node, mb.mul(x=inner, y=np.float16(alpha), name=name_of(lowering, node)))


def lower_thresholded_relu(lowering: Lowering, node: ir.Node) -> None:
    """ThresholdedRelu: x if it is above alpha, else 0."""
    x = operand(lowering, node)
    above = mb.greater(x=x, y=np.float16(number(node, "alpha", 1.0)), name=name_of(lowering, node, "above"))
    set_result(lowering, node, mb.select(cond=above, a=x, b=_zeros(x), name=name_of(lowering, node)))


def _zeros(x: Var) -> Any:
    return np.zeros((1,) * x.rank, np.float16)


def lower_hard_sigmoid(lowering: Lowering, node: ir.Node) -> None:
    """HardSigmoid."""
    alpha, beta = np.float16(number(node, "alpha", 0.2)), np.float16(number(node, "beta", 0.5))
    x = operand(lowering, node)
    set_result(lowering, node, mb.sigmoid_hard(x=x, alpha=alpha, beta=beta, name=name_of(lowering, node)))


def lower_hard_swish(lowering: Lowering, node: ir.Node) -> None:
    """HardSwish: x · hard sigmoid(x / 6 + 1/2)."""
    x = operand(lowering, node)
    gate = mb.sigmoid_hard(x=x, alpha=np.float16(1 / 6), beta=np.float16(0.5), name=name_of(lowering, node, "gate"))
    set_result(lowering, node, mb.mul(x=x, y=gate, name=name_of(lowering, node)))


def lower_swish(lowering: Lowering, node: ir.Node) -> None:
    """Swish: x · sigmoid(alpha x)."""
    x, alpha = operand(lowering, node), number(node, "alpha", 1.0)
    if alpha == 1.0:
        set_result(lowering, node, mb.silu(x=x, name=name_of(lowering, node)))
        return
    scaled = mb.mul(x=x, y=np.float16(alpha), name=name_of(lowering, node, "scaled"))
    gate = mb.sigmoid(x=scaled, name=name_of(lowering, node, "gate"))
    set_result(lowering, node, mb.mul(x=x, y=gate, name=name_of(lowering, node)))


def lower_mish(lowering: Lowering, node: ir.Node) -> None:
    """Mish: x · tanh(softplus(x))."""
    x = operand(lowering, node)
    soft = mb.softplus(x=x, name=name_of(lowering, node, "softplus"))
    gate = mb.tanh(x=soft, name=name_of(lowering, node, "gate"))
    set_result(lowering, node, mb.mul(x=x, y=gate, name=name_of(lowering, node)))


def lower_shrink(lowering: Lowering, node: ir.Node) -> None:
    """Shrink: towards 0 by `bias` outside ±lambd, 0 inside."""
    x, bound, bias = operand(lowering, node), number(node, "lambd", 0.5), np.float16(number(node, "bias", 0.0))
    low = mb.less(x=x, y=np.float16(-bound), name=name_of(lowering, node, "below"))
    high = mb.greater(x=x, y=np.float16(bound), name=name_of(lowering, node, "above"))
    up = mb.add(x=x, y=bias, name=name_of(lowering, node, "raised"))
    down = mb.sub(x=x, y=bias, name=name_of(lowering, node, "lowered"))
    upper = mb.select(cond=high, a=down, b=_zeros(x), name=name_of(lowering, node, "upper"))
    set_result(lowering, node, mb.select(cond=low, a=up, b=upper, name=name_of(lowering, node)))


def lower_inverse_hyperbolic(kind: str) -> LowerOp:
    """Asinh and Acosh by logarithms. Asinh is computed from |x|, for which the sum has no cancellation."""

    def lower(lowering: Lowering, node: ir.Node) -> None:
        x = operand(lowering, node)
        size = mb.abs(x=x, name=name_of(lowering, node, "size")) if kind == "Asinh" else x
        square = mb.square(x=size, name=name_of(lowering, node, "square"))
        inner = mb.add(x=square, y=np.float16(1 if kind == "Asinh" else -1), name=name_of(lowering, node, "inner"))
        root = mb.sqrt(x=inner, name=name_of(lowering, node, "root"))
        total = mb.add(x=size, y=root, name=name_of(lowering, node, "sum"))
        log = mb.log(x=total, epsilon=np.float16(0), name=name_of(lowering, node, "log"))
        if kind == "Asinh":
            sign = mb.sign(x=x, name=name_of(lowering, node, "sign"))
            log = mb.mul(x=log, y=sign, name=name_of(lowering, node))
        set_result(lowering, node, log)

    return lower


def lower_softmax(lowering: Lowering, node: ir.Node) -> None:
    """Softmax along one axis."""
    x, axis = operand(lowering, node), integer(node, "axis", -1)
    set_result(lowering, node, mb.softmax(x=x, axis=axis, name=name_of(lowering, node)))


def lower_log_softmax(lowering: Lowering, node: ir.Node) -> None:
    """LogSoftmax: z - log Σ exp z with z = x - max x, so that nothing overflows float16."""
    x, axis = operand(lowering, node), integer(node, "axis", -1)
    peak = mb.reduce_max(x=x, axes=[axis], keep_dims=True, name=name_of(lowering, node, "peak"))
    z = mb.sub(x=x, y=peak, name=name_of(lowering, node, "shifted"))
    total = mb.reduce_log_sum_exp(x=z, axes=[axis], keep_dims=True, name=name_of(lowering, node, "total"))
    set_result(lowering, node, mb.sub(x=z, y=total, name=name_of(lowering, node)))


def lower_hardmax(lowering: Lowering, node: ir.Node) -> None:
    """Hardmax: 1 at the first largest value along one axis, 0 elsewhere."""
    x, axis = operand(lowering, node), integer(node, "axis", -1)
    axis %= x.rank
    at = place_of_extreme(lowering, node, x, axis, largest=True)
    var = mb.one_hot(
        indices=mb.squeeze(x=at, axes=[axis], name=name_of(lowering, node, "flat_place")),
        one_hot_vector_size=shape_of(x)[axis],
        axis=axis,
        on_value=np.float16(1),
        off_value=np.float16(0),
        name=name_of(lowering, node),
    )
    set_result(lowering, node, var)


OPS: dict[str, LowerOp] = {
    "Relu": lower_relu,
    "Sigmoid": _unary(mb.sigmoid),
    "Tanh": _unary(mb.tanh),
    "Softplus": _unary(mb.softplus),
    "Softsign": _unary(mb.softsign),
    "Gelu": lower_gelu,
    "LeakyRelu": lower_leaky_relu,
    "PRelu": lower_prelu,
    "Elu": lower_elu,
    "Selu": lower_selu,
    "Celu": lower_celu,
    "ThresholdedRelu": lower_thresholded_relu,
    "HardSigmoid": lower_hard_sigmoid,
    "HardSwish": lower_hard_swish,
    "Swish": lower_swish,
    "Mish": lower_mish,
    "Shrink": lower_shrink,
    "Asinh": lower_inverse_hyperbolic("Asinh"),
    "Acosh": lower_inverse_hyperbolic("Acosh"),
    "Softmax": lower_softmax,
    "LogSoftmax": lower_log_softmax,
    "Hardmax": lower_hardmax,
}
