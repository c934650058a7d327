"""Given a graph whose values have their shapes,
Result: the same graph without nodes that change nothing: Identity, Dropout, casts to the same type, reshapes and slices
to the same shape, transpositions that keep the order, and reshapes that are followed by another reshape.
Refuses: nothing. Graph outputs keep their names.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from exporter.graph.passes.rewrite import Rewriter, is_standard, scalar, static_shape


def remove_noops(graph: ir.Graph) -> None:
    """Removes in place."""
    rewriter = Rewriter(graph)
    for node in graph:
        source = node.inputs[0] if node.inputs else None
        if source is None or not node.outputs:
            continue
        if _changes_nothing(node, source):
            rewriter.replace(node.outputs[0], source)
            rewriter.drop(node)
        elif is_standard(node, "Reshape", "Squeeze", "Unsqueeze", "Flatten"):
            _shorten(rewriter, node, source)


def _changes_nothing(node: ir.Node, source: ir.Value) -> bool:
    result = node.outputs[0]
    if result.is_graph_output() and (source.producer() is None or source.is_graph_output()):
        return False  # this node is needed to give the output its name
    if is_standard(node, "Identity"):
        return True
    if is_standard(node, "Sum", "Max", "Min", "Mean", "Concat"):
        return len(node.inputs) == 1
    check = _CHECKS.get(node.op_type)
    return is_standard(node) and check is not None and check(node, source)


def _same_shape(node: ir.Node, source: ir.Value) -> bool:
    shape = static_shape(source)
    return shape is not None and shape == static_shape(node.outputs[0])


def _idle_dropout(node: ir.Node, _: ir.Value) -> bool:
    training = scalar(node.inputs[2]) if len(node.inputs) > 2 else None
    unused = all(not tuple(value.uses()) and not value.is_graph_output() for value in node.outputs[1:])
    return unused and not training and (len(node.inputs) <= 2 or node.inputs[2] is None or training is not None)


def _same_type(node: ir.Node, source: ir.Value) -> bool:
    return source.dtype is not None and source.dtype == node.outputs[0].dtype


def _whole_slice(node: ir.Node, source: ir.Value) -> bool:
    steps = node.inputs[4] if len(node.inputs) > 4 else None
    forwards = steps is None or (steps.const_value is not None and bool((steps.const_value.numpy() > 0).all()))
    return forwards and _same_shape(node, source)


def _empty_pad(node: ir.Node, source: ir.Value) -> bool:
    pads = node.inputs[1].const_value if len(node.inputs) > 1 and node.inputs[1] is not None else None
    return pads is not None and not pads.numpy().any() and _same_shape(node, source)


def _kept_order(node: ir.Node, _: ir.Value) -> bool:
    perm = list(node.attributes["perm"].as_ints()) if "perm" in node.attributes else [1, 0]
    return perm == sorted(perm)


_CHECKS: dict[str, Callable[[ir.Node, ir.Value], bool]] = {
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Tile"), _same_shape),
    "Dropout": _idle_dropout,
    "Cast": _same_type,
    "Slice": _whole_slice,
    "Pad": _empty_pad,
    "Transpose": _kept_order,
}


def _shorten(rewriter: Rewriter, node: ir.Node, source: ir.Value) -> None:
    """Makes the second of two reshapes read the input of the first."""
    before, shape = source.producer(), static_shape(node.outputs[0])
    if before is None or shape is None or not is_standard(before, "Reshape", "Squeeze", "Unsqueeze", "Flatten"):
        return
    origin = before.inputs[0]
    if origin is None or len(tuple(source.uses())) != 1 or source.is_graph_output():
        return
    target = rewriter.constant(np.array(shape, np.int64), f"{node.name}/shape")
    joined = rewriter.op(node, "Reshape", [origin, target])
    joined.shape, joined.type = node.outputs[0].shape, node.outputs[0].type
    rewriter.replace(node.outputs[0], joined)
    rewriter.drop(node)
    rewriter.drop(before)
