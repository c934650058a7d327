"""Small random checkpoints of decoders, each with the torch model it was made from, which is the tests' reference.

GPT-2 and its kin and OPT are saved by transformers. It has no class for the others: MiniCPM is written from a Granite
model, InternLM 2 and 3 from a Llama, OpenELM from kogata's own torch module (which `test_references.py` holds
against transformers' Qwen3). The mapping here is written the other way round from the one in
`exporter/parity/references`, so that neither can hide a mistake of the other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTBigCodeConfig,
    GPTBigCodeForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

from exporter.runners.references.openelm import OpenELM
from support.checkpoints import DType, _bpe_tokenizer, draw_weights, write_json

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Storage:
    """How a checkpoint is written; the weights of the model beside it are rounded to `dtype`."""

    seed: int = 0
    dtype: DType = "float32"
    max_shard_size: str = "5GB"


IN_SHARDS = Storage(seed=5, dtype="bfloat16", max_shard_size="20KB")


def tiny_minicpm(folder: Path, storage: Storage = Storage(), **overrides: Any) -> nn.Module:
    """MiniCPM of 2 layers, 4 query heads on 2 key/value heads of 8. `overrides` go to `config.json`, `...` removes."""
    config = _config("minicpm", "MiniCPMForCausalLM", overrides, scale_emb=12, scale_depth=1.4, dim_model_base=12)
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    scaling = config.get("rope_scaling") or {}
    longrope = "longrope" in scaling.values()
    granite = GraniteForCausalLM(
        GraniteConfig(
            **_sizes(config),
            rope_scaling={"rope_type": scaling["type"], **scaling} if scaling and not longrope else None,
            attention_bias=config.get("attention_bias", False),
            tie_word_embeddings=config.get("tie_word_embeddings", True),
            embedding_multiplier=config.get("scale_emb", 1),
            residual_multiplier=config.get("scale_depth", 1) / layers**0.5,
            logits_scaling=hidden / config.get("dim_model_base", 1),
            attention_multiplier=1 / math.sqrt(hidden / config["num_attention_heads"]),
            attn_implementation="eager",
        )
    )
    if longrope:
        granite.model.rotary_emb = MiniCPMLongRope(config)
    _draw(granite, storage)
    state = dict(granite.state_dict())
    if config.get("tie_word_embeddings", True):
        del state["lm_head.weight"]
    _write(folder, state, config, storage)
    return granite


class MiniCPMLongRope(nn.Module):
    """cos and sin `[batch, seq, head_dim]` as MiniCPM 4's published code computes them: tables for the whole context,
    made once, so that the model's context decides between long and short factors, never the text's length.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        scaling, context = config["rope_scaling"], config["max_position_embeddings"]
        width = config["hidden_size"] // config["num_attention_heads"]
        original = scaling["original_max_position_embeddings"]
        factors = torch.tensor(scaling["long_factor"] if context > original else scaling["short_factor"])
        self.frequencies = config.get("rope_theta", 10000.0) ** (-torch.arange(0, width, 2) / width) / factors
        self.magnitude = math.sqrt(1 + math.log(context / original) / math.log(original))

    def forward(self, _x: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = torch.cat(2 * [positions[..., None].float() * self.frequencies], dim=-1)
        return angles.cos() * self.magnitude, angles.sin() * self.magnitude


def tiny_internlm2(folder: Path, storage: Storage = Storage(), **overrides: Any) -> nn.Module:
    """InternLM2 of 2 layers, 4 query heads on 2 key/value heads of 8, with its fused and interleaved `wqkv`."""
    config = _config("internlm2", "InternLM2ForCausalLM", overrides, bias=False, tie_word_embeddings=False)
    llama = _llama(config, attention_bias=config.get("bias", True), mlp_bias=False)
    _draw(llama, storage)
    state: Weights = {
        "model.tok_embeddings.weight": llama.model.embed_tokens.weight,
        "model.norm.weight": llama.model.norm.weight,
    }
    if not config["tie_word_embeddings"]:
        state["output.weight"] = llama.lm_head.weight
    for i, layer in enumerate(llama.model.layers):
        name, attention, mlp = f"model.layers.{i}", layer.self_attn, layer.mlp
        state[f"{name}.attention_norm.weight"] = layer.input_layernorm.weight
        state[f"{name}.ffn_norm.weight"] = layer.post_attention_layernorm.weight
        for theirs, ours in (("w1", mlp.gate_proj), ("w2", mlp.down_proj), ("w3", mlp.up_proj)):
            state[f"{name}.feed_forward.{theirs}.weight"] = ours.weight
        for kind in ("weight", "bias") if config.get("bias", True) else ("weight",):
            state[f"{name}.attention.wo.{kind}"] = getattr(attention.o_proj, kind)
            projections = (getattr(attention.get_submodule(f"{p}_proj"), kind) for p in "qkv")
            state[f"{name}.attention.wqkv.{kind}"] = _interleaved(*projections, llama.config)
    _write(folder, state, config, storage)
    return llama


def _interleaved(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, config: LlamaConfig) -> torch.Tensor:
    """For each key/value head: the rows of its query heads, its key's, its value's."""
    width, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    pieces = []
    for head in range(config.num_key_value_heads):
        pieces.append(q[head * group * width : (head + 1) * group * width])
        pieces += [t[head * width : (head + 1) * width] for t in (k, v)]
    return torch.cat(pieces)


def tiny_internlm3(folder: Path, storage: Storage = Storage(), **overrides: Any) -> nn.Module:
    """InternLM3 of 2 layers, 4 query heads on 2 key/value heads of 12."""
    config = _config("internlm3", "InternLM3ForCausalLM", {"head_dim": 12} | overrides, tie_word_embeddings=False)
    qkv, others = config.get("qkv_bias", False), config.get("bias", False)
    llama = _llama(config, attention_bias=True, mlp_bias=others)
    _draw(llama, storage)
    dropped = [part for part, there in (("q", qkv), ("k", qkv), ("v", qkv), ("o", others)) if not there]
    state = dict(llama.state_dict())
    for name in [name for name in state if name.endswith(tuple(f".{part}_proj.bias" for part in dropped))]:
        if "self_attn" in name:
            state.pop(name).zero_()  # of the model itself: what isn't stored isn't added
    if config["tie_word_embeddings"]:
        del state["lm_head.weight"]
    _write(folder, state, config, storage)
    return llama


def tiny_openelm(folder: Path, storage: Storage = Storage(), **overrides: Any) -> nn.Module:
    """OpenELM of 3 layers: 2, 4 and 4 query heads on 1, 2 and 2 key/value heads of 8, MLPs 16, 40 and 64 wide."""
    config: dict[str, Any] = {
        "architectures": ["OpenELMForCausalLM"],
        "model_type": "openelm",
        "vocab_size": len(_bpe_tokenizer()),
        "model_dim": 32,
        "head_dim": 8,
        "num_transformer_layers": 3,
        "num_gqa_groups": 2,
        "qkv_multipliers": [0.5, 1.0],
        "num_query_heads": [2, 4, 4],
        "num_kv_heads": [1, 2, 2],
        "ffn_multipliers": [0.5, 1.25, 2.0],
        "ffn_dim_divisor": 8,
        "ffn_with_glu": True,
        "activation_fn_name": "swish",
        "normalization_layer_name": "rms_norm",
        "normalize_qk_projections": True,
        "share_input_output_layers": True,
        "rope_freq_constant": 10000,
        "rope_max_length": 128,
        "max_context_length": 64,
    }
    config = {key: value for key, value in (config | overrides).items() if value is not ...}
    model = OpenELM(config).eval().requires_grad_(False)
    _draw(model, storage)
    _write(folder, dict(model.state_dict()), config, storage)
    return model


def tiny_gpt2(folder: Path, storage: Storage = Storage(), **overrides: Any) -> nn.Module:
    """GPT-2 of 2 layers with 4 heads of 8. `overrides` go to `GPT2Config`."""
    settings: dict[str, Any] = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0}
    settings |= {"vocab_size": len(_bpe_tokenizer()), "eos_token_id": 1}
    return _save(GPT2LMHeadModel(GPT2Config(**(settings | overrides))), folder, storage)


