"""Given any ONNX graph of opset 7 or newer and sizes for its inputs,
Result: the same computation with fixed shapes, in the hub's opset, without arithmetic on shapes, without branches whose
condition is known and without nodes that change nothing; normalizations and GELUs that were spelt out are one op each.
Inputs and outputs keep their names and order, weights stay where they are (memory-mapped, none copied), palettes too.
Refuses: shapes that contradict the graph, a graph that isn't valid ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import (
    CheckerPass,
    InlinePass,
    NameFixPass,
    RemoveInitializersFromInputsPass,
    RemoveUnusedNodesPass,
)

from exporter.errors import InputError
from exporter.graph.lut import DOMAIN
from exporter.graph.passes.fix_inputs import fix_inputs
from exporter.graph.passes.fold_constants import fold_constants
from exporter.graph.passes.fuse_gelu import fuse_gelu
from exporter.graph.passes.fuse_norms import fuse_norms
from exporter.graph.passes.remove_noops import remove_noops
from exporter.graph.passes.upgrade_opset import upgrade_opset

_SMALL = 4096  # bytes


def simplify(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> ir.Model:
    """A new model; `model` stays as it is (tensors are shared, not copied).

    shapes: graph input → sizes; inputs whose shape the graph fixes already may be left out. Raises InputError with
    everything that is wrong with `shapes`, or with the first node whose operands don't fit together; UnsupportedError
    for an opset below 7.
    """
    result = model.clone()
    NameFixPass(_Names())(result)
    _load_small(result.graph)
    InlinePass(criteria=lambda function: function.domain != DOMAIN)(result)
    RemoveInitializersFromInputsPass()(result)
    fix_inputs(result.graph, shapes)
    fold_constants(result)
    upgrade_opset(result)
    fold_constants(result)
    remove_noops(result.graph)
    RemoveUnusedNodesPass()(result)
    fuse_norms(result.graph)
    fuse_gelu(result.graph)
    RemoveUnusedNodesPass()(result)
    remove_noops(result.graph)
    RemoveUnusedNodesPass()(result)
    _check(result)
    return result


class _Names:
    """Nodes without a name are called after what they compute, which is what messages about them need."""

    def generate_node_name(self, node: ir.Node) -> str:
        return node.name or next((value.name for value in node.outputs if value.name), None) or node.op_type

    def generate_value_name(self, value: ir.Value) -> str:
        return value.name or "value"


def _load_small(graph: ir.Graph) -> None:
    """Small constants from outside the file are read: shapes hang on them, and ONNX's checker doesn't find the file."""
    for value in graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= _SMALL:
            value.const_value = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=value.name)


def _check(model: ir.Model) -> None:
    """ONNX's checker, on the graph without its weights. Raises InputError where it isn't valid."""
    try:
        CheckerPass()(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        message = str(error).splitlines()[0] if str(error) else "not a valid ONNX graph"
        raise InputError.of("onnx.invalid", message, where=model.graph.name or "") from error
