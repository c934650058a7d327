"""Small random decoder checkpoints of every family that transformers implements, with the family's quirks turned on.

`DECODERS` maps a model_type to named variants; each is what the family's configuration class is given beyond `SIZES`.
Sequences in tests are longer than every window and every first context here, and shorter than `SIZES`' context.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from support.checkpoints import DType, _bpe_tokenizer, _save

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}

FIXED_WIDTH = ("phi", "stablelm", "helium", "gpt_neox")  # their heads are as wide as the hidden size says

WINDOW = 5
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0, "beta_slow": 1.0}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LINEAR = {"rope_type": "linear", "factor": 2.5}


def longrope(pairs: int) -> dict[str, Any]:
    """Phi-3's scaling for heads of which `pairs` pairs are rotated; both factor lists differ in every entry."""
    return {
        "type": "longrope",
        "short_factor": [1.0 + 0.1 * i for i in range(pairs)],
        "long_factor": [1.6 + 0.9 * i for i in range(pairs)],
    }


Variants = dict[str, dict[str, Any]]

DECODERS: dict[str, Variants] = {
    "llama": {"plain": {"head_dim": 12}, "llama3": {"rope_scaling": LLAMA3, "attention_bias": True, "mlp_bias": True}},
    "mistral": {
        "sliding": {"sliding_window": WINDOW, "head_dim": 12, "rope_theta": 1e6},
        "full": {"sliding_window": None, "tie_word_embeddings": True},
    },
    "ministral": {
        "mixed": {
            "sliding_window": WINDOW,
            "head_dim": 12,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        "all sliding": {"sliding_window": WINDOW, "head_dim": 8},
    },
    "qwen2": {
        "plain": {"tie_word_embeddings": True, "rope_theta": 1e6},
        "windows above a layer": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
        "yarn, layer types": {
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_scaling": YARN,
        },
    },
    "qwen3": {
        "plain": {"head_dim": 12, "tie_word_embeddings": True, "rope_theta": 1e6},
        "biased, windows": {
            "head_dim": 16,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "max_window_layers": 2,
            "rope_scaling": YARN,
        },
    },
    "gemma": {
        "plain": {"head_dim": 12, "num_key_value_heads": 1},
        "silu, biased": {"head_dim": 12, "hidden_act": "silu", "attention_bias": True},
    },
    "gemma2": {
        "soft caps": {
            "head_dim": 12,
            "sliding_window": WINDOW,
            "query_pre_attn_scalar": 20,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 30.0,
        },
        "no caps, biased": {
            "head_dim": 12,
            "sliding_window": WINDOW,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "attention_bias": True,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        },
    },
    "gemma3_text": {
        "two ropes": {
            "num_hidden_layers": 4,
            "head_dim": 12,
            "sliding_window": WINDOW,
            "sliding_window_pattern": 3,
            "query_pre_attn_scalar": 20,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e3,
            "rope_scaling": LINEAR,
        },
        "capped head": {
            "head_dim": 12,
            "sliding_window": WINDOW,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            "final_logit_softcapping": 30.0,
            "attention_bias": True,
        },
    },
    "phi3": {
        "longrope": {
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "partial_rotary_factor": 0.75,
            "rope_scaling": longrope(6),
            "original_max_position_embeddings": 16,
            "tie_word_embeddings": True,
        },
        "sliding": {"sliding_window": WINDOW, "num_key_value_heads": 4},
    },
    "phi": {
        "plain": {"num_key_value_heads": 4, "partial_rotary_factor": 0.5},
        "grouped, normed": {"partial_rotary_factor": 0.25, "qk_layernorm": True, "hidden_act": "gelu"},
    },
    "granite": {
        "multipliers": {
            "embedding_multiplier": 1.7,
            "logits_scaling": 2.5,
            "residual_multiplier": 0.6,
            "attention_multiplier": 0.21,
            "tie_word_embeddings": True,
        },
        "biased": {"attention_bias": True, "mlp_bias": True, "attention_multiplier": 0.5, "rope_scaling": LINEAR},
    },
    "olmo": {
        "plain": {"num_key_value_heads": 4},
        "grouped, biased, tied": {"attention_bias": True, "tie_word_embeddings": True},
    },
    "olmo2": {
        "plain": {"num_key_value_heads": 4, "rope_theta": 5e5},
        "grouped, biased": {"attention_bias": True, "rope_scaling": {"type": "linear", "factor": 2.5}},
    },
    "olmo3": {
        "windows": {"num_hidden_layers": 4, "sliding_window": WINDOW, "rope_scaling": YARN},
        "layer types": {
            "sliding_window": WINDOW,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            "attention_bias": True,
        },
    },
    "smollm3": {
        "nope": {"num_hidden_layers": 4, "rope_theta": 5e6},
        "nope list, windows": {
            "num_hidden_layers": 4,
            "no_rope_layers": [1, 0, 1, 0],
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_scaling": LINEAR,
            "tie_word_embeddings": False,
        },
    },
    "stablelm": {
        "plain": {"num_key_value_heads": 4, "partial_rotary_factor": 0.25},
        "parallel, biased": {"use_parallel_residual": True, "use_qkv_bias": True, "partial_rotary_factor": 0.5},
    },
    "starcoder2": {
        "biased, window": {"sliding_window": WINDOW},
        "unbiased": {"use_bias": False, "tie_word_embeddings": False},
    },
    "nemotron": {
        "plain": {"head_dim": 12, "partial_rotary_factor": 0.5},
        "biased": {"attention_bias": True, "mlp_bias": True, "partial_rotary_factor": 1.0, "tie_word_embeddings": True},
    },
    "cohere": {
        "plain": {"logit_scale": 0.25},
        "normed, biased": {"use_qk_norm": True, "attention_bias": True, "tie_word_embeddings": False},
    },
    "cohere2": {
        "windows": {"num_hidden_layers": 4, "sliding_window": WINDOW, "logit_scale": 0.25},
        "layer types": {
            "sliding_window": WINDOW,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            "attention_bias": True,
        },
    },
    "glm": {
        "plain": {"head_dim": 12, "partial_rotary_factor": 0.5, "pad_token_id": 2},
        "unbiased": {"head_dim": 8, "attention_bias": False, "partial_rotary_factor": 1.0, "pad_token_id": 2},
    },
    "glm4": {
        "plain": {"head_dim": 12, "partial_rotary_factor": 0.5, "pad_token_id": 2},
        "unbiased": {"head_dim": 8, "attention_bias": False, "partial_rotary_factor": 1.0, "pad_token_id": 2},
    },
    "ernie4_5": {"plain": {"head_dim": 12}, "biased": {"head_dim": 8, "use_bias": True, "tie_word_embeddings": False}},
    "exaone4": {
        "hybrid": {"num_hidden_layers": 4, "sliding_window": WINDOW, "sliding_window_pattern": 4},
        "full": {
            "sliding_window": None,
            "layer_types": ["full_attention"] * 3,
            "tie_word_embeddings": True,
            "rope_scaling": LLAMA3,
        },
    },
    "helium": {
        "plain": {"head_dim": 8},
        "biased": {"head_dim": 8, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    },
    "arcee": {
        "plain": {"head_dim": 12, "rope_scaling": YARN},
        "biased": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    },
    "hunyuan_v1_dense": {
        "alpha": {"head_dim": 12, "rope_scaling": {"type": "dynamic", "alpha": 50.0, "factor": 1.0}},
        "biased": {"head_dim": 8, "attention_bias": True, "tie_word_embeddings": True},
    },
    "seed_oss": {
        "plain": {"head_dim": 12},
        "output bias": {"head_dim": 8, "attention_out_bias": True, "attention_bias": False, "mlp_bias": True},
    },
    "gpt_neox": {
        "plain": {"rotary_pct": 0.25},
        "sequential, unbiased": {
            "rotary_pct": 0.5,
            "use_parallel_residual": False,
            "attention_bias": False,
            "hidden_act": "gelu_fast",
            "tie_word_embeddings": True,
        },
    },
}  # fmt: skip


def tiny_decoder(
    folder: Path | str,
    model_type: str,
    *,
    seed: int = 0,
    dtype: DType = "float32",
    max_shard_size: str = "5GB",
    **config_overrides: Any,
) -> Path:
    """Saves a decoder of the type with `SIZES` and the overrides, and a byte-level BPE beside it. Returns `folder`."""
    tokenizer = _bpe_tokenizer()
    settings: dict[str, Any] = SIZES | {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = CONFIG_MAPPING[model_type](**(settings | config_overrides))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return _save(model, tokenizer, Path(folder), seed=seed, dtype=dtype, max_shard_size=max_shard_size)