def tiny_bigcode(folder: Path, storage: Storage = Storage(), **overrides: Any) -> nn.Module:
    """GPTBigCode of 2 layers with 4 heads of 8. `overrides` go to `GPTBigCodeConfig`."""
    settings: dict[str, Any] = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0}
    settings |= {"vocab_size": len(_bpe_tokenizer()), "eos_token_id": 1}
    return _save(GPTBigCodeForCausalLM(GPTBigCodeConfig(**(settings | overrides))), folder, storage)


def tiny_gpt_neo(folder: Path, storage: Storage = Storage(), **overrides: Any) -> nn.Module:
    """GPT-Neo of 3 layers with 4 heads of 8 and a window of 5 in the middle one. `overrides` go to `GPTNeoConfig`."""
    settings: dict[str, Any] = {"hidden_size": 32, "num_layers": 3, "num_heads": 4, "window_size": 5}
    settings |= {"attention_types": [[["global", "local"], 1], [["global"], 1]], "max_position_embeddings": 64}
    settings |= {"vocab_size": len(_bpe_tokenizer()), "bos_token_id": 0, "eos_token_id": 1}
    return _save(GPTNeoForCausalLM(GPTNeoConfig(**(settings | overrides))), folder, storage)


def tiny_opt(folder: Path, storage: Storage = Storage(), **overrides: Any) -> nn.Module:
    """OPT of 2 layers with 4 heads of 8. `overrides` go to `OPTConfig`."""
    settings: dict[str, Any] = {"hidden_size": 32, "ffn_dim": 56, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings |= {"vocab_size": len(_bpe_tokenizer()), "max_position_embeddings": 64}
    settings |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    return _save(OPTForCausalLM(OPTConfig(**(settings | overrides))), folder, storage)


def _save(model: PreTrainedModel, folder: Path, storage: Storage) -> nn.Module:
    """As transformers saves it; the model that is returned computes in float32 with what was stored."""
    model.config._attn_implementation = "eager"
    _draw(model, storage)
    dtype = getattr(torch, storage.dtype)
    model.to(dtype).save_pretrained(folder, max_shard_size=storage.max_shard_size)
    _bpe_tokenizer().save_pretrained(folder)
    return model.float()


Make = Callable[..., nn.Module]
_SHORT, _LONG = [1.0, 1.5, 2.0, 4.0], [1.0, 2.0, 5.0, 9.0]
LONGROPE = {
    "rope_type": "longrope",
    "original_max_position_embeddings": 16,
    "short_factor": _SHORT,
    "long_factor": _LONG,
}

# Name → how it is made. Those that transformers can't load need a reference of ours in the parity gate.
MAPPED: dict[str, tuple[Make, dict[str, Any]]] = {
    "minicpm": (tiny_minicpm, {}),
    "minicpm untied, biased": (tiny_minicpm, {"tie_word_embeddings": False, "attention_bias": True}),
    "minicpm, bare defaults": (
        tiny_minicpm,
        {"scale_emb": ..., "scale_depth": ..., "dim_model_base": ..., "num_key_value_heads": 4, "rms_norm_eps": 1e-6},
    ),
    "minicpm4 long": (tiny_minicpm, {"rope_scaling": LONGROPE}),
    "minicpm4 short": (tiny_minicpm, {"rope_scaling": LONGROPE | {"original_max_position_embeddings": 128}}),
    "minicpm4 at its context": (tiny_minicpm, {"rope_scaling": LONGROPE | {"original_max_position_embeddings": 64}}),
    "minicpm linear": (tiny_minicpm, {"rope_scaling": {"type": "linear", "factor": 2.5}}),
    "internlm2": (tiny_internlm2, {}),
    "internlm2 biased": (tiny_internlm2, {"bias": True, "num_key_value_heads": 1}),
    "internlm2, bias by default": (tiny_internlm2, {"bias": ..., "num_key_value_heads": 4}),
    "internlm2 dynamic, tied": (
        tiny_internlm2,
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "tie_word_embeddings": True},
    ),
    "internlm3": (tiny_internlm3, {"rope_scaling": {"rope_type": "dynamic", "factor": 6.0}}),
    "internlm3 qkv biases": (tiny_internlm3, {"qkv_bias": True}),
    "internlm3 other biases": (tiny_internlm3, {"bias": True, "head_dim": 8}),
    "internlm3 all biases, tied": (tiny_internlm3, {"bias": True, "qkv_bias": True, "tie_word_embeddings": True}),
    "openelm": (tiny_openelm, {}),
    "openelm from multipliers": (
        tiny_openelm,
        {"num_query_heads": ..., "num_kv_heads": ..., "ffn_multipliers": [0.5, 2.0], "num_transformer_layers": 5},
    ),
    "openelm untied, ungated": (
        tiny_openelm,
        {"share_input_output_layers": False, "ffn_with_glu": False, "normalize_qk_projections": False},
    ),
}
SAVED_BY_TRANSFORMERS: dict[str, tuple[Make, dict[str, Any]]] = {
    "gpt2": (tiny_gpt2, {}),
    "gpt2 scaled by layer": (tiny_gpt2, {"scale_attn_by_inverse_layer_idx": True, "n_inner": 40}),
    "gpt2 unscaled, untied": (
        tiny_gpt2,
        {"scale_attn_weights": False, "tie_word_embeddings": False, "activation_function": "relu"},
    ),
    "gpt_bigcode": (tiny_bigcode, {}),
    "gpt_bigcode, all heads": (tiny_bigcode, {"multi_query": False, "n_inner": 40, "tie_word_embeddings": False}),
    "gpt_neo": (tiny_gpt_neo, {}),
    "gpt_neo all local": (tiny_gpt_neo, {"attention_types": [[["local"], 3]], "intermediate_size": 40}),
    "opt": (tiny_opt, {}),
    "opt-350m": (tiny_opt, {"do_layer_norm_before": False, "word_embed_proj_dim": 24}),
    "opt, projected and normed before": (tiny_opt, {"word_embed_proj_dim": 40, "activation_function": "gelu"}),
    "opt without last norm": (tiny_opt, {"_remove_final_layer_norm": True, "tie_word_embeddings": False}),
    "opt without biases": (tiny_opt, {"enable_bias": False, "activation_function": "gelu"}),
}


