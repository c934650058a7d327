"""Looks up the lowering rule of a node's op, and lowers nodes."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from exporter.errors import Diagnostic, UnsupportedError
from exporter.lower.coreml.float32 import only_in_float32
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.ops import OPS


def supported_ops() -> tuple[str, ...]:
    """The ONNX ops that can be lowered to Core ML, sorted."""
    return tuple(sorted(OPS))


def has_rule(node: ir.Node) -> bool:
    """Whether there is a rule for the node's op."""
    return node.op_type in OPS and node.domain in ("", "ai.onnx")


def unknown_op(node: ir.Node) -> Diagnostic:
    """The diagnostic that there is no rule for the node's op."""
    return Diagnostic(
        "coreml.op",
        f"the Core ML lowering has no rule for the op {node.domain or 'ai.onnx'}::{node.op_type}",
        where=node.name or node.op_type,
        hint="export with --to onnx",
    )


def lower_nodes(lowering: Lowering, nodes: Iterable[ir.Node]) -> None:
    """Lowers `nodes` in order. Their inputs must be bound, constant, or outputs of earlier nodes.

    Raises UnsupportedError with every op that has no rule, before lowering starts.
    """
    todo = [node for node in nodes if not _done(lowering, node)]
    UnsupportedError.raise_all([unknown_op(node) for node in todo if not has_rule(node)])
    for node in todo:
        if _done(lowering, node):  # already lowered as a part of another node, such as a bias with its linear layer
            continue
        if only_in_float32(node):  # lowered with the node that reads it
            continue
        OPS[node.op_type](lowering, node)


def _done(lowering: Lowering, node: ir.Node) -> bool:
    """Whether the node's outputs are already bound, or are constants that their users read directly."""
    return all(lowering.bound(value) or lowering.is_constant(value) for value in node.outputs)
