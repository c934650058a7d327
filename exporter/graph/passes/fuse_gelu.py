"""Given a graph of opset 23,
Result: x · (1 + erf(x / √2)) / 2 and x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2, with factors in any order, are
each replaced by a Gelu: x³ overflows float16 for x above 40.
Refuses: nothing; nodes that don't match don't change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as ir

from exporter.graph.passes.rewrite import Rewriter, is_standard, scalar, sole_user

_RELATIVE_TOLERANCE = 1e-3  # of constants; exporters round 1/√2 and 0.044715


def fuse_gelu(graph: ir.Graph) -> None:
    """Fuses in place. Nodes that become unused stay in the graph; remove them with RemoveUnusedNodesPass."""
    rewriter = Rewriter(graph)
    for node in list(graph):
        if is_standard(node, "Erf", "Tanh") and node.inputs[0] is not None:
            x = _erf_argument(node.inputs[0]) if node.op_type == "Erf" else _tanh_argument(node.inputs[0])
            last = None if x is None else _product(node, x)
            if x is not None and last is not None:
                approximate = "none" if node.op_type == "Erf" else "tanh"
                result = rewriter.op(last, "Gelu", [x], approximate=approximate)
                result.shape, result.type = x.shape, x.type
                rewriter.replace(last.outputs[0], result)


def _product(node: ir.Node, x: ir.Value) -> ir.Node | None:
    """The Mul after `node` whose result is x · (1 + node) / 2, or None."""
    added = sole_user(node.outputs[0])
    if added is None or not is_standard(added, "Add"):
        return None
    if not any(scalar(value) == 1 for value in added.inputs):
        return None
    value, factor, seen_x = added.outputs[0], 1.0, False
    while True:
        user = sole_user(value)
        if user is None or not is_standard(user, "Mul", "Div"):
            return None
        other = user.inputs[1] if user.inputs[0] is value else user.inputs[0]
        number = scalar(other)
        if is_standard(user, "Div") and (user.inputs[0] is not value or number is None):
            return None
        if number is not None:
            factor *= 1 / number if user.op_type == "Div" else number
        elif not seen_x and (part := _times(other, x)) is not None:
            factor, seen_x = factor * part, True
        else:
            return None
        if seen_x and _is(factor, 0.5):
            return user
        value = user.outputs[0]


def _erf_argument(value: ir.Value) -> ir.Value | None:
    """x if `value` is x / √2, else None."""
    for source, factor in _scaled(value):
        if _is(factor, math.sqrt(0.5)):
            return source
    return None


def _tanh_argument(value: ir.Value) -> ir.Value | None:
    """x if `value` is √(2/π) · (x + 0.044715 x³), else None."""
    for inner, factor in _scaled(value):
        added = inner.producer()
        if not _is(factor, math.sqrt(2 / math.pi)) or added is None or not is_standard(added, "Add"):
            continue
        for x, cubic in (added.inputs, added.inputs[::-1]):
            if (
                x is not None
                and cubic is not None
                and any(_is(part, 0.044715) and _cube(cube, x) for cube, part in _scaled(cubic))
            ):
                return x
    return None


def _cube(value: ir.Value, x: ir.Value) -> bool:
    node = value.producer()
    if node is None:
        return False
    if is_standard(node, "Pow"):
        return node.inputs[0] is x and scalar(node.inputs[1]) == 3
    if not is_standard(node, "Mul"):
        return False
    return any(first is x and second is not None and _square(second, x) for first, second in _pairs(node))


def _square(value: ir.Value, x: ir.Value) -> bool:
    node = value.producer()
    if node is None:
        return False
    if is_standard(node, "Pow"):
        return node.inputs[0] is x and scalar(node.inputs[1]) == 2
    return is_standard(node, "Mul") and all(operand is x for operand in node.inputs)


def _scaled(value: ir.Value) -> Iterator[tuple[ir.Value, float]]:
    """The pairs (y, c) with which `value` is written as c · y."""
    node = value.producer()
    if node is None:
        return
    if is_standard(node, "Mul"):
        for first, second in _pairs(node):
            if first is not None and (number := scalar(second)) is not None:
                yield first, number
    elif is_standard(node, "Div") and (number := scalar(node.inputs[1])) and node.inputs[0] is not None:
        yield node.inputs[0], 1 / number


def _times(value: ir.Value | None, x: ir.Value) -> float | None:
    """c if `value` is c · x, else None."""
    if value is x:
        return 1.0
    return next((number for source, number in _scaled(value) if source is x), None) if value is not None else None


def _pairs(node: ir.Node) -> tuple[tuple[ir.Value | None, ir.Value | None], ...]:
    first, second = node.inputs
    return (first, second), (second, first)


def _is(number: float | None, wanted: float) -> bool:
    return number is not None and math.isclose(number, wanted, rel_tol=_RELATIVE_TOLERANCE)
