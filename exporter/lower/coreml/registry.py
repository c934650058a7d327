"""One entry per ONNX op that the Core ML writer knows: the function that lowers it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_ir as ir

from exporter.errors import Diagnostic, UnsupportedError
from exporter.lower.coreml import ops_attention, ops_math, ops_shape, ops_weight
from exporter.lower.coreml.lowering import Lowering

LowerOp = Callable[[Lowering, ir.Node], None]

OPS: dict[str, LowerOp] = {**ops_math.OPS, **ops_shape.OPS, **ops_weight.OPS, **ops_attention.OPS}


def lower_nodes(lowering: Lowering, nodes: Iterable[ir.Node]) -> None:
    """Lowers `nodes` in order. What they read must be bound, constant, or made by an earlier one of them.

    Raises UnsupportedError with every op that has no entry, before anything is lowered.
    """
    todo = [node for node in nodes if not _done(lowering, node)]
    UnsupportedError.raise_all(
        [
            Diagnostic(
                "coreml.op",
                f"the Core ML lowering has no rule for the op {node.domain or 'ai.onnx'}::{node.op_type}",
                where=node.name or node.op_type,
                hint="export with --to onnx",
            )
            for node in todo
            if node.op_type not in OPS or node.domain not in ("", "ai.onnx")
        ]
    )
    for node in todo:
        if _done(lowering, node):  # meanwhile, as part of another: a bias inside its linear layer
            continue
        OPS[node.op_type](lowering, node)


def _done(lowering: Lowering, node: ir.Node) -> bool:
    """Nothing to do: its results stand for something already, or are constants that their users read directly."""
    return all(lowering.bound(value) or lowering.is_constant(value) for value in node.outputs)
