"""Given any ONNX graph,
Result: large tensors of floats inside of branches and loop bodies are initializers of the main graph, which bodies may
read. There they can be compressed, and are decoded once instead of in every step.
Refuses: nothing; a tensor that is itself the result of a body doesn't change.
"""

from __future__ import annotations

import onnx_ir as ir

from exporter.graph.passes.expose_matrices import MIN_ELEMENTS
from exporter.graph.passes.rewrite import Rewriter, all_graphs, is_standard


def expose_bodies(model: ir.Model) -> None:
    """Moves the tensors in place."""
    outer = Rewriter(model.graph)
    for graph in all_graphs(model.graph):
        if graph is model.graph:
            continue
        for name, value in list(graph.initializers.items()):
            if _is_large(value.const_value) and not value.is_graph_output():
                graph.initializers.pop(name)
                _move(outer, value)
        for node in list(graph):
            if is_standard(node, "Constant") and "value" in node.attributes and not node.outputs[0].is_graph_output():
                tensor = node.attributes["value"].as_tensor()
                if _is_large(tensor):
                    value = node.outputs[0]
                    value.const_value = tensor
                    _move(outer, value)
                    graph.remove(node, safe=True)


def _move(outer: Rewriter, value: ir.Value) -> None:
    tensor = value.const_value
    assert tensor is not None
    name = outer.fresh(f"{value.name}/outside")
    value.replace_all_uses_with(outer.initializer(tensor, name))


def _is_large(tensor: ir.TensorProtocol | None) -> bool:
    integers = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL, ir.DataType.STRING)
    return tensor is not None and tensor.size >= MIN_ELEMENTS and tensor.dtype not in integers
