"""Given a graph of opset 23 whose values have their shapes,
Result: layer and RMS normalizations that consist of several nodes are each replaced by a LayerNormalization or
RMSNormalization. Squares of activations above 256 overflow float16; the single op computes its statistics in float32.
For the spellings of variances see `statistics`. With r = 1 / sqrt(variance + epsilon) and c = x - mean (RMS: c = x),
the quotient may be c / sqrt(…), c · r, c · (r · scale), (c · scale) · r, or x · r · scale + (bias - mean · r · scale).
If the axes aren't the last one, transpositions and reshapes are added around the op.
Refuses: nothing; nodes that don't match exactly don't change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from exporter.graph.passes.rewrite import Rewriter, is_standard, scalar, sole_user, static_shape
from exporter.graph.passes.statistics import Variance, broadcasts, centred_source, is_mean, producer, variance_of

_MAX_FACTOR = 2.0  # n / (n - 1) of an unbiased variance; a sum of squares (factor n) is an L2 normalization


def fuse_norms(graph: ir.Graph) -> None:
    """Fuses in place. Nodes that become unused stay in the graph; remove them with RemoveUnusedNodesPass."""
    rewriter = Rewriter(graph)
    for node in list(graph):
        if is_standard(node, "Add") and (norm := _norm(node)) is not None:
            _put(rewriter, norm)


@dataclass(frozen=True)
class _Norm:
    """A normalization of variance.source, times `scale`, plus `bias`. last: the node that computes it."""

    variance: Variance
    epsilon: float
    last: ir.Node
    scale: ir.Value | None = None
    bias: ir.Value | None = None


def _norm(added: ir.Node) -> _Norm | None:
    """The normalization whose variance + epsilon is the result of `added`."""
    for value, epsilon in (added.inputs, added.inputs[::-1]):
        number = scalar(epsilon)
        variance = variance_of(value) if number is not None else None
        if number is None or variance is None or not 0.9 < variance.factor < _MAX_FACTOR + 1e-3:
            continue
        root = _inverse_root(added.outputs[0])
        if root is None or not broadcasts(root[0], variance.source, variance.axes):
            return None
        norm = _applied(_Norm(variance, number, added), *root)
        shape = static_shape(variance.source)
        return norm if norm is not None and static_shape(norm.last.outputs[0]) == shape else None
    return None


def _inverse_root(value: ir.Value) -> tuple[ir.Value, bool] | None:
    """The last value after `value` that is its square root, and whether it is the inverse of it, or None."""
    rooted = inverse = False
    while (user := sole_user(value)) is not None:
        exponent = scalar(user.inputs[1]) if is_standard(user, "Pow") and user.inputs[0] is value else None
        if not rooted and (is_standard(user, "Sqrt") or exponent in (0.5, -0.5)):
            rooted, inverse = True, exponent == -0.5
        elif (
            rooted
            and not inverse
            and (is_standard(user, "Reciprocal") or (is_standard(user, "Div") and scalar(user.inputs[0]) == 1))
        ):
            inverse = True
        elif (
            not is_standard(user, "Reshape", "Unsqueeze", "Squeeze", "Identity", "Expand")
            or user.inputs[0] is not value
        ):
            break
        value = user.outputs[0]
    return (value, inverse) if rooted else None


def _applied(norm: _Norm, root: ir.Value, inverse: bool) -> _Norm | None:
    """The normalization with the nodes that multiply by the inverse root, or divide by the root."""
    user = sole_user(root)
    if not inverse:
        divides = user is not None and is_standard(user, "Div") and user.inputs[1] is root
        return _numerator(norm, user, user.inputs[0]) if user is not None and divides else None
    found = _by_product(norm, root)
    if found is not None or user is None or not is_standard(user, "Mul"):
        return found
    scale = _other(user, root)
    return _by_product(replace(norm, scale=scale), user.outputs[0]) if _is_constant(scale) else None


def _by_product(norm: _Norm, factor: ir.Value) -> _Norm | None:
    """The normalization that multiplies by `factor`: the inverse root, perhaps times the scale."""
    user = sole_user(factor)
    if user is None:
        return _by_offset(norm, factor) if norm.variance.centred else None
    return _numerator(norm, user, _other(user, factor)) if is_standard(user, "Mul") else None


def _other(node: ir.Node, operand: ir.Value) -> ir.Value | None:
    return node.inputs[1] if node.inputs[0] is operand else node.inputs[0]


def _numerator(norm: _Norm, last: ir.Node, value: ir.Value | None) -> _Norm | None:
    """`norm` with `last` if `value` is what it divides, perhaps times a constant scale; else None."""
    if _is_numerator(norm.variance, value):
        return replace(norm, last=last)
    product = producer(value, "Mul")
    if product is None or norm.scale is not None:
        return None
    for operand, scale in (product.inputs, product.inputs[::-1]):
        if _is_numerator(norm.variance, operand) and _is_constant(scale):
            return replace(norm, last=last, scale=scale)
    return None


def _is_numerator(variance: Variance, value: ir.Value | None) -> bool:
    x = centred_source(value, variance.axes) if variance.centred else value
    return x is variance.source


def _by_offset(norm: _Norm, factor: ir.Value) -> _Norm | None:
    """x · factor + (bias - mean · factor), or x · factor - mean · factor; else None."""
    x, axes = norm.variance.source, norm.variance.axes
    products = [use.node for use in factor.uses() if is_standard(use.node, "Mul")]
    if len(products) != 2 or len(tuple(factor.uses())) != 2 or factor.is_graph_output():
        return None
    others = [_other(node, factor) for node in products]
    for i in (0, 1):
        if others[i] is x and is_mean(others[1 - i], x, axes):
            whole, offset = products[i].outputs[0], products[1 - i].outputs[0]
            break
    else:
        return None
    difference, last = sole_user(offset), sole_user(whole)
    if difference is None or last is None or not is_standard(difference, "Sub") or difference.inputs[1] is not offset:
        return None
    if difference is last:
        return replace(norm, last=last)
    bias = difference.inputs[0]
    if is_standard(last, "Add") and difference.outputs[0] in last.inputs and _is_constant(bias):
        return replace(norm, last=last, bias=bias) if sole_user(difference.outputs[0]) is last else None
    return None


def _is_constant(value: ir.Value | None) -> bool:
    while (cast := producer(value, "Cast")) is not None:
        value = cast.inputs[0]
    return value is not None and value.const_value is not None


def _affine(node: ir.Node, kind: str, size: int) -> tuple[ir.Node, ir.Value | None]:
    """The Mul or Add of a constant vector after `node`, and the vector; `node` and None if there is none."""
    user = sole_user(node.outputs[0])
    if user is None or not is_standard(user, kind):
        return node, None
    other = _other(user, node.outputs[0])
    if other is None or static_shape(other) != (size,) or not _is_constant(other):
        return node, None
    if static_shape(user.outputs[0]) != static_shape(node.outputs[0]):
        return node, None
    return user, other


def _put(rewriter: Rewriter, norm: _Norm) -> None:
    """Replaces the nodes up to `norm.last`, and a scale and a bias after them, by one normalization."""
    variance, last, scale, bias = norm.variance, norm.last, norm.scale, norm.bias
    source, axes = variance.source, variance.axes
    shape = static_shape(source) or ()
    size = math.prod(shape[axis] for axis in axes)
    if axes == (len(shape) - 1,):
        if scale is None and bias is None:
            last, scale = _affine(last, "Mul", size)
        if variance.centred and bias is None and static_shape(scale) in (None, (size,)):
            last, bias = _affine(last, "Add", size)
    dtype = (ir.DataType.FLOAT if source.dtype is None else source.dtype).numpy()
    exact = abs(variance.factor - 1) < 1e-5  # a 1/n in float32
    inside = exact and axes == (len(shape) - 1,) and static_shape(scale) == (size,)
    one = dtype.type(1 if exact else 1 / math.sqrt(variance.factor))
    kind = "LayerNormalization" if variance.centred else "RMSNormalization"
    others = math.prod(shape) // size
    operands: list[ir.Value]
    if variance.centred and len(axes) > 1 and size > others:  # whose constants have `others` elements, not `size`
        kind = "InstanceNormalization"
        operands = [rewriter.constant(np.full(others, one), f"{last.name}/ones")]
        operands.append(rewriter.constant(np.zeros(others, dtype), f"{last.name}/zeros"))
    else:
        ones = rewriter.constant(np.full(size, one), f"{last.name}/ones") if not inside or scale is None else scale
        operands = [ones]
        fits = variance.centred and axes == (len(shape) - 1,) and static_shape(bias) == (size,)
        if bias is not None and fits and (inside or scale is None):
            operands.append(bias)
            bias = None
    epsilon = max(norm.epsilon / (1 if exact else variance.factor), math.ulp(0.0))
    result = _around(rewriter, last, source, axes, (kind, operands, epsilon))
    for op, operand in (("Mul", None if inside else scale), ("Add", bias)):
        if operand is not None:
            result = _typed(rewriter.op(last, op, [result, operand]), source, shape)
    rewriter.replace(last.outputs[0], result)


def _around(
    rewriter: Rewriter, last: ir.Node, x: ir.Value, axes: tuple[int, ...], op: tuple[str, list[ir.Value], float]
) -> ir.Value:
    """The op over `axes` of `x`, with these axes turned to the end and made one."""
    kind, operands, epsilon = op
    source, shape = x, static_shape(x) or ()
    order = [axis for axis in range(len(shape)) if axis not in axes] + list(axes)
    turned = tuple(shape[axis] for axis in order)
    first = len(shape) - len(axes)
    size = math.prod(turned[first:])
    instances = kind == "InstanceNormalization"  # takes [batch, channels, positions]
    flat = (1, math.prod(turned[:first]), size) if instances else (*turned[:first], size)
    over: dict[str, int] = {} if instances else {"axis": -1}
    if order != sorted(order):
        x = _typed(rewriter.op(last, "Transpose", [x], perm=order), source, turned)
    if flat != turned:
        x = _reshaped(rewriter, last, x, flat)
    x = _typed(rewriter.op(last, kind, [x, *operands], epsilon=epsilon, **over), source, flat)
    if flat != turned:
        x = _reshaped(rewriter, last, x, turned)
    if order != sorted(order):
        back = [order.index(axis) for axis in range(len(shape))]
        x = _typed(rewriter.op(last, "Transpose", [x], perm=back), source, shape)
    return x


def _reshaped(rewriter: Rewriter, last: ir.Node, x: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    target = rewriter.constant(np.array(shape, np.int64), f"{last.name}/shape")
    return _typed(rewriter.op(last, "Reshape", [x, target]), x, shape)


def _typed(value: ir.Value, like: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    value.shape, value.type = ir.Shape(shape), like.type
    return value
