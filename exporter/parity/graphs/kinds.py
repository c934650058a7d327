"""What an output means, which decides by what it is judged: whole numbers, yes or no, shares of classes, or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[Any]
Kind = Literal["whole", "yes-no", "shares", "numbers"]
Origin = Literal["sigmoid", "softmax", "mixed", "other"]

_LAYOUT = {
    "Cast", "Concat", "Clip", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze",
    "Transpose", "Unsqueeze",
}  # fmt: skip
_SUM = 0.01  # shares add up to 1 within this, also in float16
_RANGE = 2e-3  # a probability in float16 may be this far outside of 0 to 1
_DEPTH = 32  # ops looked at behind an output


@dataclass(frozen=True)
class OutputKind:
    """axis: that of the classes, for shares."""

    kind: Kind
    axis: int = -1


def origins(graph: ir.Graph) -> dict[str, Origin]:
    """Output → the op whose values it carries; "mixed" where only a part of them comes from a Sigmoid."""
    return {str(value.name): _origin(value, _DEPTH) for value in graph.outputs}


def _origin(value: ir.Value | None, depth: int) -> Origin:
    node = value.producer() if value is not None else None
    if node is None or depth == 0:
        return "other"
    if node.op_type in ("Sigmoid", "HardSigmoid"):
        return "sigmoid"
    if node.op_type == "Softmax":
        return "softmax"
    if node.op_type not in _LAYOUT:
        return "other"
    inputs = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    found = {_origin(source, depth - 1) for source in inputs}
    if len(found) == 1:
        return found.pop()
    return "mixed" if found & {"sigmoid", "mixed"} else "other"


def kind_of(references: Sequence[Array], origin: Origin | None) -> OutputKind:
    """The kind of an output from its values in all samples. origin: None where the graph isn't known.

    Values between 0 and 1 alone don't make a probability: a normalized embedding may have them, too.
    """
    if all(array.dtype.kind in "iub" for array in references):
        return OutputKind("whole")
    filled = [array for array in references if array.size]
    if not filled or not all(_within(array) for array in filled):
        return OutputKind("numbers")
    for axis in (-1, 1):
        if all(_adds_up(array, axis) for array in filled):
            return OutputKind("shares", axis)
    single = all(array.ndim == 0 or array.shape[-1] == 1 for array in filled)
    reaches = max(float(array.max()) for array in filled) > 0.5
    return OutputKind("yes-no" if origin == "sigmoid" or single or (origin is None and reaches) else "numbers")


def probability_columns(references: Sequence[Array]) -> tuple[int, NDArray[np.intp]] | None:
    """Axis and indices of the probabilities in an output that also holds other numbers, as detectors give them."""
    shape = references[0].shape
    if any(array.shape[1:] != shape[1:] or array.ndim != len(shape) for array in references) or len(shape) < 2:
        return None
    for axis in (len(shape) - 1, 1):
        inside = np.ones(shape[axis], bool)
        for array in references:
            others = tuple(i for i in range(array.ndim) if i != axis)
            inside &= (array.min(others) >= -_RANGE) & (array.max(others) <= 1 + _RANGE)
        if 0 < inside.sum() < inside.size:
            return axis, np.flatnonzero(inside)
    return None


def _within(array: Array) -> bool:
    with np.errstate(invalid="ignore"):
        return bool(((array >= -_RANGE) & (array <= 1 + _RANGE)).all())


def _adds_up(array: Array, axis: int) -> bool:
    if array.ndim < (1 if axis == -1 else 3) or array.shape[axis] < 2:
        return False
    return bool((np.abs(array.sum(axis, dtype=np.float64) - 1) < _SUM).all())
