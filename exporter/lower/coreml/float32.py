"""Float32 parts of a program: expressions with constants too small for float16, such as the 1e-10 of log(x + 1e-10).

In float16 such a constant would become 0 or the smallest number, 6e-8. For a divisor this makes no difference that
matters, and a larger number even prevents infinite quotients. But log(1e-10) is -23, log(6e-8) is -16.6 and log(0) is
-inf. So the logarithm, roots and small powers of such an expression are computed in float32 together with it. Float32
keeps an op off the Neural Engine; therefore only these ops use it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from exporter.lower.coreml.attributes import constant_number, optional_input
from exporter.lower.coreml.emit import broadcast_to, name_of, shape_of
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Var, mb

TINY = 2.0**-21  # smaller numbers have fewer than three binary digits in float16: 1e-7 would be 19 % too large
_MAX_ELEMENTS = 1 << 12  # of a constant that may be an epsilon; larger ones are weights
_BINARY: dict[str, Callable[..., Var]] = {
    "Add": mb.add,
    "Sub": mb.sub,
    "Mul": mb.mul,
    "Div": mb.real_div,
    "Max": mb.maximum,
    "Min": mb.minimum,
}
_OPS = frozenset({*_BINARY, "Clip", "Where", "Neg", "Cast", "Identity"})
_KEY = "kogata.tiny"


def is_tiny(value: ir.Value | None) -> bool:
    """Whether `value` is a float constant whose elements are 0 or too small for float16, and not all 0."""
    tensor = None if value is None else value.const_value
    if value is None or tensor is None or not tensor.dtype.is_floating_point() or not 0 < tensor.size <= _MAX_ELEMENTS:
        return False
    if _KEY not in value.meta:
        largest = float(np.abs(tensor.numpy().astype(np.float32)).max())
        value.meta[_KEY] = 0 < largest < TINY
    return bool(value.meta[_KEY])


def _has_tiny(node: ir.Node | None) -> bool:
    return node is not None and _is_op(node) and any(is_tiny(value) for value in node.inputs)


def _is_op(node: ir.Node) -> bool:
    """Whether the node can be computed in float32: one of `_OPS` with a float result."""
    dtype = node.outputs[0].dtype if node.outputs else None
    floats = dtype is not None and dtype.is_floating_point()
    return floats and node.domain in ("", "ai.onnx") and node.op_type in _OPS and len(node.inputs) <= 3


def _is_inner(node: ir.Node | None) -> bool:
    """Whether a float32 expression includes the node: it or the producer of an operand has a tiny constant."""
    if node is None or not _is_op(node):
        return False
    return _has_tiny(node) or any(value is not None and _has_tiny(value.producer()) for value in node.inputs)


def starts_float32(node: ir.Node) -> bool:
    """Whether the node and the expression of its first input are computed in float32."""
    if node.domain not in ("", "ai.onnx") or not node.inputs or node.inputs[0] is None:
        return False
    if node.op_type == "Pow":
        exponent = constant_number(node.inputs[1])
        if exponent is None or not 0 < exponent < 1:
            return False
    elif node.op_type not in ("Log", "Sqrt"):
        return False
    if node.op_type != "Log" and any(_divides(use.node, use.idx) for use in node.outputs[0].uses()):
        return False  # the raised constant keeps the quotient finite
    return _is_inner(node.inputs[0].producer())


def _divides(node: ir.Node, index: int) -> bool:
    return node.op_type == "Reciprocal" or (node.op_type == "Div" and index == 1)


def only_in_float32(node: ir.Node) -> bool:
    """Whether the node's result is used only inside of float32 expressions, so that no float16 value is needed."""
    if not _is_inner(node) or node.outputs[0].is_graph_output():
        return False
    uses = tuple(node.outputs[0].uses())
    return bool(uses) and all((use.idx == 0 and starts_float32(use.node)) or only_in_float32(use.node) for use in uses)


def float32_var(lowering: Lowering, node: ir.Node, value: ir.Value) -> Var:
    """`value` in float32, for `node`; computed in float32 if it belongs to an expression with a tiny constant."""
    producer = value.producer()
    if value.const_value is not None and value.name not in lowering.hub.palettes:
        array = value.const_value.numpy().astype(np.float32)
        return mb.const(val=array, name=name_of(lowering, node, "float32"))
    if producer is None or lowering.is_constant(value) or not _is_inner(producer):
        return mb.cast(x=lowering.var(value), dtype="fp32", name=name_of(lowering, node, "float32"))
    return _computed(lowering, producer)


def _computed(lowering: Lowering, node: ir.Node) -> Var:
    operands = [
        None if value is None or (node.op_type == "Where" and i == 0) else float32_var(lowering, node, value)
        for i, value in enumerate(node.inputs)
    ]
    if node.op_type == "Where":
        return _chosen(lowering, node, operands)
    x = operands[0]
    if node.op_type == "Neg":
        return mb.mul(x=x, y=np.float32(-1), name=name_of(lowering, node, "in_float32"))
    if node.op_type == "Clip":
        for build, i in ((mb.maximum, 1), (mb.minimum, 2)):
            if optional_input(node, i) is not None:
                x = build(x=x, y=operands[i], name=name_of(lowering, node, "in_float32"))
        return x
    for y in operands[1:]:
        x = _BINARY[node.op_type](x=x, y=y, name=name_of(lowering, node, "in_float32"))
    return x


def _chosen(lowering: Lowering, node: ir.Node, operands: list[Var | None]) -> Var:
    condition = node.inputs[0]
    assert condition is not None
    cond, (a, b) = lowering.var(condition), operands[1:]
    shape = np.broadcast_shapes(*(shape_of(var) for var in (cond, a, b)))
    a, b = (broadcast_to(lowering, node, var, shape) for var in (a, b))
    return mb.select(cond=cond, a=a, b=b, name=name_of(lowering, node, "in_float32"))


def as_result(lowering: Lowering, node: ir.Node, var: Var) -> Var:
    """The float32 `var` as the node's float16 result."""
    return mb.cast(x=var, dtype="fp16", name=name_of(lowering, node))
