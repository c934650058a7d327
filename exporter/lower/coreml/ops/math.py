"""Arithmetic, comparison and logic, element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from exporter.lower.coreml.attributes import constant_number, integer, optional_input, required_input
from exporter.lower.coreml.emit import (
    MIN_FLOAT16,
    as_half,
    broadcast_to,
    is_bool,
    is_float,
    name_of,
    numeric,
    operand,
    scalar_like,
    set_result,
)
from exporter.lower.coreml.float32 import as_result, float32_var, is_tiny, starts_float32
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.masks import MASKED, may_mask
from exporter.lower.coreml.mil import Var, mb

LowerOp = Callable[[Lowering, ir.Node], None]
FLOAT16_MAX = 65504.0


def _binary(build: Callable[..., Var], *, exact: bool = False) -> LowerOp:
    """exact: in float32 if an operand is a constant that is too small for float16."""

    def lower(lowering: Lowering, node: ir.Node) -> None:
        if exact and any(is_tiny(value) for value in node.inputs):
            _in_float32(lowering, node, build)
            return
        x, y = (numeric(lowering, node, _small(lowering, node, i)) for i in (0, 1))
        set_result(lowering, node, build(x=x, y=y, name=name_of(lowering, node)))

    return lower


def _small(lowering: Lowering, node: ir.Node, index: int) -> Any:
    """Input `index`. A constant that float16 would round to 0 becomes the smallest float16 with the same sign."""
    value = required_input(node, index)
    number = constant_number(value)
    if number is None or number == 0 or abs(number) >= MIN_FLOAT16:
        return lowering.var(value)
    tensor = value.const_value
    assert tensor is not None
    return np.full(tuple(tensor.shape.numpy()), np.copysign(MIN_FLOAT16, number), np.float16)


def _in_float32(lowering: Lowering, node: ir.Node, build: Callable[..., Var]) -> None:
    """An op of two operands in float32; a float result is float16 again."""
    x, y = (float32_var(lowering, node, required_input(node, i)) for i in (0, 1))
    var = build(x=x, y=y, name=name_of(lowering, node, "in_float32"))
    set_result(lowering, node, var if is_bool(var) else as_result(lowering, node, var))


def _root(build: Callable[..., Var], **fixed: np.float16) -> LowerOp:
    """Log or Sqrt. Of an expression with a constant too small for float16: in float32, together with it."""

    def lower(lowering: Lowering, node: ir.Node) -> None:
        if not starts_float32(node):
            set_result(lowering, node, build(x=operand(lowering, node), name=name_of(lowering, node), **fixed))
            return
        x = float32_var(lowering, node, required_input(node, 0))
        wide = {key: np.float32(value) for key, value in fixed.items()}
        set_result(lowering, node, as_result(lowering, node, build(x=x, name=name_of(lowering, node, "root"), **wide)))

    return lower


def _logic(build: Callable[..., Var]) -> LowerOp:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        set_result(
            lowering,
            node,
            build(x=operand(lowering, node, 0), y=operand(lowering, node, 1), name=name_of(lowering, node)),
        )

    return lower


def _unary(build: Callable[..., Var], **fixed: Any) -> LowerOp:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        set_result(lowering, node, build(x=operand(lowering, node), name=name_of(lowering, node), **fixed))

    return lower


def _rounding(build: Callable[..., Var]) -> LowerOp:
    """A rounding op; integers aren't changed."""

    def lower(lowering: Lowering, node: ir.Node) -> None:
        x = operand(lowering, node)
        set_result(lowering, node, build(x=x, name=name_of(lowering, node)) if is_float(x) else x)

    return lower


def _variadic(build: Callable[..., Var]) -> LowerOp:
    def lower(lowering: Lowering, node: ir.Node) -> None:
        set_result(lowering, node, _joined(lowering, node, build))

    return lower


def _joined(lowering: Lowering, node: ir.Node, build: Callable[..., Var]) -> Var:
    values = [_small(lowering, node, i) for i in range(len(node.inputs))]
    if len(values) == 1:
        return mb.identity(x=values[0], name=name_of(lowering, node))
    return reduce(lambda x, y: build(x=x, y=y, name=name_of(lowering, node, "part")), values)