def drawn(family: str, seed: int) -> tuple[Make, dict[str, Any]]:
    """A random configuration of the family: sizes and groupings that nobody picked by hand."""
    rng = random.Random(f"{family}/{seed}")
    kv_heads, group, head_dim = rng.choice([1, 2, 3]), rng.choice([1, 2, 3]), rng.choice([4, 6, 10])
    heads, layers, inner = kv_heads * group, rng.choice([1, 2, 3]), rng.choice([24, 40, 72])
    flags = [rng.random() < 0.5 for _ in range(3)]
    llama_like = {"num_hidden_layers": layers, "intermediate_size": inner, "num_attention_heads": heads}
    llama_like |= {"hidden_size": heads * head_dim, "num_key_value_heads": kv_heads, "tie_word_embeddings": flags[0]}
    llama_like |= {"rope_theta": rng.choice([1e3, 1e6]), "rms_norm_eps": rng.choice([1e-6, 1e-2])}
    match family:
        case "minicpm":
            scales = {"scale_emb": rng.uniform(0.5, 12), "scale_depth": rng.uniform(0.7, 3), "dim_model_base": 7}
            return tiny_minicpm, llama_like | scales | {"attention_bias": flags[1]}
        case "internlm2":
            return tiny_internlm2, llama_like | {"bias": flags[1]}
        case "internlm3":
            own = {"qkv_bias": flags[1], "bias": flags[2], "hidden_size": 28, "head_dim": head_dim}
            return tiny_internlm3, llama_like | own
        case "openelm":
            counts = [rng.choice([1, 2, 3]) for _ in range(layers)]
            sizes = {"num_transformer_layers": layers, "head_dim": head_dim, "model_dim": 26, "num_gqa_groups": group}
            sizes |= {"num_kv_heads": counts, "num_query_heads": [group * count for count in counts]}
            sizes |= {"ffn_multipliers": [rng.choice([0.5, 1.3, 2.7]) for _ in counts], "ffn_dim_divisor": 6}
            sizes |= {"rope_freq_constant": rng.choice([100, 10000]), "share_input_output_layers": flags[0]}
            return tiny_openelm, sizes | {"ffn_with_glu": flags[1], "normalize_qk_projections": flags[2]}
        case "gpt2":
            own = {"n_embd": heads * head_dim, "n_head": heads, "n_layer": layers, "n_inner": inner}
            return tiny_gpt2, own | {"scale_attn_by_inverse_layer_idx": flags[1], "layer_norm_epsilon": 1e-2}
        case _:
            own = {"hidden_size": heads * head_dim, "num_attention_heads": heads, "num_hidden_layers": layers}
            own |= {"ffn_dim": inner, "do_layer_norm_before": flags[0], "enable_bias": flags[1]}
            return tiny_opt, own | {"word_embed_proj_dim": 20 if flags[2] else heads * head_dim}


