"""Arithmetic, comparison and logic, element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from exporter.lower.coreml.attributes import constant_number, given, integer, optional
from exporter.lower.coreml.emit import (
    SMALLEST_HALF,
    as_half,
    broadcast_to,
    give,
    is_bool,
    is_float,
    name_of,
    numeric,
    operand,
    scalar_like,
)
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.masks import MASKED, may_mask
from exporter.lower.coreml.mil import Var, mb

LowerOp = Callable[[Lowering, ir.Node], None]
HALF_MAX = 65504.0


def _binary(build: Callable[..., Var]) -> LowerOp:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        x, y = (numeric(lowering, node, _small(lowering, node, i)) for i in (0, 1))
        give(lowering, node, build(x=x, y=y, name=name_of(lowering, node)))

    return lower


def _small(lowering: Lowering, node: ir.Node, index: int) -> Any:
    """Input `index`; a constant that float16 would round to 0 keeps its sign and becomes the smallest number."""
    value = given(node, index)
    number = constant_number(value)
    if number is None or number == 0 or abs(number) >= SMALLEST_HALF:
        return lowering.var(value)
    tensor = value.const_value
    assert tensor is not None
    return np.full(tuple(tensor.shape.numpy()), np.copysign(SMALLEST_HALF, number), np.float16)


def _logic(build: Callable[..., Var]) -> LowerOp:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        give(
            lowering,
            node,
            build(x=operand(lowering, node, 0), y=operand(lowering, node, 1), name=name_of(lowering, node)),
        )

    return lower


def _unary(build: Callable[..., Var], **fixed: Any) -> LowerOp:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        give(lowering, node, build(x=operand(lowering, node), name=name_of(lowering, node), **fixed))

    return lower


def _rounding(build: Callable[..., Var]) -> LowerOp:
    """Integers are round already."""

    def lower(lowering: Lowering, node: ir.Node) -> None:
        x = operand(lowering, node)
        give(lowering, node, build(x=x, name=name_of(lowering, node)) if is_float(x) else x)

    return lower


def _variadic(build: Callable[..., Var]) -> LowerOp:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        give(lowering, node, _joined(lowering, node, build))

    return lower


def _joined(lowering: Lowering, node: ir.Node, build: Callable[..., Var]) -> Var:
    values = [_small(lowering, node, i) for i in range(len(node.inputs))]
    if len(values) == 1:
        return mb.identity(x=values[0], name=name_of(lowering, node))
    return reduce(lambda x, y: build(x=x, y=y, name=name_of(lowering, node, "part")), values)


def lower_mean(lowering: Lowering, node: ir.Node) -> None:
    """Mean of several tensors; each is divided first, so that their sum stays in range."""
    share = np.float16(1 / len(node.inputs))
    parts = [
        mb.mul(x=operand(lowering, node, i), y=share, name=name_of(lowering, node, "share"))
        for i in range(len(node.inputs))
    ]
    total = reduce(lambda x, y: mb.add(x=x, y=y, name=name_of(lowering, node, "part")), parts)
    give(lowering, node, mb.identity(x=total, name=name_of(lowering, node)))


def lower_add(lowering: Lowering, node: ir.Node) -> None:
    """Add. The sum of two masks would leave float16's range: each is held at half of one's value before."""
    x, y = (_small(lowering, node, i) for i in (0, 1))
    if not all(may_mask(value) for value in node.inputs):
        give(lowering, node, mb.add(x=x, y=y, name=name_of(lowering, node)))
        return
    x, y = (mb.maximum(x=value, y=MASKED / 2, name=name_of(lowering, node, "held")) for value in (x, y))
    give(lowering, node, mb.add(x=x, y=y, name=name_of(lowering, node)))


def lower_div(lowering: Lowering, node: ir.Node) -> None:
    """Div; of integers towards 0, as C does, while MIL's floor_div rounds down."""
    x, y = operand(lowering, node, 0), _small(lowering, node, 1)
    if is_float(x):
        give(lowering, node, mb.real_div(x=x, y=y, name=name_of(lowering, node)))
        return
    give(lowering, node, _towards_zero(lowering, node, x, y))


