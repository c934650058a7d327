"""Scaled dot-product attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from exporter.runners.mil.ops.registry import OpTable

OPS = OpTable()


@OPS(same=("query", "key", "value"))
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(query · keyᵀ / sqrt(E) + mask) · value: query `[B, …, L, E]`, key `[B, …, S, E]`, value `[B, …, S, V]`.

    A bool mask is true where a query may attend; a float mask is added to the scores. It broadcasts to `[B, …, L, S]`.
    Scores and weights stay in float32: devices round differently inside this op, so only its result is rounded.
    """
    if query.ndim < 3 or query.ndim != key.ndim or key.shape[:-1] != value.shape[:-1]:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (query, key, value))
        raise ValueError(f"attention can't combine query, key and value of shapes {shapes}")
    if query.shape[:-2] != key.shape[:-2]:
        raise ValueError(f"attention needs equal batches, got {list(query.shape[:-2])} and {list(key.shape[:-2])}")
    scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        masked = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype is torch.bool else scores + attn_mask
        if masked.shape != scores.shape:
            raise ValueError(
                f"the mask's shape {list(attn_mask.shape)} doesn't broadcast to the scores' {list(scores.shape)}"
            )
        scores = masked
    return torch.matmul(torch.softmax(scores, -1), value)
