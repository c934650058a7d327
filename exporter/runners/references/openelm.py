"""OpenELM in torch, written after its paper (arXiv 2404.14619) and the keys of Apple's published configurations.

Layer-wise scaling: every layer has its own number of heads and its own MLP width. Attention is grouped, with RMS norms
on each query and key head before they are rotated; the MLP is a SwiGLU; nothing has a bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import DynamicCache
from transformers.activations import ACT2FN
from transformers.modeling_outputs import CausalLMOutputWithPast

from exporter.runners.references.source import Config, Loaded, Source

_EPS = 1e-6  # of every norm; no configuration states another


@dataclass(frozen=True)
class _Sizes:
    """One layer: query heads, key/value heads, width of the MLP."""

    heads: int
    kv_heads: int
    inner: int


def load_openelm(source: Source) -> Loaded:
    """The checkpoint in a torch module with Apple's names. Raises as `Reference.load` states."""
    with torch.device("meta"):
        model = OpenELM(source.config)
    weights = {name: source.floats(name) for name in source.tensors}
    result = model.load_state_dict(weights, strict=False, assign=True)
    return Loaded(model.eval().requires_grad_(False), tuple(sorted(result.missing_keys)))


class OpenELM(nn.Module):
    """The decoder with its head, which is the embedding where `share_input_output_layers` says so."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        hidden, vocabulary = config["model_dim"], config["vocab_size"]
        self.transformer = _Transformer(config)
        self.lm_head = (
            None if config.get("share_input_output_layers", False) else nn.Linear(hidden, vocabulary, bias=False)
        )

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = True,
    ) -> CausalLMOutputWithPast:
        """Token ids `[batch, seq]` → logits `[batch, seq, vocab]`; a cache that is passed in is appended to.

        attention_mask: `[batch, past + seq]`, 0 for padding; position_ids: `[batch, seq]`.
        """
        cache = DynamicCache() if past_key_values is None else past_key_values
        past, count = cache.get_seq_length(), input_ids.shape[1]
        steps = torch.arange(past, past + count)
        seen = torch.arange(past + count)[None, :] <= steps[:, None]
        seen = seen[None, None] if attention_mask is None else seen[None, None] & attention_mask.bool()[:, None, None]
        positions = steps[None] if position_ids is None else position_ids
        x = self.transformer(input_ids, positions, seen, cache)
        head = self.transformer.token_embeddings if self.lm_head is None else self.lm_head
        return CausalLMOutputWithPast(logits=x @ head.weight.T, past_key_values=cache if use_cache else None)


class _Transformer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.token_embeddings = nn.Embedding(config["vocab_size"], config["model_dim"])
        self.layers = nn.ModuleList(_Layer(config, sizes, i) for i, sizes in enumerate(_layer_sizes(config)))
        self.norm = nn.RMSNorm(config["model_dim"], _EPS)

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor, cache: DynamicCache
    ) -> torch.Tensor:
        pairs = torch.arange(0, self.config["head_dim"], 2, dtype=torch.float32) / self.config["head_dim"]
        base = self.config.get("rope_freq_constant") or 10000
        angles = positions[:, None, :, None].float() * (1 / base**pairs)  # [batch, 1, seq, head_dim / 2]
        x = self.token_embeddings(ids)
        for layer in self.layers:
            x = layer(x, angles, seen, cache)
        normed: torch.Tensor = self.norm(x)
        return normed


class _Layer(nn.Module):
    def __init__(self, config: Config, sizes: _Sizes, index: int) -> None:
        super().__init__()
        self.attn_norm = nn.RMSNorm(config["model_dim"], _EPS)
        self.attn = _Attention(config, sizes, index)
        self.ffn_norm = nn.RMSNorm(config["model_dim"], _EPS)
        self.ffn = _FeedForward(config, sizes)

    def forward(self, x: torch.Tensor, angles: torch.Tensor, seen: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        x = x + self.attn(self.attn_norm(x), angles, seen, cache)
        after: torch.Tensor = x + self.ffn(self.ffn_norm(x))
        return after


class _Attention(nn.Module):
    def __init__(self, config: Config, sizes: _Sizes, index: int) -> None:
        super().__init__()
        head_dim, hidden = config["head_dim"], config["model_dim"]
        self.sizes, self.head_dim, self.index = sizes, head_dim, index
        self.qkv_proj = nn.Linear(hidden, (sizes.heads + 2 * sizes.kv_heads) * head_dim, bias=False)
        self.out_proj = nn.Linear(sizes.heads * head_dim, hidden, bias=False)
        normed = config.get("normalize_qk_projections", False)
        self.q_norm = nn.RMSNorm(head_dim, _EPS) if normed else nn.Identity()
        self.k_norm = nn.RMSNorm(head_dim, _EPS) if normed else nn.Identity()

    def forward(self, x: torch.Tensor, angles: torch.Tensor, seen: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        heads, kv_heads = self.sizes.heads, self.sizes.kv_heads
        split = self.qkv_proj(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        q, k, v = split.split([heads, kv_heads, kv_heads], dim=1)  # each [batch, heads, seq, head_dim]
        q, k = _rotated(self.q_norm(q), angles), _rotated(self.k_norm(k), angles)
        k, v = cache.update(k, v, self.index)
        k, v = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (k, v))
        scores = (q @ k.transpose(-1, -2)) * self.head_dim**-0.5
        # Not −inf: a padding row that may look nowhere must not become NaN, and it reaches no other row.
        weights = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1)
        out: torch.Tensor = self.out_proj((weights @ v).transpose(1, 2).flatten(2))
        return out


class _FeedForward(nn.Module):
    def __init__(self, config: Config, sizes: _Sizes) -> None:
        super().__init__()
        self.gated = config.get("ffn_with_glu", True)
        self.act = ACT2FN[config.get("activation_fn_name") or "swish"]
        self.proj_1 = nn.Linear(config["model_dim"], (2 if self.gated else 1) * sizes.inner, bias=False)
        self.proj_2 = nn.Linear(sizes.inner, config["model_dim"], bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.proj_1(x)
        if self.gated:
            gate, up = inner.chunk(2, dim=-1)
            inner = self.act(gate) * up
        else:
            inner = self.act(inner)
        out: torch.Tensor = self.proj_2(inner)
        return out


def _rotated(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotary positions, the first half of a head against the second: `[batch, heads, seq, head_dim]`."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _layer_sizes(config: Config) -> list[_Sizes]:
    """The sizes of each layer: from the lists in the configuration, or from the two ends that they were made from."""
    layers, hidden, head_dim = config["num_transformer_layers"], config["model_dim"], config["head_dim"]
    divisor = config.get("ffn_dim_divisor") or 256
    inner = [_rounded(m * hidden, divisor) for m in _spread(config.get("ffn_multipliers", 4.0), layers)]
    groups = config.get("num_gqa_groups") or 1
    heads = config.get("num_query_heads")
    if heads is None:
        multipliers = _spread(config.get("qkv_multipliers", 1.0), layers)
        heads = [_rounded(m * hidden, head_dim * groups) // head_dim for m in multipliers]
    kv_heads = config.get("num_kv_heads") or [count // groups for count in heads]
    return [_Sizes(*sizes) for sizes in zip(heads, kv_heads, inner, strict=True)]


def _spread(multipliers: Any, layers: int) -> list[float]:
    """One multiplier a layer: as listed, the same for all, or evenly between two ends to two decimals."""
    if isinstance(multipliers, (int, float)):
        return [multipliers] * layers
    if len(multipliers) != 2:
        return list(multipliers)
    first, last = multipliers
    return [float(round(value, 2)) for value in np.linspace(first, last, num=layers)]


def _rounded(width: float, divisor: int) -> int:
    """The nearest multiple of `divisor`, one higher where that would lose more than a tenth."""
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * width else nearest
