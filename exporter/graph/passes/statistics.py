"""Recognizes means and variances in the ways in which exporters spell them.

A mean is a ReduceMean, or a ReduceSum times 1/n or divided by n. A variance is the mean of squares of x minus its mean,
or E[x²] - E[x]², perhaps with a maximum with 0 or a factor n / (n - 1). Reduced axes may be kept or removed, and added
again later by a Reshape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from exporter.graph.passes.rewrite import is_standard, scalar, static_shape

_ROUNDING = 1e-3  # a stored 1/n may be float16
MOVES = ("Reshape", "Unsqueeze", "Squeeze", "Identity")  # these keep the order of the elements


@dataclass(frozen=True)
class Mean:
    """factor times the mean of `source` over `axes` (ascending, from 0)."""

    source: ir.Value
    axes: tuple[int, ...]
    factor: float


@dataclass(frozen=True)
class Variance:
    """factor times the mean of (source - its mean)² over `axes`; without the subtraction if not `centred`."""

    source: ir.Value
    axes: tuple[int, ...]
    factor: float
    centred: bool


def mean_of(value: ir.Value | None) -> Mean | None:
    """The mean that `value` is, or None. Its elements are in order; its shape may differ by axes of size 1."""
    value, factor = _without_factors(value)
    return _reduction(value, factor, ("ReduceMean", "ReduceSum"))


def variance_of(value: ir.Value | None) -> Variance | None:
    """The variance or mean square that `value` is, or None."""
    value, factor = _without_factors(value, clamped=True)
    difference = producer(value, "Sub")
    if difference is not None:
        return _by_moments(difference, factor)
    squares = _reduction(value, factor, ("ReduceSumSquare",))
    if squares is None:
        mean = _reduction(value, factor, ("ReduceMean", "ReduceSum"))
        source = squared(mean.source) if mean is not None else None
        if mean is None or source is None:
            return None
        squares = Mean(source, mean.axes, mean.factor)
    inner = centred_source(squares.source, squares.axes)
    if inner is not None:
        return Variance(inner, squares.axes, squares.factor, True)
    if _subtracts_mean(squares.source):  # over other axes
        return None
    return Variance(squares.source, squares.axes, squares.factor, False)


def _subtracts_mean(value: ir.Value) -> bool:
    difference = producer(value, "Sub")
    mean = None if difference is None else mean_of(before_expand(difference.inputs[1]))
    return difference is not None and mean is not None and mean.source is difference.inputs[0]


def centred_source(value: ir.Value | None, axes: tuple[int, ...]) -> ir.Value | None:
    """x if `value` is x minus its mean over `axes`; else None."""
    difference = producer(value, "Sub")
    if difference is None:
        return None
    x, mean = difference.inputs
    return x if x is not None and is_mean(mean, x, axes) else None


def is_mean(value: ir.Value | None, x: ir.Value, axes: tuple[int, ...]) -> bool:
    """Whether `value` is the mean of `x` over `axes`, in a shape that broadcasts to that of `x`."""
    mean = mean_of(before_expand(value))
    if mean is None or mean.source is not x or mean.axes != axes or abs(mean.factor - 1) > _ROUNDING:
        return False
    return broadcasts(value, x, axes)


def broadcasts(value: ir.Value | None, x: ir.Value, axes: tuple[int, ...]) -> bool:
    """Whether a value for each position outside of `axes` has the shape of `x` with 1 at `axes`, or is expanded."""
    shape, own, inner = static_shape(x), static_shape(value), static_shape(before_expand(value))
    if shape is None:
        return False
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return inner == kept and own in (kept, shape)


def before_expand(value: ir.Value | None) -> ir.Value | None:
    """The operand if `value` is an Expand; else `value`."""
    node = producer(value, "Expand")
    return value if node is None else node.inputs[0]


def squared(value: ir.Value | None) -> ir.Value | None:
    """x if `value` is x², written as Pow(x, 2) or x · x; else None."""
    power, product = producer(value, "Pow"), producer(value, "Mul")
    if power is not None and scalar(power.inputs[1]) == 2:
        return power.inputs[0]
    if product is not None and product.inputs[0] is product.inputs[1]:
        return product.inputs[0]
    return None


def producer(value: ir.Value | None, *kinds: str) -> ir.Node | None:
    """The node that computes `value` if it is one of `kinds`; else None."""
    node = None if value is None else value.producer()
    return node if node is not None and is_standard(node, *kinds) else None


def _by_moments(difference: ir.Node, factor: float) -> Variance | None:
    """E[x²] - E[x]². Both must have one shape, so that every element belongs to its counterpart."""
    squares, square = difference.inputs
    mean, moment = mean_of(squared(square)), mean_of(squares)
    if mean is None or moment is None or squared(moment.source) is not mean.source or mean.axes != moment.axes:
        return None
    if max(abs(mean.factor - 1), abs(moment.factor - 1)) > _ROUNDING:
        return None
    if static_shape(squares) is None or static_shape(squares) != static_shape(square):
        return None
    return Variance(mean.source, mean.axes, factor, True)


def _reduction(value: ir.Value | None, factor: float, kinds: tuple[str, ...]) -> Mean | None:
    node = producer(value, *kinds)
    if node is None or node.inputs[0] is None:
        return None
    axes, shape = node.inputs[1] if len(node.inputs) > 1 else None, static_shape(node.inputs[0])
    if axes is None or axes.const_value is None or axes.const_value.size == 0 or not shape or 0 in shape:
        return None
    numbers = tuple(sorted({int(axis) % len(shape) for axis in axes.const_value.numpy().reshape(-1)}))
    count = math.prod(shape[axis] for axis in numbers)
    return Mean(node.inputs[0], numbers, factor if node.op_type == "ReduceMean" else factor * count)


def _without_factors(value: ir.Value | None, *, clamped: bool = False) -> tuple[ir.Value | None, float]:
    """`value` before products with numbers and changes of shape; and the product of the numbers.

    clamped: also before a maximum with 0, which doesn't change a variance.
    """
    factor = 1.0
    while (node := producer(value)) is not None:
        numbers = [scalar(operand) for operand in node.inputs]
        if node.op_type in MOVES:
            value = node.inputs[0]
        elif clamped and (operand := _clamped(node, numbers)) is not None:
            value = operand
        elif node.op_type == "Mul" and (number := numbers[0] or numbers[1]):
            factor, value = factor * number, node.inputs[0 if numbers[0] is None else 1]
        elif node.op_type == "Div" and numbers[1]:
            factor, value = factor / numbers[1], node.inputs[0]
        else:
            break
    return value, factor


def _clamped(node: ir.Node, numbers: list[float | None]) -> ir.Value | None:
    """x if `node` is the maximum of x and 0; else None. numbers: the constants among its operands."""
    if node.op_type == "Max" and len(numbers) == 2 and 0 in numbers:
        return node.inputs[1 - numbers.index(0)]
    lower_only = node.op_type == "Clip" and numbers[1:2] == [0] and (len(numbers) == 2 or node.inputs[2] is None)
    return node.inputs[0] if lower_only or node.op_type == "Relu" else None
