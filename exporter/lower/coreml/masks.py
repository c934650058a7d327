"""Attention masks in constants: float16 gets -4e4 in place of -inf or the lowest float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.graph.names import words
from exporter.lower.coreml.sources import any_source

MASKED = np.float16(-4e4)  # never -inf: the Neural Engine turns sums with it into NaN; softmax of -4e4 is 0 as well
INFINITE_FROM = 1e8  # numbers of at least this magnitude stand for infinity
MASK_FROM = 3e4  # numbers of at least this magnitude belong to a mask: trained models have far smaller scores
_MAX_MASK_ELEMENTS = 2**22  # a mask of 2,048 by 2,048 tokens; larger constants are weights
_PRESERVING_OPS = words(
    """
    Where Mul Add Sub Cast Reshape Unsqueeze Squeeze Expand Slice Concat Gather Transpose Tile Min Max
    Identity Pad Flatten Split Neg
    """
)
_CACHE_KEY = "kogata.holds_mask"


def within_range(array: NDArray[Any], *, strict: bool = True) -> NDArray[Any]:
    """A mask with ±4e4 in place of infinite values. Arrays that aren't masks are returned unchanged.

    strict: an array is a mask only if it is a single number or has only one other value (usually 0). Any other array
    with such values is a damaged weight.
    """
    if not np.issubdtype(array.dtype, np.floating):  # exporters don't write masks as bfloat16 and similar types
        return array
    huge = np.abs(array) >= (INFINITE_FROM if float(np.finfo(array.dtype).max) > INFINITE_FROM else np.inf)
    if not huge.any():
        return array
    rest = array[~huge]
    if strict and array.size > 1 and rest.size and (rest != rest[0]).any():
        return array
    return np.where(huge, np.copysign(-np.float32(MASKED), array), array).astype(np.float32)


def may_mask(value: ir.Value | None) -> bool:
    """Whether `value` may contain a mask's large numbers: it is such a constant or is computed from one."""
    return any_source(value, _mask_step)


def _mask_step(value: ir.Value) -> bool | Sequence[ir.Value | None]:
    if value.const_value is not None:
        return _holds_mask(value, value.const_value)
    node = value.producer()
    preserves = node is not None and node.domain in ("", "ai.onnx") and node.op_type in _PRESERVING_OPS
    return node.inputs if node is not None and preserves else False


def _holds_mask(value: ir.Value, tensor: ir.TensorProtocol) -> bool:
    if _CACHE_KEY not in value.meta:
        small = tensor.dtype.is_floating_point() and 0 < tensor.size <= _MAX_MASK_ELEMENTS
        value.meta[_CACHE_KEY] = small and bool((np.abs(tensor.numpy().astype(np.float32)) >= MASK_FROM).any())
    return bool(value.meta[_CACHE_KEY])
