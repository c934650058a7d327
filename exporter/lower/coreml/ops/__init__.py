"""One entry per ONNX op that the Core ML writer knows: the function that lowers it, and what it can't express."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.ops import (
    activation,
    attention,
    conv,
    einsum,
    index,
    layout,
    math,
    norm,
    pool,
    reduce,
    resize,
    shape,
    weight,
)

LowerOp = Callable[[Lowering, ir.Node], None]
_FILES = (activation, attention, conv, einsum, index, layout, math, norm, pool, reduce, resize, shape, weight)

OPS: dict[str, LowerOp] = {name: lower for file in _FILES for name, lower in file.OPS.items()}
CONSTANT: dict[str, tuple[int, ...]] = {
    name: inputs for file in _FILES for name, inputs in getattr(file, "CONSTANT", {}).items()
}
"""Inputs that must be known before the program runs, where they are given at all."""
REFUSALS: dict[str, Callable[[ir.Node], str]] = {
    name: refuse for file in _FILES for name, refuse in getattr(file, "REFUSALS", {}).items()
}
"""What of an op has no counterpart in MIL: a node → what it asks for, or nothing."""
