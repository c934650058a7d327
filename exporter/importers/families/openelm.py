"""OpenELM, 270M to 3B.

Source: the paper (arXiv 2404.14619), Apple's `configuration_openelm.py` and the modeling code beside the weights. That
code is never run. Every layer has its own number of heads and its own MLP width; projections are fused; query and key
heads are normalized.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import MAX_LAYERS, read_activation
from exporter.importers.decoder_layout import DecoderLayout, LayerLayout, Norm, QkNorm
from exporter.importers.family import Family, Ignorable
from exporter.importers.rope import Rope

_NORM = Norm("rms", 1e-6)  # configurations don't state an epsilon
_MAX_WIDTH = 2.0**31


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout."""
    config.choice("normalization_layer_name", "rms_norm", ["rms_norm"])
    hidden, head_dim = config.integer("model_dim"), config.integer("head_dim")
    if head_dim % 2:
        config.invalid("head_dim", f"{head_dim} is odd; rotary positions need an even number")
    rope = Rope(config.number("rope_freq_constant", 10000.0, above=1.0, maximum=1e15))
    return DecoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        head_dim=head_dim,
        layers=_layers(config, hidden, head_dim, rope),
        context=config.integer("max_context_length", 2048),
        norm=_NORM,
        tied=config.flag("share_input_output_layers", False),
        activation=read_activation(config, "swish", "activation_fn_name"),
        gated=config.flag("ffn_with_glu", True),
        qk_norm=QkNorm(_NORM) if config.flag("normalize_qk_projections", False) else None,
        rotary_dim=head_dim,
    )


def _layers(config: ConfigReader, hidden: int, head_dim: int, rope: Rope) -> tuple[LayerLayout, ...]:
    """The layers, from the lists that Apple's class writes, or from the two limits from which it computes them."""
    count = config.integer("num_transformer_layers", maximum=MAX_LAYERS)
    group, divisor = config.integer("num_gqa_groups", 1), config.integer("ffn_dim_divisor", 256)
    widths = _widths(config, ("ffn_multipliers", 4.0), count, (hidden, divisor))
    if config.get("num_query_heads") is None:
        heads = [n // head_dim for n in _widths(config, ("qkv_multipliers", 1.0), count, (hidden, head_dim * group))]
    else:
        heads = _counts(config, "num_query_heads", count)
    if config.get("num_kv_heads") is None:
        kv_heads = [max(n // group, 1) for n in heads]
    else:
        kv_heads = _counts(config, "num_kv_heads", count)
    if any(n % kv for n, kv in zip(heads, kv_heads, strict=True)):
        config.invalid("num_kv_heads", "doesn't divide num_query_heads in every layer")
    return tuple(
        LayerLayout(n, kv, width, head_dim**-0.5, rope) for n, kv, width in zip(heads, kv_heads, widths, strict=True)
    )


def _counts(config: ConfigReader, key: str, layers: int) -> list[int]:
    value = config.get(key)
    if isinstance(value, list) and len(value) == layers and all(type(n) is int and 1 <= n <= 4096 for n in value):
        return value
    config.invalid(key, f"must be a list of {layers} whole numbers from 1 to 4096, one for each layer")
    return [1] * layers


def _widths(config: ConfigReader, key: tuple[str, float], layers: int, of: tuple[int, int]) -> list[int]:
    """The MLP width of each layer. key: with its default. of: hidden_size, and the divisor of all widths.

    The key has one multiplier for all layers, one for each layer, or the first and the last, between which the others
    are spaced evenly and rounded to two decimals.
    """
    value: Any = config.get(key[0])
    value = key[1] if value is None else value
    listed = [value] * layers if type(value) in (int, float) else value
    if not isinstance(listed, list) or not all(type(x) in (int, float) and 0 < x * of[0] < _MAX_WIDTH for x in listed):
        config.invalid(key[0], "must be a number above 0 or a list of such numbers")
        return [1] * layers
    if len(listed) == 2 and isinstance(value, list):
        listed = [float(round(x, 2)) for x in np.linspace(listed[0], listed[1], num=layers)]
    if len(listed) != layers:
        config.invalid(key[0], f"has {len(listed)} numbers, but there are {layers} layers")
        return [1] * layers
    return [_rounded(x * of[0], of[1]) for x in listed]


def _rounded(width: float, divisor: int) -> int:
    """The nearest multiple of the divisor above 0; the next one if rounding down would lose more than a tenth."""
    nearest = max(divisor, math.floor(width + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * width else nearest


LAYER = "{prefix}layers.{i}"

NAMES = {
    "embedding": "{prefix}token_embeddings.weight",
    "layers.{i}.attention.norm": f"{LAYER}.attn_norm.weight",
    **{f"layers.{{i}}.attention.{part}": f"{LAYER}.attn.qkv_proj.weight" for part in "qkv"},
    "layers.{i}.attention.q.norm": f"{LAYER}.attn.q_norm.weight",
    "layers.{i}.attention.k.norm": f"{LAYER}.attn.k_norm.weight",
    "layers.{i}.attention.output": f"{LAYER}.attn.out_proj.weight",
    "layers.{i}.mlp.norm": f"{LAYER}.ffn_norm.weight",
    "layers.{i}.mlp.gate": f"{LAYER}.ffn.proj_1.weight",
    "layers.{i}.mlp.up": f"{LAYER}.ffn.proj_1.weight",
    "layers.{i}.mlp.down": f"{LAYER}.ffn.proj_2.weight",
    "norm": "{prefix}norm.weight",
    "head": "lm_head.weight",
}

POINTS = {
    "embedding": "transformer.token_embeddings",
    "layers.{i}/attention/norm": "transformer.layers.{i}.attn_norm",
    "layers.{i}/attention/output": "transformer.layers.{i}.attn.out_proj",
    "layers.{i}/mlp/norm": "transformer.layers.{i}.ffn_norm",
    "layers.{i}/mlp/down": "transformer.layers.{i}.ffn.proj_2",
    "layers.{i}/output": "transformer.layers.{i}",
    "norm": "transformer.norm",
}

FAMILY = Family(
    model_type="openelm",
    architectures=("OpenELMForCausalLM",),
    layout=layout,
    prefixes=("transformer.", ""),
    names=NAMES,
    points=POINTS,
    ignorable=(Ignorable(r"transformer\.classifier\.weight", "the model uses lm_head instead"),),
    copies=(("lm_head.weight", "embedding"),),
)
