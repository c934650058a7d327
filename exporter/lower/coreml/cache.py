"""The decoder's KV cache as Core ML states, and the positions and attention masks that depend on it.

States, float16 (the only type of a state), see `state_shape`:
    keyCache, valueCache  [layers, 1, kv_heads, positions, width]; kv_heads is the maximum over all layers

There are no other states, because programs with three states are reported to fail on the Neural Engine and to compute
wrong values on the CPU. The program's own notes are in the last position of the key cache, layer 0 and head 0, which
no token uses: the number n of tokens in the caches as (n // 1024, n % 1024), both exact in float16, and 1 if the caller
sends wide masks. A new state has zeros there.

There are two kinds of callers. Apple's example sends an exact mask (1, 1, q, past + q). swift-transformers sends a wide
mask (1, 1, 1, total + 1), which is one wider than all tokens so far, in prefill and in decode. The first call of a
state decides which kind its caller is (see `_is_wide`). Then the past can be read from the width of every mask, so both
kinds of callers can return to an earlier position. No past is longer than the number of tokens in the caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from exporter.graph.model import CacheSpec
from exporter.lower.coreml.mil import Var, mb

KEY, VALUE = "keyCache", "valueCache"
MASKED = np.float16(-4e4)  # never -inf: the Neural Engine turns sums with it into NaN; softmax of -4e4 is 0 as well
STATE_MULTIPLE = 32  # other state sizes fail on the Neural Engine: github.com/apple/coremltools/issues/2631
_BASE = 1024  # float16 counts exactly to 2048
_NOTES = 3  # numbers that the program keeps for itself


def state_shape(spec: CacheSpec, context: int) -> tuple[int, int, int, int, int]:
    """The shape of each state: [layers, 1, kv_heads, positions, width].

    positions: at least context + 1, because the program's notes need one. width: at least head_dim. Both are multiples
    of 32. The numbers of layers and heads aren't padded, as this would multiply the memory of the caches.
    """
    positions, width = (-(-size // STATE_MULTIPLE) * STATE_MULTIPLE for size in (context + 1, spec.head_dim))
    return spec.layers, 1, max(spec.kv_heads), positions, width


@dataclass(frozen=True)
class Span:
    """The place of the new tokens in the cache: int32 scalars `past` and `total` = past + q."""

    past: Var
    total: Var


def open_span(input_ids: Var, caller_mask: Var, key_state: Var) -> Span:
    """Computes where the new tokens go, and stores the number of tokens after them and the caller's kind."""
    new = mb.gather(x=mb.shape(x=input_ids), indices=np.int32(1), axis=0, name="new_tokens")
    rows, width = (
        mb.gather(x=mb.shape(x=caller_mask), indices=np.int32(axis), axis=0, name=f"caller_mask_{label}")
        for axis, label in ((2, "rows"), (3, "width"))
    )
    high, low, noted = _read_notes(key_state)
    counted = mb.add(x=mb.mul(x=high, y=np.int32(_BASE)), y=low, name="counted")
    beyond = mb.maximum(x=mb.sub(x=width, y=new), y=np.int32(0), name="mask_beyond_new")
    wide = mb.cast(x=_is_wide(rows, beyond, counted, noted), dtype="int32", name="mask_is_wide_number")
    past = mb.minimum(x=mb.sub(x=beyond, y=wide, name="past_by_mask"), y=counted, name="past")
    total = mb.add(x=past, y=new, name="total")
    digits = [mb.floor_div(x=total, y=np.int32(_BASE)), mb.mod(x=total, y=np.int32(_BASE))]
    _write_notes(key_state, [*digits, wide])
    return Span(past, total)


def _is_wide(rows: Var, beyond: Var, counted: Var, noted: Var) -> Var:
    """Whether the caller's mask is one wider than all tokens, a bool scalar.

    rows: of the mask. beyond: how much wider it is than the new tokens. counted: tokens in the cache before this call.
    noted: what the state's first call decided. The past of the first call is 0, so the width shows the kind. A mask
    with several rows, or without columns for a past, is always exact.
    """
    first = mb.logical_and(x=mb.equal(x=counted, y=np.int32(0)), y=mb.equal(x=beyond, y=np.int32(1)))
    later = mb.logical_and(x=mb.equal(x=noted, y=np.int32(1)), y=mb.greater(x=beyond, y=np.int32(0)))
    one_row = mb.equal(x=rows, y=np.int32(1), name="mask_has_one_row")
    return mb.logical_and(x=one_row, y=mb.logical_or(x=first, y=later), name="mask_is_wide")