FAMILIES = ("minicpm", "internlm2", "internlm3", "openelm", "gpt2", "opt")


def _config(model_type: str, architecture: str, overrides: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    config = {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": len(_bpe_tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 56,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
    }
    return {key: value for key, value in (config | own | overrides).items() if value is not ...}


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_theta")  # fmt: skip
    return {key: config[key] for key in keys if key in config}


def _llama(config: Mapping[str, Any], *, attention_bias: bool, mlp_bias: bool) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            **_sizes(config),
            head_dim=config.get("head_dim"),
            rope_scaling=config.get("rope_scaling"),
            attention_bias=attention_bias,
            mlp_bias=mlp_bias,
            tie_word_embeddings=config["tie_word_embeddings"],
            attn_implementation="eager",
        )
    )


def _draw(model: nn.Module, storage: Storage) -> None:
    """Random weights, rounded to what will be stored; the model goes on computing in float32."""
    draw_weights(model, storage.seed)
    model.eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(parameter.to(getattr(torch, storage.dtype)))


def _write(folder: Path, state: Weights, config: Mapping[str, Any], storage: Storage) -> None:
    dtype = getattr(torch, storage.dtype)
    stored = {name: tensor.detach().to(dtype).clone() for name, tensor in sorted(state.items())}
    folder.mkdir(parents=True, exist_ok=True)
    save_torch_state_dict(stored, folder, max_shard_size=storage.max_shard_size)
    write_json(folder / "config.json", {**config, "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": storage.dtype})
    _bpe_tokenizer().save_pretrained(folder)