def lower_mean(lowering: Lowering, node: ir.Node) -> None:
    """Mean of several tensors. Each is divided before the sum, so that the sum stays in float16's range."""
    share = np.float16(1 / len(node.inputs))
    parts = [
        mb.mul(x=operand(lowering, node, i), y=share, name=name_of(lowering, node, "share"))
        for i in range(len(node.inputs))
    ]
    total = reduce(lambda x, y: mb.add(x=x, y=y, name=name_of(lowering, node, "part")), parts)
    set_result(lowering, node, mb.identity(x=total, name=name_of(lowering, node)))


def lower_add(lowering: Lowering, node: ir.Node) -> None:
    """Add. Two masks are clamped to half of a mask's value first, because their sum would overflow float16."""
    x, y = (_small(lowering, node, i) for i in (0, 1))
    if not all(may_mask(value) for value in node.inputs):
        set_result(lowering, node, mb.add(x=x, y=y, name=name_of(lowering, node)))
        return
    x, y = (mb.maximum(x=value, y=MASKED / 2, name=name_of(lowering, node, "held")) for value in (x, y))
    set_result(lowering, node, mb.add(x=x, y=y, name=name_of(lowering, node)))


def lower_div(lowering: Lowering, node: ir.Node) -> None:
    """Div. Integer division rounds towards 0 as in C, while MIL's floor_div rounds down."""
    if any(is_tiny(required_input(node, i)) for i in (0, 1)):
        _in_float32(lowering, node, mb.real_div)
        return
    x, y = operand(lowering, node, 0), _small(lowering, node, 1)
    if is_float(x):
        set_result(lowering, node, mb.real_div(x=x, y=y, name=name_of(lowering, node)))
        return
    set_result(lowering, node, _towards_zero(lowering, node, x, y))


def _towards_zero(lowering: Lowering, node: ir.Node, x: Var, y: Var) -> Var:
    sizes = [mb.abs(x=value, name=name_of(lowering, node, "size")) for value in (x, y)]
    signs = [mb.sign(x=value, name=name_of(lowering, node, "sign")) for value in (x, y)]
    size = mb.floor_div(x=sizes[0], y=sizes[1], name=name_of(lowering, node, "quotient"))
    sign = mb.mul(x=signs[0], y=signs[1], name=name_of(lowering, node, "direction"))
    return mb.mul(x=size, y=sign, name=name_of(lowering, node))


def lower_mod(lowering: Lowering, node: ir.Node) -> None:
    """Mod, with the sign of the divisor as in Python, or of the dividend as in C (`fmod`)."""
    x, y = operand(lowering, node, 0), operand(lowering, node, 1)
    if not integer(node, "fmod", 0):
        set_result(lowering, node, mb.mod(x=x, y=y, name=name_of(lowering, node)))
        return
    rest = mb.mod(
        x=mb.abs(x=x, name=name_of(lowering, node, "size")),
        y=mb.abs(x=y, name=name_of(lowering, node, "divisor")),
        name=name_of(lowering, node, "rest"),
    )
    sign = mb.sign(x=x, name=name_of(lowering, node, "sign"))
    set_result(lowering, node, mb.mul(x=rest, y=sign, name=name_of(lowering, node)))


def lower_pow(lowering: Lowering, node: ir.Node) -> None:
    """Pow. Common exponents become square, sqrt and other ops, which are also exact for negative bases."""
    exponent = constant_number(required_input(node, 1))
    if exponent is not None and starts_float32(node):
        base = float32_var(lowering, node, required_input(node, 0))
        power = mb.pow(x=base, y=np.float32(exponent), name=name_of(lowering, node, "power"))
        set_result(lowering, node, as_result(lowering, node, power))
        return
    x = operand(lowering, node, 0)
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
        elif is_float(y):  # an integer base with a float exponent: ONNX computes in floats and truncates the result
            power = mb.pow(x=as_half(lowering, node, x), y=y, name=name_of(lowering, node, "power"))
            set_result(lowering, node, mb.cast(x=power, dtype="int32", name=name))
            return
        var = mb.pow(x=x, y=y, name=name)
    set_result(lowering, node, var)


def lower_clip(lowering: Lowering, node: ir.Node) -> None:
    """Clip with one or both bounds. A positive lower bound isn't rounded to 0, because it protects a division; a bound
    beyond float16's range has no effect.
    """
    var = operand(lowering, node)
    bounds = [(build, i) for build, i in ((mb.maximum, 1), (mb.minimum, 2)) if _bounds(var, optional_input(node, i))]
    for place, (build, index) in enumerate(bounds, 1):
        bound = _small(lowering, node, index)
        part = "" if place == len(bounds) else "low"
        var = build(x=var, y=bound, name=name_of(lowering, node, part))
    set_result(lowering, node, var if bounds else mb.identity(x=var, name=name_of(lowering, node)))


