"""Attention and rotary position embedding (opset 23)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from exporter.runners.torch_graph.attributes import Attributes, Op, OpMaker


@dataclass(frozen=True)
class _Scores:
    """How scores are made. scale: None for 1/√head_dim. cap: 0 for none. products: the dtype of both products."""

    scale: float | None
    cap: float
    products: torch.dtype

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """`[batch, heads, queries, head_dim]`, for fewer heads of keys and values; a bool mask says what is seen."""
        dtype = query.dtype
        grouped = query.shape[1] != key.shape[1]
        query, key, value = (tensor.to(self.products) for tensor in (query, key, value))
        if mask is not None:
            mask = mask.reshape([1] * (4 - mask.ndim) + list(mask.shape))
            mask = mask if mask.dtype == torch.bool else mask.to(self.products)
        if not self.cap:
            attended = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, scale=self.scale, enable_gqa=grouped
            )
            return attended.to(dtype)
        if grouped:
            repeats = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        scale = self.scale if self.scale is not None else query.shape[-1] ** -0.5
        scores = torch.tanh(torch.matmul(query * (scale / self.cap), key.mT)) * self.cap
        if mask is None:
            return torch.matmul(torch.softmax(scores, -1), value).to(dtype)
        # after the cap, as onnxruntime and transformers do it
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        blind = (scores == -torch.inf).all(-1, keepdim=True)  # padding that sees nothing: zeros, as without a cap
        seen = torch.softmax(scores.masked_fill(blind, 0), -1).masked_fill(blind, 0)
        return torch.matmul(seen, value).to(dtype)


def _attention(facts: Attributes) -> Op:
    """A causal mask, where the node asks for one, lets query i see the past and the keys up to i."""
    scale = facts.number("scale", 0.0) if "scale" in facts.node.attributes else None
    cap, causal = facts.number("softcap", 0.0), facts.flag("is_causal")
    scores = _Scores(scale, cap, facts.products)
    heads, kv_heads = facts.integer("q_num_heads", 0), facts.integer("kv_num_heads", 0)
    if facts.used(3):
        raise NotImplementedError("the scores as an output")
    if facts.given(6):
        raise NotImplementedError("nonpad_kv_seqlen")
    if max(facts.integer("left_window_size", -1), facts.integer("right_window_size", -1)) >= 0:
        raise NotImplementedError("a window")

    def run(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None = None,
        past_key: Tensor | None = None,
        past_value: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = _by_heads(q, heads), _by_heads(k, kv_heads), _by_heads(v, kv_heads)
        past = 0 if past_key is None else past_key.shape[2]
        if past_key is not None and past_value is not None and past:
            key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
        seen = _reaching(mask, key.shape[2])
        if causal:
            seen = _causal(query.shape[2], key.shape[2], past, seen, query)
        attended = scores.attend(query, key, value, seen)
        if q.ndim == 3:
            attended = attended.transpose(1, 2).flatten(2)
        return attended, key, value, None

    return run


def _by_heads(x: Tensor, heads: int) -> Tensor:
    """`[batch, tokens, heads · head_dim]` as `[batch, heads, tokens, head_dim]`."""
    return x if x.ndim == 4 else x.reshape(*x.shape[:-1], heads, -1).transpose(1, 2)


def _reaching(mask: Tensor | None, keys: int) -> Tensor | None:
    """The mask for all the keys: those that it doesn't reach aren't seen."""
    if mask is None or mask.shape[-1] >= keys:
        return mask
    value = False if mask.dtype == torch.bool else -torch.inf
    return functional.pad(mask, (0, keys - mask.shape[-1]), value=value)


def _causal(queries: int, keys: int, past: int, mask: Tensor | None, like: Tensor) -> Tensor:
    seen = torch.ones(queries, keys, dtype=torch.bool, device=like.device).tril(past)
    if mask is None:
        return seen
    return mask & seen if mask.dtype == torch.bool else mask.masked_fill(~seen, -torch.inf)


def _rotary(facts: Attributes) -> Op:
    heads, interleaved = facts.integer("num_heads", 0), facts.flag("interleaved")
    partial = facts.integer("rotary_embedding_dim", 0)

    def run(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
        if positions is not None:
            cos, sin = functional.embedding(positions, cos), functional.embedding(positions, sin)
        by_head = x.ndim == 4
        split = x if by_head else x.reshape(*x.shape[:-1], heads, -1)
        cos, sin = (table.unsqueeze(1 if by_head else 2) for table in (cos, sin))
        width = partial or split.shape[-1]
        turned = _turned(split[..., :width], cos, sin, interleaved)
        if width < split.shape[-1]:
            turned = torch.cat([turned, split[..., width:]], -1)
        return turned if by_head else turned.flatten(2)

    return run


def _turned(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Each pair of numbers turned by its angle: neighbours where interleaved, else numbers half the width apart."""
    cos, sin = cos[..., : x.shape[-1] // 2], sin[..., : x.shape[-1] // 2]
    first, second = (x[..., 0::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    left, right = first * cos - second * sin, first * sin + second * cos
    return torch.stack([left, right], -1).flatten(-2) if interleaved else torch.cat([left, right], -1)


OPS: dict[str, OpMaker] = {"Attention": _attention, "RotaryEmbedding": _rotary}