def _towards_zero(lowering: Lowering, node: ir.Node, x: Var, y: Var) -> Var:
    sizes = [mb.abs(x=value, name=name_of(lowering, node, "size")) for value in (x, y)]
    signs = [mb.sign(x=value, name=name_of(lowering, node, "sign")) for value in (x, y)]
    size = mb.floor_div(x=sizes[0], y=sizes[1], name=name_of(lowering, node, "quotient"))
    sign = mb.mul(x=signs[0], y=signs[1], name=name_of(lowering, node, "direction"))
    return mb.mul(x=size, y=sign, name=name_of(lowering, node))


def lower_mod(lowering: Lowering, node: ir.Node) -> None:
    """Mod: with the divisor's sign, as Python's %, or with the dividend's (`fmod`), as C's."""
    x, y = operand(lowering, node, 0), operand(lowering, node, 1)
    if not integer(node, "fmod", 0):
        give(lowering, node, mb.mod(x=x, y=y, name=name_of(lowering, node)))
        return
    rest = mb.mod(
        x=mb.abs(x=x, name=name_of(lowering, node, "size")),
        y=mb.abs(x=y, name=name_of(lowering, node, "divisor")),
        name=name_of(lowering, node, "rest"),
    )
    sign = mb.sign(x=x, name=name_of(lowering, node, "sign"))
    give(lowering, node, mb.mul(x=rest, y=sign, name=name_of(lowering, node)))


def lower_pow(lowering: Lowering, node: ir.Node) -> None:
    """Pow; the usual exponents as the ops that they are, which is exact for negative bases as well."""
    x, exponent = operand(lowering, node, 0), constant_number(given(node, 1))
    name = name_of(lowering, node)
    if exponent == 1:
        var = mb.identity(x=x, name=name)
    elif exponent == 2:
        var = mb.square(x=x, name=name)
    elif exponent == 3:
        var = mb.mul(x=mb.square(x=x, name=name_of(lowering, node, "square")), y=x, name=name)
    elif exponent == 0.5 and is_float(x):
        var = mb.sqrt(x=x, name=name)
    elif exponent == -0.5 and is_float(x):
        var = mb.rsqrt(x=x, epsilon=np.float16(0), name=name)
    elif exponent == -1 and is_float(x):
        var = mb.inverse(x=x, epsilon=np.float16(0), name=name)
    else:
        y = operand(lowering, node, 1)
        if is_float(x):
            y = as_half(lowering, node, y)
        elif is_float(y):  # an integer to a broken power: ONNX computes in floats and cuts the fraction
            power = mb.pow(x=as_half(lowering, node, x), y=y, name=name_of(lowering, node, "power"))
            give(lowering, node, mb.cast(x=power, dtype="int32", name=name))
            return
        var = mb.pow(x=x, y=y, name=name)
    give(lowering, node, var)


def lower_clip(lowering: Lowering, node: ir.Node) -> None:
    """Clip, with either bound left out. A positive lower bound guards a division: it never rounds down to 0; a bound
    beyond float16's range is none.
    """
    var = operand(lowering, node)
    bounds = [(build, i) for build, i in ((mb.maximum, 1), (mb.minimum, 2)) if _bounds(var, optional(node, i))]
    for place, (build, index) in enumerate(bounds, 1):
        bound = _small(lowering, node, index)
        part = "" if place == len(bounds) else "low"
        var = build(x=var, y=bound, name=name_of(lowering, node, part))
    give(lowering, node, var if bounds else mb.identity(x=var, name=name_of(lowering, node)))


def _bounds(var: Var, value: ir.Value | None) -> bool:
    number = constant_number(value)
    return value is not None and not (is_float(var) and number is not None and abs(number) > HALF_MAX)


def lower_neg(lowering: Lowering, node: ir.Node) -> None:
    """Neg, which MIL writes as a product."""
    x = operand(lowering, node)
    give(lowering, node, mb.mul(x=x, y=scalar_like(x, -1), name=name_of(lowering, node)))


