"""Given any ONNX graph,
Result: a weight that is stored as integers and becomes floats through constants alone (DequantizeLinear, or Cast and
then Sub, Mul or Div, as quantizers write it) is an initializer with these floats, so that it can be compressed like any
other weight. The floats are computed when they are read. A table whose rows are dequantized after they were looked up
is dequantized before.
Refuses: nothing. Integers that a product of integers reads (MatMulInteger, QLinearConv) don't change.
"""

from __future__ import annotations

import onnx_ir as ir

from exporter.graph.passes.evaluate import Evaluation, evaluation
from exporter.graph.passes.expose_matrices import MIN_ELEMENTS
from exporter.graph.passes.infer import infer
from exporter.graph.passes.rewrite import Rewriter, all_graphs, is_standard, static_shape

_CHAIN = ("Cast", "Sub", "Mul", "Div", "Add", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "DequantizeLinear")


def dequantize_weights(model: ir.Model) -> None:
    """Replaces in place."""
    rewriter = Rewriter(model.graph)
    opsets, version = dict(model.graph.opset_imports), model.ir_version or 8
    dequantized: set[ir.Value] = set()
    for graph in list(all_graphs(model.graph)):
        for node in list(graph):
            _adopt(node)
            if is_standard(node, "DequantizeLinear"):
                _before_lookup(rewriter, node)
        for node in list(graph):
            if not _computes_weight(node, dequantized):
                continue
            infer(node, opsets, version)
            if (stored := _computed(node, opsets[""], version)) is not None:
                value = node.outputs[0]
                name = rewriter.fresh(f"{value.name}/dequantized")
                made = rewriter.initializer(stored, name)
                value.replace_all_uses_with(made)
                graph.remove(node, safe=True)
                dequantized.add(made)


def _adopt(node: ir.Node) -> None:
    """Makes onnxruntime's own DequantizeLinear the standard's: only its older types differ."""
    if node.domain == "com.microsoft" and node.op_type == "DequantizeLinear" and _constants(node):
        node.domain = ""


def _before_lookup(rewriter: Rewriter, node: ir.Node) -> None:
    """Turns `DequantizeLinear(Gather(table, ids))` with one scale into `Gather(DequantizeLinear(table), ids)`."""
    rows, rest = node.inputs[0], node.inputs[1:]
    lookup = None if rows is None else rows.producer()
    if lookup is None or not is_standard(lookup, "Gather") or lookup.graph is not node.graph:
        return
    table = lookup.inputs[0]
    single = all(value is None or (value.const_value is not None and value.const_value.size == 1) for value in rest)
    if not single or not _holds_codes(table) or node.outputs[0].is_graph_output():
        return
    assert node.graph is not None
    dense = ir.node("DequantizeLinear", [table, *rest])
    found = ir.node("Gather", [dense.outputs[0], lookup.inputs[1]], attributes=dict(lookup.attributes))
    for new, kind in ((dense, "table"), (found, "rows")):
        new.name = new.outputs[0].name = rewriter.fresh(f"{node.name or node.outputs[0].name}/{kind}")
    node.graph.insert_before(node, [dense, found])
    result = node.outputs[0]
    found.outputs[0].type, found.outputs[0].shape = result.type, result.shape
    result.replace_all_uses_with(found.outputs[0])
    node.graph.remove(node, safe=True)


def _computes_weight(node: ir.Node, dequantized: set[ir.Value]) -> bool:
    if not is_standard(node, *_CHAIN) or not _constants(node) or node.outputs[0].is_graph_output():
        return False
    return any(value in dequantized or _holds_codes(value) for value in node.inputs)


def _constants(node: ir.Node) -> bool:
    return all(value is None or value.const_value is not None for value in node.inputs)


def _holds_codes(value: ir.Value | None) -> bool:
    """Whether the value is a large tensor of integers of 8 bits or fewer."""
    tensor = None if value is None else value.const_value
    if tensor is None or tensor.size < MIN_ELEMENTS:
        return False
    return tensor.dtype.is_integer() and tensor.dtype.bitwidth <= 8


def _computed(node: ir.Node, opset: int, version: int) -> ir.TensorProtocol | None:
    """The node's result, computed when it is read; None where it isn't floats or can't be computed."""
    value = node.outputs[0]
    folded, shape = evaluation(node, opset, version), static_shape(value)
    if folded is None or shape is None or value.dtype is None or not value.dtype.is_floating_point():
        return None
    return ir.LazyTensor(lambda: _run(folded, str(value.name)), value.dtype, ir.Shape(shape))


def _run(folded: Evaluation, name: str) -> ir.TensorProtocol:
    results = folded.run()
    if results is None:
        raise ValueError(f"{name} can't be computed from its constant inputs")
    return ir.tensor(results[0])
