"""The lowering rules by ONNX op: the functions that lower ops, and what they don't support."""

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
    order,
    pool,
    reduce,
    resize,
    shape,
    weight,
)

LowerOp = Callable[[Lowering, ir.Node], None]
_FILES = (activation, attention, conv, einsum, index, layout, math, norm, order, pool, reduce, resize, shape, weight)

OPS: dict[str, LowerOp] = {name: lower for file in _FILES for name, lower in file.OPS.items()}
CONSTANT: dict[str, tuple[int, ...]] = {
    name: inputs for file in _FILES for name, inputs in getattr(file, "CONSTANT", {}).items()
}
"""Op → inputs that must be constants, if they are given."""
REFUSALS: dict[str, Callable[[ir.Node], str]] = {
    name: refuse for file in _FILES for name, refuse in getattr(file, "REFUSALS", {}).items()
}
"""Op → function that returns what is unsupported about a node, or an empty string."""