def _bounds(var: Var, value: ir.Value | None) -> bool:
    number = constant_number(value)
    return value is not None and not (is_float(var) and number is not None and abs(number) > FLOAT16_MAX)


def lower_neg(lowering: Lowering, node: ir.Node) -> None:
    """Neg as a product with -1."""
    x = operand(lowering, node)
    set_result(lowering, node, mb.mul(x=x, y=scalar_like(x, -1), name=name_of(lowering, node)))


def lower_cast(lowering: Lowering, node: ir.Node) -> None:
    """Cast. All floats are float16 and all integers int32, so most casts change nothing."""
    x, target = operand(lowering, node), ir.DataType(node.attributes["to"].as_int())
    dtype = "bool" if target == ir.DataType.BOOL else "fp16" if target.is_floating_point() else "int32"
    same = {"bool": is_bool(x), "fp16": is_float(x), "int32": not is_bool(x) and not is_float(x)}[dtype]
    set_result(lowering, node, x if same else mb.cast(x=x, dtype=dtype, name=name_of(lowering, node)))


def lower_where(lowering: Lowering, node: ir.Node) -> None:
    """Where by MIL's select. Its result has the shape of `a` and `b`, so these are broadcast first if needed."""
    condition, a, b = operand(lowering, node, 0), *(_small(lowering, node, i) for i in (1, 2))
    a, b = (mb.const(val=v, name=name_of(lowering, node, "small")) if isinstance(v, np.ndarray) else v for v in (a, b))
    shapes = [tuple(var.shape) for var in (condition, a, b)]
    if all(isinstance(size, int | np.integer) for shape in shapes for size in shape):
        target = np.broadcast_shapes(*shapes)
        if np.broadcast_shapes(*shapes[1:]) != target:
            a = broadcast_to(lowering, node, a, target)
    set_result(lowering, node, mb.select(cond=condition, a=a, b=b, name=name_of(lowering, node)))


def lower_is_nan(lowering: Lowering, node: ir.Node) -> None:
    """IsNaN: x isn't equal to itself."""
    x = operand(lowering, node)
    set_result(lowering, node, mb.not_equal(x=x, y=x, name=name_of(lowering, node)))


def lower_is_inf(lowering: Lowering, node: ir.Node) -> None:
    """IsInf: x is beyond the largest float16."""
    x = operand(lowering, node)
    if integer(node, "detect_positive", 1) and integer(node, "detect_negative", 1):
        x = mb.abs(x=x, name=name_of(lowering, node, "size"))
    elif integer(node, "detect_negative", 1):
        x = mb.mul(x=x, y=np.float16(-1), name=name_of(lowering, node, "negative"))
    set_result(lowering, node, mb.greater(x=x, y=np.float16(FLOAT16_MAX), name=name_of(lowering, node)))


def lower_not(lowering: Lowering, node: ir.Node) -> None:
    """Not."""
    set_result(lowering, node, mb.logical_not(x=operand(lowering, node), name=name_of(lowering, node)))


OPS: dict[str, LowerOp] = {
    "Add": lower_add,
    "Sub": _binary(mb.sub),
    "Mul": _binary(mb.mul, exact=True),
    "Div": lower_div,
    "Mod": lower_mod,
    "Pow": lower_pow,
    "Min": _variadic(mb.minimum),
    "Max": _variadic(mb.maximum),
    "Sum": _variadic(mb.add),
    "Mean": lower_mean,
    "Equal": _binary(mb.equal, exact=True),
    "Less": _binary(mb.less, exact=True),
    "LessOrEqual": _binary(mb.less_equal, exact=True),
    "Greater": _binary(mb.greater, exact=True),
    "GreaterOrEqual": _binary(mb.greater_equal, exact=True),
    "And": _logic(mb.logical_and),
    "Or": _logic(mb.logical_or),
    "Xor": _logic(mb.logical_xor),
    "Not": lower_not,
    "IsNaN": lower_is_nan,
    "IsInf": lower_is_inf,
    "Sqrt": _root(mb.sqrt),
    "Exp": _unary(mb.exp),
    "Log": _root(mb.log, epsilon=np.float16(0)),
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
