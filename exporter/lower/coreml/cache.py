"""The decoder's KV cache as Core ML states, and the positions and attention masks that depend on it.

States, all float16 (the only type of a state):
    keyCache, valueCache  [layers, 1, kv_heads, context, head_dim]; kv_heads is the maximum over all layers
    cachePosition         [2]: the number n of tokens in the caches as (n // 1024, n % 1024), both exact in float16

There are two kinds of callers. Apple's example sends a mask (1, 1, q, past + q), from which the past can be read.
swift-transformers sends zeros (1, 1, 1, total + 1), which is one wider, in prefill and in decode.
So the program counts tokens itself and computes past = min(width - q, counted). This is right for both, and the first
kind of caller can return to an earlier position with a narrower mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from exporter.graph.model import CacheSpec
from exporter.lower.coreml.mil import Var, mb

KEY, VALUE, POSITION = "keyCache", "valueCache", "cachePosition"
MASKED = np.float16(-4e4)  # never -inf: the Neural Engine turns sums with it into NaN; softmax of -4e4 is 0 as well
POSITION_BASE = 1024  # float16 counts exactly to 2048


@dataclass(frozen=True)
class Span:
    """The place of the new tokens in the cache: int32 scalars `past` and `total` = past + q."""

    past: Var
    total: Var


def open_span(input_ids: Var, caller_mask: Var, position_state: Var) -> Span:
    """Reads the number of cached tokens from the position state and adds the new ones to it."""
    new = mb.gather(x=mb.shape(x=input_ids), indices=np.int32(1), axis=0, name="new_tokens")
    width = mb.gather(x=mb.shape(x=caller_mask), indices=np.int32(3), axis=0, name="mask_width")
    digits = mb.cast(x=mb.read_state(input=position_state), dtype="int32", name="counted_digits")
    high, low = (
        mb.squeeze(x=mb.slice_by_index(x=digits, begin=[i], end=[i + 1]), axes=[0], name=f"counted_digit_{i}")
        for i in (0, 1)
    )
    counted = mb.add(x=mb.mul(x=high, y=np.int32(POSITION_BASE)), y=low, name="counted")
    asked = mb.maximum(x=mb.sub(x=width, y=new), y=np.int32(0), name="past_by_mask")
    past = mb.minimum(x=asked, y=counted, name="past")
    total = mb.add(x=past, y=new, name="total")
    digits = [mb.floor_div(x=total, y=np.int32(POSITION_BASE)), mb.mod(x=total, y=np.int32(POSITION_BASE))]
    advanced = mb.concat(values=[mb.expand_dims(x=d, axes=[0]) for d in digits], axis=0, name="total_digits")
    mb.coreml_update_state(state=position_state, value=mb.cast(x=advanced, dtype="fp16", name="total_digits_half"))
    return Span(past, total)


def positions(span: Span) -> Var:
    """Position ids of the new tokens, int32 `[1, q]`."""
    row = mb.range_1d(start=span.past, end=span.total, step=np.int32(1), name="new_positions")
    return mb.expand_dims(x=row, axes=[0], name="position_ids")


def causal_masks(
    span: Span, position_ids: Var, caller_mask: Var, windows: Sequence[int | None]
) -> dict[int | None, Var]:
    """Window → additive mask, float16 `[1, 1, q, total]`, which combines causality with the caller's mask.

    windows: the sliding windows to make masks for; None: all earlier tokens.
    """
    columns = mb.range_1d(start=np.int32(0), end=span.total, step=np.int32(1), name="cached_positions")
    columns = mb.expand_dims(x=columns, axes=[0, 1, 2], name="mask_columns")
    rows = mb.expand_dims(x=position_ids, axes=[1, 3], name="mask_rows")  # [1, 1, q, 1]
    causal = mb.less_equal(x=columns, y=rows, name="visible")
    end = mb.concat(values=[np.array([0, 0, 0], np.int32), mb.expand_dims(x=span.total, axes=[0])], axis=0)
    theirs = mb.slice_by_index(
        x=caller_mask, begin=[0, 0, 0, 0], end=end, end_mask=[True, True, True, False], name="caller_mask_used"
    )
    masks = {}
    for window in windows:
        visible, suffix = causal, ""
        if window is not None:
            suffix = f"_window_{window}"
            first = mb.sub(x=rows, y=np.int32(window - 1), name=f"first{suffix}")
            inside = mb.greater_equal(x=columns, y=first, name=f"inside{suffix}")
            visible = mb.logical_and(x=causal, y=inside, name=f"visible{suffix}")
        # minimum instead of a sum: two masked entries would add up to -inf in float16
        either = mb.minimum(x=additive(visible, f"own_mask{suffix}"), y=theirs, name=f"either_mask{suffix}")
        masks[window] = mb.maximum(x=either, y=MASKED, name=f"mask{suffix}")
    return masks


def additive(visible: Var, name: str) -> Var:
    """The additive mask for a bool mask (True: may be attended to): 0 or MASKED, float16 of the same shape."""
    hidden = mb.cast(x=mb.logical_not(x=visible), dtype="fp16")
    return mb.mul(x=hidden, y=MASKED, name=name)


class StateCache:
    """The KV cache of all layers in two states."""

    def __init__(self, spec: CacheSpec, span: Span, key_state: Var, value_state: Var) -> None:
        self._spec = spec
        self._span = span
        self._states = {"key": key_state, "value": value_state}
        self._bounds: dict[int, tuple[Var, Var]] = {}

    def layer_of(self, past: ir.Value) -> int:
        """The number of the layer whose cache is the graph value `past_key_values.{i}.key`."""
        return int((past.name or "").split(".")[1])

    def append(self, kind: Literal["key", "value"], layer: int, new: Var) -> Var:
        """Writes `new` `[1, kv_heads, q, head_dim]` after the past. Returns both, `total` tokens."""
        state = self._states[kind]
        begin, end = self._slice_of(layer)
        all_heads = self._spec.kv_heads[layer] == max(self._spec.kv_heads)
        whole = [False, True, all_heads, False, True]  # layers and tokens are sliced, and heads if the layer has fewer
        updated = mb.slice_update(
            x=mb.read_state(input=state, name=f"{kind}_cache_before_{layer}"),
            update=mb.expand_dims(x=new, axes=[0], name=f"new_{kind}_{layer}"),
            begin=begin,
            end=end,
            begin_mask=[False, True, True, False, True],
            end_mask=whole,
            name=f"{kind}_cache_after_{layer}",
        )
        return mb.slice_by_index(
            x=mb.coreml_update_state(state=state, value=updated, name=f"{kind}_cache_{layer}"),
            begin=[layer, 0, 0, 0, 0],
            end=end,
            begin_mask=[False, True, True, True, True],
            end_mask=whole,
            squeeze_mask=[True, False, False, False, False],
            name=f"{kind}_{layer}",
        )

    def _slice_of(self, layer: int) -> tuple[Var, Var]:
        """Begin and end, int32 `[5]` each, of the slice of `layer` for new tokens; keys and values share them."""
        if layer not in self._bounds:
            heads = self._spec.kv_heads[layer]
            heads = (
                0 if heads == max(self._spec.kv_heads) else heads
            )  # the end of a whole axis is ignored, so 0 can be written
            self._bounds[layer] = (_corner(layer, 0, self._span.past), _corner(layer + 1, heads, self._span.total))
        return self._bounds[layer]


def _corner(layer: int, head: int, token: Var) -> Var:
    parts = [np.array([layer, 0, head], np.int32), mb.expand_dims(x=token, axes=[0]), np.array([0], np.int32)]
    return mb.concat(values=parts, axis=0)
