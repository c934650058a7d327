"""Given a graph whose inputs have fixed shapes,
Result: values have their types and shapes if these can be inferred; values that depend only on shapes and small
constants are constants; an If with a constant condition is replaced by the branch that it takes. Large weights aren't
copied: a node that only rearranges a weight stays; a node that computes with weights (a weight norm) becomes a lazy
tensor.
Refuses: a graph whose shapes contradict each other or its nodes.
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
_WEIGHT_ELEMENTS = 256  # a float matrix with at least so many elements is a weight, whose layout isn't changed
_MAX_FOLDED_ELEMENTS = 2**16  # of a folded constant, whatever its inputs: 256 KB of float32
_MAX_FOLDED_INTEGERS = 2**20  # the same for integers: index tables
_LAZY_ELEMENTS = 2**22  # a result with at least so many elements is computed when it is read


def fold_constants(model: ir.Model, taken: dict[str | None, bool] | None = None) -> None:
    """Folds in place, in one pass over the nodes. Raises InputError if shapes contradict each other.

    taken: gets the first output of each If that is replaced, and its condition.
    """
    graph = model.graph
    rewriter = Rewriter(graph)
    opsets = dict(graph.opset_imports)
    for node in graph:  # also visits nodes that are inserted after the current one
        if is_standard(node, "Constant"):
            _lift(rewriter, node)
            continue
        if is_standard(node, "If") and (condition := _condition(node)) is not None:
            if taken is not None:
                taken[node.outputs[0].name] = condition
            inline_branch(rewriter, node, condition)
            continue
        infer(node, opsets, model.ir_version or 11)
        if not any(value.is_graph_output() for value in node.outputs):
            _fold(rewriter, node, opsets[""], model.ir_version or 11)


def _lift(rewriter: Rewriter, node: ir.Node) -> None:
    """Turns a Constant node into an initializer."""
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


def _condition(node: ir.Node) -> bool | None:
    """The condition of an If; None if it is known only at run time."""
    condition = node.inputs[0]
    if condition is None or condition.const_value is None or condition.const_value.size != 1:
        return None
    return bool(np.asarray(condition.const_value.numpy()).reshape(-1)[0])


def inline_branch(rewriter: Rewriter, node: ir.Node, taken: bool) -> None:
    """Replaces an If by the branch that it takes. Names stay unique: onnxruntime refuses two nodes of one name."""
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
        same = inner.name == inner.outputs[0].name
        for value in inner.outputs:
            value.name = rewriter.fresh(f"{node.name}/{value.name}")
        own = f"{node.name or node.op_type}/{inner.name or inner.op_type}"
        inner.name = inner.outputs[0].name if same else rewriter.fresh(own)
    rewriter.graph.insert_after(node, nodes)
    for old, new in zip(node.outputs, results, strict=True):
        if old.is_graph_output() and (new.producer() is None or new.is_graph_output()):
            named = ir.node("Identity", [new])
            named.name = named.outputs[0].name = rewriter.fresh(f"{node.name}/{old.name}")
            rewriter.graph.insert_after(nodes[-1] if nodes else node, named)
            new = named.outputs[0]  # noqa: PLW2901
        rewriter.replace(old, new)
    rewriter.drop(node)


def _fold(rewriter: Rewriter, node: ir.Node, opset: int, ir_version: int) -> None:
    if is_standard(node, "Shape", "Size"):
        shape = static_shape(node.inputs[0])
        if shape is not None:
            start, end = (node.attributes[k].as_int() if k in node.attributes else None for k in ("start", "end"))
            sizes = np.array(shape[start:end] if node.op_type == "Shape" else math.prod(shape), np.int64)
            rewriter.settle(node.outputs[0], sizes)
            rewriter.drop(node)
        return
    folded = evaluation(node, opset, ir_version)
    if folded is None or not _worthwhile(node):
        return
    shape = static_shape(node.outputs[0])
    if shape is not None and math.prod(shape) > _LAZY_ELEMENTS and len(node.outputs) == 1:
        _defer(rewriter, node, folded, shape)
        return
    results = folded.run()
    if results is None:
        return
    for value, array in zip(node.outputs, results, strict=True):
        rewriter.settle(value, array)
    rewriter.drop(node)


def _worthwhile(node: ir.Node) -> bool:
    shapes = [static_shape(value) for value in node.outputs]
    if any(shape is None for shape in shapes):  # NonZero has at most as many elements as its input
        shapes = [
            tuple(v.const_value.shape.numpy()) for v in node.inputs if v is not None and v.const_value is not None
        ]
    size = sum(math.prod(shape) for shape in shapes if shape is not None)
    dtype = node.outputs[0].dtype
    if dtype is not None and not dtype.is_floating_point():
        return size <= _MAX_FOLDED_INTEGERS
    source = static_shape(node.inputs[0]) if node.inputs else None
    if (
        is_standard(node, *_LAYOUT)
        and size > _WEIGHT_ELEMENTS
        and len(source or ()) > 1
        and _holds_floats(node.inputs[0])
    ):
        return False
    taken = sum(v.const_value.size for v in node.inputs if v is not None and v.const_value is not None)
    return size <= _MAX_FOLDED_ELEMENTS or size <= (taken if size > _LAZY_ELEMENTS else 2 * taken)


def _holds_floats(value: ir.Value | None) -> bool:
    """Whether the value is a float tensor, like a weight; masks and indices aren't, until they are cast."""
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()


def _defer(rewriter: Rewriter, node: ir.Node, folded: Evaluation, shape: tuple[int, ...]) -> None:
    value = node.outputs[0]
    if value.dtype is None:
        return

    def compute() -> ir.TensorProtocol:
        results = folded.run()
        if results is None:
            raise ValueError(f"{value.name} can't be computed from its constant inputs")
        return ir.tensor(results[0])

    tensor = ir.LazyTensor(compute, value.dtype, ir.Shape(shape), name=value.name)
    rewriter.settle(value, tensor)
    rewriter.drop(node)


_LAYOUT = words(
    """
    Cast Flatten Identity Reshape Squeeze Transpose Unsqueeze
    """
)