def _notes_place(state: Var) -> tuple[list[int], list[int]]:
    """Begin and end of the program's notes in the key cache."""
    position = state.shape[3] - 1
    return [0, 0, 0, position, 0], [1, 1, 1, position + 1, _NOTES]


def _read_notes(state: Var) -> list[Var]:
    """The notes, int32 scalars."""
    begin, end = _notes_place(state)
    row = mb.slice_by_index(x=mb.read_state(input=state, name="key_cache_before"), begin=begin, end=end, name="notes")
    flat = mb.cast(x=mb.reshape(x=row, shape=[_NOTES], name="flat_notes"), dtype="int32", name="noted_numbers")
    indices = range(_NOTES)
    return [mb.gather(x=flat, indices=np.int32(i), axis=0, name=f"noted_{i}") for i in indices]


def _write_notes(state: Var, notes: list[Var]) -> None:
    """Stores int32 scalars as the notes."""
    begin, end = _notes_place(state)
    row = mb.concat(values=[mb.expand_dims(x=note, axes=[0]) for note in notes], axis=0, name="new_notes")
    row = mb.reshape(x=mb.cast(x=row, dtype="fp16"), shape=[1, 1, 1, 1, _NOTES], name="new_notes_row")
    before = mb.read_state(input=state, name="key_cache_with_old_notes")
    after = mb.slice_update(x=before, update=row, begin=begin, end=end, name="key_cache_with_notes")
    mb.coreml_update_state(state=state, value=after, name="key_cache_noted")


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
        heads, width = self._spec.kv_heads[layer], self._spec.head_dim
        begin, end = self._slice_of(layer)
        updated = mb.slice_update(
            x=mb.read_state(input=state, name=f"{kind}_cache_before_{layer}"),
            update=mb.expand_dims(x=new, axes=[0], name=f"new_{kind}_{layer}"),
            begin=begin,
            end=end,
            begin_mask=[False, True, True, False, True],
            end_mask=[False, True, heads == state.shape[2], False, width == state.shape[4]],
            name=f"{kind}_cache_after_{layer}",
        )
        padded = (heads, width) != (state.shape[2], state.shape[4])
        tokens = mb.slice_by_index(
            x=mb.coreml_update_state(state=state, value=updated, name=f"{kind}_cache_{layer}"),
            begin=[layer, 0, 0, 0, 0],
            end=end,
            begin_mask=[False, True, True, True, True],
            end_mask=[False, True, True, False, True],
            squeeze_mask=[True, False, False, False, False],
            name=f"padded_{kind}_{layer}" if padded else f"{kind}_{layer}",
        )
        if not padded:
            return tokens
        # a slice with constant ends of its own: only so are the numbers of heads and columns known in the program
        cut = [True, False, True, False]
        return mb.slice_by_index(
            x=tokens,
            begin=[0] * 4,
            end=[1, heads, 0, width],
            begin_mask=[True] * 4,
            end_mask=cut,
            name=f"{kind}_{layer}",
        )

    def _slice_of(self, layer: int) -> tuple[Var, Var]:
        """Begin and end, int32 `[5]` each, of the slice of `layer` for new tokens; keys and values share them."""
        if layer not in self._bounds:
            begin = _corner(layer, 0, self._span.past, 0)
            end = _corner(layer + 1, self._spec.kv_heads[layer], self._span.total, self._spec.head_dim)
            self._bounds[layer] = (begin, end)
        return self._bounds[layer]


def _corner(layer: int, head: int, token: Var, width: int) -> Var:
    parts = [np.array([layer, 0, head], np.int32), mb.expand_dims(x=token, axes=[0]), np.array([width], np.int32)]
    return mb.concat(values=parts, axis=0)
