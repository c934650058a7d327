"""MiniCPM 1, 2 and 4.

Source: `configuration_minicpm.py` and `modeling_minicpm.py`, published beside the weights (paper: arXiv 2404.06395).
That code is never run. The architecture is Llama's, with factors for embeddings, residuals and logits. MiniCPM3 has
another architecture and model_type.
"""

from __future__ import annotations

import math
from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import Sizes, biases, plain_layout, read_rms_norm, read_sizes, uniform_layers
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import llama
from exporter.importers.rope import Rope, read_rope


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout."""
    config.refuse("num_experts", [0, 1], "a mixture of experts")
    config.choice("hidden_act", "silu", ["silu", "swish"])
    sizes = read_sizes(config, {"max_position_embeddings": 2048})
    config.refuse("head_dim", [sizes.hidden_size // sizes.heads], "MiniCPM's heads are hidden_size / heads wide")
    rope = _rope(read_rope(config, rotary_dim=sizes.head_dim), sizes.context)
    biased = config.flag("attention_bias", False)
    plain = plain_layout(config, sizes, uniform_layers(sizes, rope), read_rms_norm(config, 1e-6), tied=True)
    return replace(
        plain,
        context=_dense_context(config, sizes),
        biases=biases(qkv=biased, output=biased),
        embedding_factor=config.number("scale_emb", 1.0),
        residual_factor=config.number("scale_depth", 1.0) / math.sqrt(sizes.layers),
        logits_factor=config.number("dim_model_base", 1.0) / sizes.hidden_size,
    )


def _rope(rope: Rope, context: int) -> Rope:
    """The rope with one set of factors: MiniCPM 4's LongRoPE chooses them once, by the model's context."""
    if rope.scaling != "longrope":
        return rope
    factors = rope.long_factors if context > rope.original_context else rope.short_factors
    growth = math.log(context / rope.original_context) / math.log(max(rope.original_context, 2))
    magnitude = math.sqrt(max(1 + growth, 0.0))
    return replace(rope, short_factors=factors, long_factors=factors, attention_factor=magnitude)


def _dense_context(config: ConfigReader, sizes: Sizes) -> int:
    """The context up to which attention is dense: above `dense_len` MiniCPM 4.1's is sparse (InfLLM v2)."""
    sparse = config.section("sparse_config")
    if sparse is None:
        return sizes.context
    if sparse.get("dense_len") in (-1, 0):
        config.unsupported("sparse_config", "attention is sparse at every length")
        return sizes.context
    return min(sizes.context, sparse.integer("dense_len", 8192))


FAMILY = replace(
    llama.FAMILY,
    model_type="minicpm",
    architectures=("MiniCPMForCausalLM",),
    layout=layout,
    points={value: module for value, module in llama.POINTS.items() if value != "logits"} | {"head": "lm_head"},
)
