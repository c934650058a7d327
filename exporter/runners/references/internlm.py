"""InternLM 2, 2.5 and 3 as transformers' Llama.

InternLM2 interleaves its projections: `wqkv` holds, for each key/value head, its query heads, then the key, then the
value. InternLM3 is Llama with separate switches for the biases. Their own code is `modeling_internlm2.py` and
`modeling_internlm3.py` beside the weights on the hub (InternLM2's report: arXiv 2403.17297).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from exporter.runners.references.source import Config, Loaded, Source, load_transformers, rope_of

if TYPE_CHECKING:
    import torch

_RENAMED = (  # InternLM2's module → Llama's
    (r"(?:model\.)?tok_embeddings", "model.embed_tokens"),
    (r"(?:model\.)?norm", "model.norm"),
    (r"output", "lm_head"),
    (r"(?:model\.)?layers\.(\d+)\.attention_norm", r"model.layers.\1.input_layernorm"),
    (r"(?:model\.)?layers\.(\d+)\.ffn_norm", r"model.layers.\1.post_attention_layernorm"),
    (r"(?:model\.)?layers\.(\d+)\.attention\.wo", r"model.layers.\1.self_attn.o_proj"),
    (r"(?:model\.)?layers\.(\d+)\.feed_forward\.w1", r"model.layers.\1.mlp.gate_proj"),
    (r"(?:model\.)?layers\.(\d+)\.feed_forward\.w3", r"model.layers.\1.mlp.up_proj"),
    (r"(?:model\.)?layers\.(\d+)\.feed_forward\.w2", r"model.layers.\1.mlp.down_proj"),
)
_FUSED = re.compile(r"(?:model\.)?layers\.(\d+)\.attention\.wqkv\.(weight|bias)")


def load_internlm2(source: Source) -> Loaded:
    """The checkpoint in `LlamaForCausalLM`. Raises as `Reference.load` states."""
    biased = source.config.get("bias", True)
    llama = _llama_config(source.config, attention_bias=biased, mlp_bias=False)
    weights = dict(_internlm2_weights(source, llama))
    return load_transformers(_llama_class(), llama, weights)


def load_internlm3(source: Source) -> Loaded:
    """The checkpoint in `LlamaForCausalLM`. Raises as `Reference.load` states."""
    import torch

    config = source.config
    if "attention_bias" in config:  # as transformers 5 writes it: a Llama's
        qkv = others = config["attention_bias"]
        mlp = config.get("mlp_bias", False)
    else:
        qkv, others = config.get("qkv_bias", False), config.get("bias", False)
        mlp = others
    llama = _llama_config(config, attention_bias=qkv or others, mlp_bias=mlp)
    weights = {name: source.floats(name) for name in source.tensors if not name.endswith(".inv_freq")}
    if qkv != others:  # Llama has one switch for all four: the biases that InternLM3 doesn't have are zero
        for i in range(llama.num_hidden_layers):
            for part in ("o",) if qkv else ("q", "k", "v"):
                name = f"model.layers.{i}.self_attn.{part}_proj"
                weights[f"{name}.bias"] = torch.zeros(weights[f"{name}.weight"].shape[0])
    return load_transformers(_llama_class(), llama, weights)


def _internlm2_weights(source: Source, llama: Any) -> Iterator[tuple[str, torch.Tensor]]:
    for name in source.tensors:
        fused = _FUSED.fullmatch(name)
        if name.endswith(".inv_freq"):
            continue
        if not fused:
            yield _llama_name(name), source.floats(name)
            continue
        layer, kind = fused.groups()
        groups, head_dim = llama.num_key_value_heads, llama.head_dim
        tensor = source.floats(name)
        rows = tensor.reshape(groups, -1, head_dim, *tensor.shape[1:])  # [kv head, its queries + 2, head_dim, …]
        for part, heads in (("q", rows[:, :-2]), ("k", rows[:, -2:-1]), ("v", rows[:, -1:])):
            yield f"model.layers.{layer}.self_attn.{part}_proj.{kind}", heads.reshape(-1, *tensor.shape[1:])


def _llama_name(name: str) -> str:
    module, _, kind = name.rpartition(".")
    for pattern, renamed in _RENAMED:
        if match := re.fullmatch(pattern, module):
            return f"{match.expand(renamed)}.{kind}"
    return name


def _llama_class() -> Any:
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM


def _llama_config(config: Config, *, attention_bias: bool, mlp_bias: bool) -> Any:
    from transformers import LlamaConfig

    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    theta, scaling = rope_of(config)
    return LlamaConfig(
        vocab_size=config["vocab_size"],
        hidden_size=hidden,
        intermediate_size=config["intermediate_size"],
        num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        hidden_act=config.get("hidden_act") or "silu",
        max_position_embeddings=config.get("max_position_embeddings") or 2048,
        rms_norm_eps=config.get("rms_norm_eps") or 1e-6,
        rope_theta=theta,
        rope_scaling=scaling,
        attention_bias=attention_bias,
        mlp_bias=mlp_bias,
        tie_word_embeddings=config.get("tie_word_embeddings", False),
    )
