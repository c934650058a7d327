"""Given a graph of opset 23 whose values have their shapes,
Result: layer and RMS normalizations that consist of several nodes (mean, difference, square, mean, root, quotient) are
each replaced by a LayerNormalization or RMSNormalization. Squares of activations above 256 overflow float16; the single
op computes its statistics in float32. If the axis isn't the last one, transpositions are added around the op.
Refuses: nothing; nodes that don't match exactly don't change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from exporter.graph.passes.rewrite import Rewriter, is_standard, scalar, sole_user, static_shape


def fuse_norms(graph: ir.Graph) -> None:
    """Fuses in place. Nodes that become unused stay in the graph; remove them with RemoveUnusedNodesPass."""
    rewriter = Rewriter(graph)
    for node in list(graph):
        if is_standard(node, "Sqrt") and (root := _root(node)) is not None:
            _fuse(rewriter, root)


@dataclass(frozen=True)
class _Root:
    """The value sqrt(mean(source²) + epsilon) over `axis`, which is not negative."""

    node: ir.Node
    source: ir.Value
    axis: int
    epsilon: float


def _root(node: ir.Node) -> _Root | None:
    added = _producer(node.inputs[0], "Add")
    if added is None:
        return None
    for mean, epsilon in (added.inputs, added.inputs[::-1]):
        reduced, number = _producer(mean, "ReduceMean"), scalar(epsilon)
        if reduced is None or number is None:
            continue
        axis, source = _one_axis(reduced), _squared(reduced.inputs[0])
        if axis is not None and source is not None:
            return _Root(node, source, axis, number)
    return None


def _squared(value: ir.Value | None) -> ir.Value | None:
    power, product = _producer(value, "Pow"), _producer(value, "Mul")
    if power is not None and scalar(power.inputs[1]) == 2:
        return power.inputs[0]
    if product is not None and product.inputs[0] is product.inputs[1]:
        return product.inputs[0]
    return None


def _one_axis(node: ir.Node) -> int | None:
    """The axis over which a node takes a mean with keepdims, or None."""
    axes = node.inputs[1].const_value if len(node.inputs) > 1 and node.inputs[1] is not None else None
    kept = "keepdims" not in node.attributes or node.attributes["keepdims"].as_int() == 1
    shape = static_shape(node.inputs[0])
    if axes is None or axes.size != 1 or not kept or shape is None:
        return None
    return int(axes.numpy().reshape(-1)[0]) % len(shape)


def _fuse(rewriter: Rewriter, root: _Root) -> None:
    quotient = _quotient(root)
    if quotient is None:
        return
    centred = _producer(root.source, "Sub")
    mean = _producer(centred.inputs[1], "ReduceMean") if centred is not None else None
    layer = mean is not None and centred is not None and mean.inputs[0] is centred.inputs[0]
    if layer and (mean is None or _one_axis(mean) != root.axis):
        return
    source = centred.inputs[0] if layer and centred is not None else root.source
    shape = static_shape(source)
    if source is None or shape is None:
        return
    last, scale = _affine(quotient, "Mul", shape[root.axis], root.axis == len(shape) - 1)
    bias = None
    if layer:
        last, bias = _affine(last, "Add", shape[root.axis], root.axis == len(shape) - 1)
    if scale is None:
        dtype = ir.DataType.FLOAT if source.dtype is None else source.dtype
        scale = rewriter.constant(np.ones(shape[root.axis], dtype.numpy()), f"{root.node.name}/ones")
    operands = [scale] if bias is None else [scale, bias]
    kind = "LayerNormalization" if layer else "RMSNormalization"
    _put(rewriter, last, source, root, (kind, operands))


def _quotient(root: _Root) -> ir.Node | None:
    """The node that divides the source x by the root r, written as x / r, x * (1 / r) or x * reciprocal(r)."""
    user = sole_user(root.node.outputs[0])
    if user is None:
        return None
    if is_standard(user, "Div") and user.inputs[0] is root.source:
        return user
    inverse = is_standard(user, "Reciprocal") or (is_standard(user, "Div") and scalar(user.inputs[0]) == 1)
    product = sole_user(user.outputs[0]) if inverse else None
    if product is not None and is_standard(product, "Mul") and root.source in product.inputs:
        return product
    return None


def _affine(node: ir.Node, kind: str, size: int, last: bool) -> tuple[ir.Node, ir.Value | None]:
    """The Mul or Add of a constant vector after `node`, and the vector; `node` and None if there is none."""
    user = sole_user(node.outputs[0])
    if user is None or not last or not is_standard(user, kind):
        return node, None
    other = user.inputs[1] if user.inputs[0] is node.outputs[0] else user.inputs[0]
    if other is None or static_shape(other) != (size,) or not _from_constant(other):
        return node, None
    if static_shape(user.outputs[0]) != static_shape(node.outputs[0]):
        return node, None
    return user, other


def _from_constant(value: ir.Value) -> bool:
    while (cast := _producer(value, "Cast")) is not None and cast.inputs[0] is not None:
        value = cast.inputs[0]
    return value.const_value is not None


def _put(rewriter: Rewriter, last: ir.Node, source: ir.Value, root: _Root, op: tuple[str, list[ir.Value]]) -> None:
    """Replaces the nodes up to `last` by one normalization."""
    kind, operands = op
    rank = len(source.shape or ())
    x, turned = source, root.axis != rank - 1
    order = [axis for axis in range(rank) if axis != root.axis] + [root.axis]
    if turned:
        x = rewriter.op(last, "Transpose", [x], perm=order)
        shape = static_shape(source) or ()
        x.shape, x.type = ir.Shape([shape[axis] for axis in order]), source.type
    epsilon = max(root.epsilon, math.ulp(0.0))
    result = rewriter.op(last, kind, [x, *operands], axis=-1, epsilon=epsilon)
    result.shape, result.type = x.shape, x.type
    if turned:
        back = [order.index(axis) for axis in range(rank)]
        result = rewriter.op(last, "Transpose", [result], perm=back)
        result.shape, result.type = source.shape, source.type
    rewriter.replace(last.outputs[0], result)


def _producer(value: ir.Value | None, kind: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and is_standard(node, kind) else None
