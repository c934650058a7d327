"""Helpers of the lowering rules: names, types and operands for MIL ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.lower.coreml.attributes import required_input
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Var, mb, types

MIN_FLOAT16 = 2.0**-24  # float16's smallest positive number: an epsilon below it would become 0


def name_of(lowering: Lowering, node: ir.Node, part: str = "") -> str:
    """A new MIL name for the node's first output, or for an intermediate value `part`."""
    name = node.outputs[0].name or node.op_type
    return lowering.op_name(f"{name}/{part}" if part else name)


def set_result(lowering: Lowering, node: ir.Node, var: Var) -> None:
    """Makes `var` the node's first output."""
    lowering.bind(node.outputs[0], var)


def operand(lowering: Lowering, node: ir.Node, index: int = 0) -> Var:
    """The variable of input `index`."""
    return lowering.var(required_input(node, index))


def is_float(var: Var) -> bool:
    """Whether `var` holds floats."""
    return bool(types.is_float(var.dtype))


def is_bool(var: Var) -> bool:
    """Whether `var` holds bools."""
    return bool(types.is_bool(var.dtype))


def numeric(lowering: Lowering, node: ir.Node, var: Var) -> Var:
    """`var` with bools as int32 0 and 1, for ops that accept only numbers."""
    return mb.cast(x=var, dtype="int32", name=name_of(lowering, node, "numbers")) if is_bool(var) else var


def as_half(lowering: Lowering, node: ir.Node, var: Var) -> Var:
    """`var` as float16."""
    return var if is_float(var) else mb.cast(x=var, dtype="fp16", name=name_of(lowering, node, "float"))


def back_to_bool(lowering: Lowering, node: ir.Node, var: Var, like: Var) -> Var:
    """`var` as bools if `like` holds bools."""
    if not is_bool(like):
        return var
    return mb.cast(x=var, dtype="bool", name=name_of(lowering, node, "truth"))


def shape_of(var: Var) -> tuple[int, ...]:
    """The shape of a variable. Raises ValueError unless it is known."""
    return tuple(int(size) for size in var.shape)


def broadcast_to(lowering: Lowering, node: ir.Node, x: Var, shape: tuple[int, ...]) -> Var:
    """`x` broadcast to `shape`."""
    own = (1,) * (len(shape) - x.rank) + shape_of(x)
    if own != shape_of(x):
        x = mb.reshape(x=x, shape=list(own), name=name_of(lowering, node, "aligned"))
    reps = [size // mine for size, mine in zip(shape, own, strict=True)]
    return x if all(count == 1 for count in reps) else mb.tile(x=x, reps=reps, name=name_of(lowering, node, "laid_out"))


def scalar_like(var: Var, value: float) -> NDArray[Any]:
    """`value` as a numpy scalar of the type of `var`."""
    return np.array(value, np.float16 if is_float(var) else np.int32)


def epsilon_of(value: float) -> np.float16:
    """A small positive number as float16, at least `MIN_FLOAT16`."""
    return np.float16(max(value, MIN_FLOAT16))
