"""Given a graph whose inputs have fixed shapes,
Result: every value has its type and shape as far as they can be known beforehand; what depends on shapes and small
constants alone is a constant; an If whose condition is constant is the branch taken. Big weights are never laid out
anew: a node that only moves the elements of a weight stays, one that computes with weights (a weight norm) becomes a
tensor that is computed when it is read.
Refuses: a graph that contradicts itself, sizes that don't fit its nodes.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from exporter.graph.names import words
from exporter.graph.passes.evaluate import Evaluation, evaluation
from exporter.graph.passes.infer import infer
from exporter.graph.passes.rewrite import Rewriter, is_standard, static_shape

# one element in, one element out
_WEIGHT = 256  # elements from which a float matrix counts as a weight, whose layout isn't changed
_SMALL = 2**16  # elements that a folded constant may have whatever it was made from: 256 KB of float32
_INTEGERS = 2**20  # the same for integers: index tables
_LARGE = 2**22  # elements from which a result is computed when it is read instead of held in memory


def fold_constants(model: ir.Model) -> None:
    """Folds in place, in one walk along the graph. Raises InputError where shapes contradict each other."""
    graph = model.graph
    rewriter = Rewriter(graph)
    opsets = dict(graph.opset_imports)
    for node in graph:  # nodes put behind the current one are visited too
        if is_standard(node, "Constant"):
            _lift(rewriter, node)
            continue
        if is_standard(node, "If") and _inline(rewriter, node):
            continue
        infer(node, opsets, model.ir_version or 11)
        if not any(value.is_graph_output() for value in node.outputs):
            _fold(rewriter, node, opsets[""], model.ir_version or 11)


def _lift(rewriter: Rewriter, node: ir.Node) -> None:
    """A Constant node is an initializer."""
    value = node.outputs[0]
    (attribute,) = node.attributes.values()
    if value.is_graph_output() or attribute.type in (ir.AttributeType.STRING, ir.AttributeType.STRINGS):
        return
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
    elif attribute.name == "sparse_value":
        return
    else:
        floats = attribute.type in (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS)
        tensor = ir.tensor(np.asarray(attribute.value, np.float32 if floats else np.int64))
    rewriter.settle(value, tensor)
    rewriter.drop(node)


def _inline(rewriter: Rewriter, node: ir.Node) -> bool:
    """Puts the branch that a constant condition takes in place of an If."""
    condition = node.inputs[0]
    if condition is None or condition.const_value is None or any(value.is_graph_output() for value in node.outputs):
        return False
    taken = bool(np.asarray(condition.const_value.numpy()).reshape(-1)[0])
    branch = node.attributes["then_branch" if taken else "else_branch"].as_graph()
    results = list(branch.outputs)
    branch.outputs.clear()
    for value in list(branch.initializers.values()):
        if value.const_value is not None:
            moved = rewriter.initializer(value.const_value, rewriter.fresh(f"{node.name}/{value.name}"))
            results = [moved if result is value else result for result in results]
            value.replace_all_uses_with(moved)
    nodes = list(branch)
    branch.remove(nodes)
    for inner in nodes:
        for value in inner.outputs:
            value.name = rewriter.fresh(f"{node.name}/{value.name}")
        inner.name = f"{node.name}/{inner.name}"
    rewriter.graph.insert_after(node, nodes)
    for old, new in zip(node.outputs, results, strict=True):
        rewriter.replace(old, new)
    rewriter.drop(node)
    return True


def _fold(rewriter: Rewriter, node: ir.Node, opset: int, ir_version: int) -> None:
    if is_standard(node, "Shape", "Size"):
        shape = static_shape(node.inputs[0])
        if shape is not None:
            start, end = (node.attributes[k].as_int() if k in node.attributes else None for k in ("start", "end"))
            sizes = np.array(shape[start:end] if node.op_type == "Shape" else math.prod(shape), np.int64)
            rewriter.settle(node.outputs[0], sizes)
            rewriter.drop(node)
        return
    found = evaluation(node, opset, ir_version)
    if found is None or not _worthwhile(node):
        return
    shape = static_shape(node.outputs[0])
    if shape is not None and math.prod(shape) > _LARGE and len(node.outputs) == 1:
        _defer(rewriter, node, found, shape)
        return
    results = found.run()
    if results is None:
        return
    for value, array in zip(node.outputs, results, strict=True):
        rewriter.settle(value, array)
    rewriter.drop(node)


def _worthwhile(node: ir.Node) -> bool:
    shapes = [static_shape(value) for value in node.outputs]
    if any(shape is None for shape in shapes):  # NonZero: no more elements than go in
        shapes = [
            tuple(v.const_value.shape.numpy()) for v in node.inputs if v is not None and v.const_value is not None
        ]
    size = sum(math.prod(shape) for shape in shapes if shape is not None)
    dtype = node.outputs[0].dtype
    if dtype is not None and not dtype.is_floating_point():
        return size <= _INTEGERS
    source = static_shape(node.inputs[0]) if node.inputs else None
    if is_standard(node, *_LAYOUT) and size > _WEIGHT and len(source or ()) > 1 and _holds_floats(node.inputs[0]):
        return False
    taken = sum(v.const_value.size for v in node.inputs if v is not None and v.const_value is not None)
    return size <= _SMALL or size <= (taken if size > _LARGE else 2 * taken)


def _holds_floats(value: ir.Value | None) -> bool:
    """Weights do; masks and indices, which are cast once they are compared, don't."""
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()


def _defer(rewriter: Rewriter, node: ir.Node, found: Evaluation, shape: tuple[int, ...]) -> None:
    value = node.outputs[0]
    if value.dtype is None:
        return

    def compute() -> ir.TensorProtocol:
        results = found.run()
        if results is None:
            raise ValueError(f"{value.name} can't be computed from its constants")
        return ir.tensor(results[0])

    tensor = ir.LazyTensor(compute, value.dtype, ir.Shape(shape), name=value.name)
    rewriter.settle(value, tensor)
    rewriter.drop(node)


_LAYOUT = words(
    """
    Cast Flatten Identity Reshape Squeeze Transpose Unsqueeze
    """
)
