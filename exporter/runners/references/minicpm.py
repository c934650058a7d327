"""MiniCPM 1, 2 and 4 as transformers' Granite: the same four multipliers under other names.

MiniCPM's own code is `modeling_minicpm.py` beside its weights on the hub (described in arXiv 2404.06395); Granite's
is in transformers. Only LongRoPE (MiniCPM 4) is parametrized differently.
"""

from __future__ import annotations

import math
from typing import Any

from exporter.runners.references.source import Config, Loaded, Source, load_transformers, rope_of


def load_minicpm(source: Source) -> Loaded:
    """The checkpoint in `GraniteForCausalLM`. Raises as `Reference.load` states."""
    from transformers import GraniteForCausalLM

    weights = {_granite_name(name): source.floats(name) for name in source.tensors if not name.endswith(".inv_freq")}
    return load_transformers(GraniteForCausalLM, _granite_config(source.config), weights)


def _granite_name(name: str) -> str:
    return name if name.startswith(("model.", "lm_head.")) else f"model.{name}"


def _granite_config(config: Config) -> Any:
    from transformers import GraniteConfig

    hidden, heads, layers = config["hidden_size"], config["num_attention_heads"], config["num_hidden_layers"]
    context = config.get("max_position_embeddings") or 2048
    theta, scaling = rope_of(config)
    return GraniteConfig(
        vocab_size=config["vocab_size"],
        hidden_size=hidden,
        intermediate_size=config["intermediate_size"],
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=config.get("num_key_value_heads") or heads,
        hidden_act=config.get("hidden_act") or "silu",
        max_position_embeddings=context,
        rms_norm_eps=config.get("rms_norm_eps") or 1e-6,
        rope_theta=theta,
        rope_scaling=_scaling(scaling, context),
        attention_bias=config.get("attention_bias") or False,
        tie_word_embeddings=config.get("tie_word_embeddings", True),
        embedding_multiplier=config.get("scale_emb", 1),
        residual_multiplier=config.get("scale_depth", 1) / math.sqrt(layers),
        logits_scaling=hidden / config.get("dim_model_base", 1),
        attention_multiplier=(hidden // heads) ** -0.5,
    )


def _scaling(scaling: dict[str, Any] | None, context: int) -> dict[str, Any] | None:
    """MiniCPM's LongRoPE is decided by the configuration alone: the long factors where the model's context is longer
    than the original one, whatever the text's length, and a magnitude of √(1 + ln s / ln original), s = context /
    original. transformers decides by the text's length, so it gets the one list twice.
    """
    if scaling is None or scaling["rope_type"] != "longrope":
        return scaling
    original = scaling["original_max_position_embeddings"]
    factors = scaling["long_factor" if context > original else "short_factor"]
    return {
        "rope_type": "longrope",
        "long_factor": factors,
        "short_factor": factors,
        "factor": context / original,
        "attention_factor": math.sqrt(1 + math.log(context / original) / math.log(original)),
    }
