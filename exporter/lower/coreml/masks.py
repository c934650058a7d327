"""Attention masks among float values: where a graph writes -inf or the lowest float32, float16 gets -4e4."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.graph.names import words

MASKED = np.float16(-4e4)  # never -inf: the Neural Engine turns sums with it into NaN; softmax of -4e4 is 0 as well
HUGE = 1e8  # from here on, and infinities: nothing but a way to write "never"
DEEP = 3e4  # from here on a number counts as a mask's: no score of a trained model comes near
_LARGE = 2**22  # elements: a mask of 2,048 by 2,048 tokens; larger constants are weights
_CARRIES = words(
    """
    Where Mul Add Sub Cast Reshape Unsqueeze Squeeze Expand Slice Concat Gather Transpose Tile Min Max
    Identity Pad Flatten Split Neg
    """
)
_KNOWN = "kogata.holds_mask"


def within_range(array: NDArray[Any], *, strict: bool = True) -> NDArray[Any]:
    """A mask with ±4e4 for its huge values.

    strict: only a single number, or an array of one other value besides (0, mostly), is a mask; any other array stays
    as it is, whatever float16 makes of it: it is a weight, and damaged.
    """
    if not np.issubdtype(array.dtype, np.floating):  # bfloat16 and the like are no masks that an exporter folds
        return array
    huge = np.abs(array) >= HUGE
    if not huge.any():
        return array
    rest = array[~huge]
    if strict and array.size > 1 and rest.size and (rest != rest[0]).any():
        return array
    return np.where(huge, np.copysign(-np.float32(MASKED), array), array).astype(np.float32)


def may_mask(value: ir.Value | None) -> bool:
    """Whether `value` may hold a mask's large numbers: a constant with such, or what is made from one."""
    seen: set[int] = set()
    stack = [value]
    while stack:
        current = stack.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if current.const_value is not None:
            if _holds_mask(current, current.const_value):
                return True
            continue
        node = current.producer()
        if node is not None and node.domain in ("", "ai.onnx") and node.op_type in _CARRIES:
            stack.extend(node.inputs)
    return False


def _holds_mask(value: ir.Value, tensor: ir.TensorProtocol) -> bool:
    if _KNOWN not in value.meta:
        small = tensor.dtype.is_floating_point() and 0 < tensor.size <= _LARGE
        value.meta[_KNOWN] = small and bool((np.abs(tensor.numpy().astype(np.float32)) >= DEEP).any())
    return bool(value.meta[_KNOWN])
