"""One entry per ONNX op that calibration computes."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir
import torch
from torch import Tensor

from exporter.errors import Diagnostic
from exporter.graph import lut
from exporter.runners.torch_graph.attributes import Attributes, Op
from exporter.runners.torch_graph.ops import OPS
from exporter.runners.torch_graph.ops.reduce import OPS as REDUCTIONS

_SIZES: dict[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,), "CumSum": (1,), "Expand": (1,), "OneHot": (1,), "Pad": (1, 2, 3), "Range": (0, 1, 2),
    "Reshape": (1,), "Resize": (1, 2, 3), "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "Tile": (1,),
    "TopK": (1,), "Trilu": (1,), "Unsqueeze": (1,), **{name: (1,) for name in REDUCTIONS if name != "TopK"},
}  # fmt: skip
"""Inputs that are read as Python numbers: they may lie anywhere."""


def unknown_op(node: ir.Node, reason: str = "") -> Diagnostic:
    """The diagnostic for a node that can't be computed. reason: the variant, where the op itself is known."""
    op = f"{node.domain or 'ai.onnx'}::{node.op_type}"
    return Diagnostic(
        "calibration.op",
        f"calibration has no rule for {f'{reason} in ' if reason else 'the op '}{op}",
        where=node.name or node.op_type,
        hint="--calibrate none compresses without running the model",
    )


def op_of(facts: Attributes, device: torch.device) -> Op:
    """The function of a node. Raises KeyError for an unknown op, NotImplementedError for an unknown variant of it."""
    node = facts.node
    standard = node.domain in ("", "ai.onnx") and node.op_type != lut.NAME
    if not standard and not (node.domain == lut.DOMAIN and node.op_type == lut.NAME):
        raise KeyError(node.op_type)
    op = OPS[node.op_type](facts)
    return op if device.type == "cpu" else _aligned(op, _SIZES.get(node.op_type, ()), device)


def _aligned(op: Op, sizes: Iterable[int], device: torch.device) -> Op:
    """`op` with all its tensors on the device as soon as one is: shapes and places stay on the CPU among themselves."""
    elsewhere = frozenset(sizes)

    def run(*tensors: Tensor | None) -> object:
        data = [tensor for i, tensor in enumerate(tensors) if tensor is not None and i not in elsewhere]
        if all(tensor.device.type == "cpu" for tensor in data):
            return op(*tensors)
        return op(*[t if t is None or i in elsewhere else t.to(device) for i, t in enumerate(tensors)])

    return run
