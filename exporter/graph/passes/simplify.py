"""Given any ONNX graph of opset 7 or newer and sizes for its inputs,
Result: the same computation with fixed shapes, in opset 23, without arithmetic on shapes, without branches whose
condition is known and without nodes that change nothing; each normalization and GELU is a single op.
Inputs and outputs keep their names and order; weights stay memory-mapped and aren't copied; palettes are kept.
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
from exporter.graph.passes.rewrite import some_shapes
from exporter.graph.passes.upgrade_opset import upgrade_opset

_MAX_LOADED_BYTES = 4096  # of a constant that is read from an external file


def simplify(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> ir.Model:
    """Returns a new model; `model` isn't changed, and both share their tensors.

    shapes: graph input → sizes; inputs with a fixed shape may be left out. Raises InputError with all problems of
    `shapes`, or with the first node whose inputs don't fit together; UnsupportedError for an opset below 7.
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
    """Names each unnamed node after its output, so that messages can refer to it."""

    def generate_node_name(self, node: ir.Node) -> str:
        return node.name or next((value.name for value in node.outputs if value.name), None) or node.op_type

    def generate_value_name(self, value: ir.Value) -> str:
        return value.name or "value"


def _load_small(graph: ir.Graph) -> None:
    """Loads small external constants: shapes depend on them, and ONNX's checker doesn't find their file."""
    for value in graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= _MAX_LOADED_BYTES:
            value.const_value = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=value.name)


def _check(model: ir.Model) -> None:
    """Runs ONNX's checker on the graph without its weights. Raises InputError if the graph isn't valid."""
    try:
        with some_shapes(model.graph.outputs):
            CheckerPass()(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        message = str(error).splitlines()[0] if str(error) else "not a valid ONNX graph"
        raise InputError.of("onnx.invalid", message, where=model.graph.name or "") from error