def lower_cast(lowering: Lowering, node: ir.Node) -> None:
    """Every float is float16 and every integer int32 here, so that most casts change nothing."""
    x, target = operand(lowering, node), ir.DataType(node.attributes["to"].as_int())
    dtype = "bool" if target == ir.DataType.BOOL else "fp16" if target.is_floating_point() else "int32"
    same = {"bool": is_bool(x), "fp16": is_float(x), "int32": not is_bool(x) and not is_float(x)}[dtype]
    give(lowering, node, x if same else mb.cast(x=x, dtype=dtype, name=name_of(lowering, node)))


def lower_where(lowering: Lowering, node: ir.Node) -> None:
    """Where is MIL's select, whose result has the shape of `a` and `b` alone: one is laid out where it must be."""
    condition, a, b = (operand(lowering, node, i) for i in range(3))
    shapes = [tuple(var.shape) for var in (condition, a, b)]
    if all(isinstance(size, int | np.integer) for shape in shapes for size in shape):
        target = np.broadcast_shapes(*shapes)
        if np.broadcast_shapes(*shapes[1:]) != target:
            a = broadcast_to(lowering, node, a, target)
    give(lowering, node, mb.select(cond=condition, a=a, b=b, name=name_of(lowering, node)))


def lower_is_nan(lowering: Lowering, node: ir.Node) -> None:
    """IsNaN: what isn't equal to itself."""
    x = operand(lowering, node)
    give(lowering, node, mb.not_equal(x=x, y=x, name=name_of(lowering, node)))


def lower_is_inf(lowering: Lowering, node: ir.Node) -> None:
    """IsInf: what lies beyond the largest float16."""
    x = operand(lowering, node)
    if integer(node, "detect_positive", 1) and integer(node, "detect_negative", 1):
        x = mb.abs(x=x, name=name_of(lowering, node, "size"))
    elif integer(node, "detect_negative", 1):
        x = mb.mul(x=x, y=np.float16(-1), name=name_of(lowering, node, "negative"))
    give(lowering, node, mb.greater(x=x, y=np.float16(HALF_MAX), name=name_of(lowering, node)))


def lower_not(lowering: Lowering, node: ir.Node) -> None:
    """Not."""
    give(lowering, node, mb.logical_not(x=operand(lowering, node), name=name_of(lowering, node)))


OPS: dict[str, LowerOp] = {
    "Add": lower_add,
    "Sub": _binary(mb.sub),
    "Mul": _binary(mb.mul),
    "Div": lower_div,
    "Mod": lower_mod,
    "Pow": lower_pow,
    "Min": _variadic(mb.minimum),
    "Max": _variadic(mb.maximum),
    "Sum": _variadic(mb.add),
    "Mean": lower_mean,
    "Equal": _binary(mb.equal),
    "Less": _binary(mb.less),
    "LessOrEqual": _binary(mb.less_equal),
    "Greater": _binary(mb.greater),
    "GreaterOrEqual": _binary(mb.greater_equal),
    "And": _logic(mb.logical_and),
    "Or": _logic(mb.logical_or),
    "Xor": _logic(mb.logical_xor),
    "Not": lower_not,
    "IsNaN": lower_is_nan,
    "IsInf": lower_is_inf,
    "Sqrt": _unary(mb.sqrt),
    "Exp": _unary(mb.exp),
    "Log": _unary(mb.log, epsilon=np.float16(0)),
    "Abs": _unary(mb.abs),
    "Sign": _unary(mb.sign),
    "Neg": lower_neg,
    "Reciprocal": _unary(mb.inverse, epsilon=np.float16(0)),
    "Floor": _rounding(mb.floor),
    "Ceil": _rounding(mb.ceil),
    "Round": _rounding(mb.round),
    "Sin": _unary(mb.sin),
    "Cos": _unary(mb.cos),
    "Tan": _unary(mb.tan),
    "Asin": _unary(mb.asin),
    "Acos": _unary(mb.acos),
    "Atan": _unary(mb.atan),
    "Sinh": _unary(mb.sinh),
    "Cosh": _unary(mb.cosh),
    "Atanh": _unary(mb.atanh),
    "Erf": _unary(mb.erf),
    "Clip": lower_clip,
    "Cast": lower_cast,
    "Where": lower_where,
}
