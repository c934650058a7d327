"""Llama 2, 3, 3.1, 3.2 and what shares their architecture: TinyLlama, SmolLM2 and others.

Source: `modeling_llama.py` and `configuration_llama.py` of transformers.
What they default to when a key is absent is the same here, but for the sizes, which must be stated.
"""

from __future__ import annotations

from exporter.importers.config import ConfigReader
from exporter.importers.decoder import DecoderLayout
from exporter.importers.family import Family, Ignorable
from exporter.importers.rope import read_rope


def layout(config: ConfigReader) -> DecoderLayout:
    """The configuration's decoder."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    kv_heads = config.integer("num_key_value_heads", heads)
    if config.sound and heads % kv_heads:
        config.invalid("num_key_value_heads", f"{kv_heads} doesn't divide num_attention_heads, {heads}")
    if config.sound and config.get("head_dim") is None and hidden % heads:
        config.invalid("num_attention_heads", f"{heads} doesn't divide hidden_size, {hidden}, and head_dim is absent")
    head_dim = config.integer("head_dim", max(hidden // heads, 1))
    if config.sound and head_dim % 2:
        config.invalid("head_dim", f"{head_dim} is odd, and rotary positions turn pairs")
    config.choice("hidden_act", "silu", ["silu", "swish"])
    config.refuse("sliding_window", [], "Llama attends to the whole context")
    config.refuse("partial_rotary_factor", [1], "Llama rotates whole heads")
    attention_bias = config.flag("attention_bias", False)
    return DecoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=config.integer("intermediate_size"),
        layers=config.integer("num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        context=config.integer("max_position_embeddings", 2048),
        norm_eps=config.number("rms_norm_eps", 1e-6, most=1.0),
        rope=read_rope(config),
        qkv_bias=attention_bias,
        output_bias=attention_bias,
        mlp_bias=config.flag("mlp_bias", False),
        tied=config.flag("tie_word_embeddings", False),
    )


LAYER = "{prefix}layers.{i}"

NAMES = {
    "embedding": "{prefix}embed_tokens.weight",
    "layers.{i}.attention.norm": f"{LAYER}.input_layernorm.weight",
    "layers.{i}.attention.q": f"{LAYER}.self_attn.q_proj.weight",
    "layers.{i}.attention.q.bias": f"{LAYER}.self_attn.q_proj.bias",
    "layers.{i}.attention.k": f"{LAYER}.self_attn.k_proj.weight",
    "layers.{i}.attention.k.bias": f"{LAYER}.self_attn.k_proj.bias",
    "layers.{i}.attention.v": f"{LAYER}.self_attn.v_proj.weight",
    "layers.{i}.attention.v.bias": f"{LAYER}.self_attn.v_proj.bias",
    "layers.{i}.attention.output": f"{LAYER}.self_attn.o_proj.weight",
    "layers.{i}.attention.output.bias": f"{LAYER}.self_attn.o_proj.bias",
    "layers.{i}.mlp.norm": f"{LAYER}.post_attention_layernorm.weight",
    "layers.{i}.mlp.gate": f"{LAYER}.mlp.gate_proj.weight",
    "layers.{i}.mlp.gate.bias": f"{LAYER}.mlp.gate_proj.bias",
    "layers.{i}.mlp.up": f"{LAYER}.mlp.up_proj.weight",
    "layers.{i}.mlp.up.bias": f"{LAYER}.mlp.up_proj.bias",
    "layers.{i}.mlp.down": f"{LAYER}.mlp.down_proj.weight",
    "layers.{i}.mlp.down.bias": f"{LAYER}.mlp.down_proj.bias",
    "norm": "{prefix}norm.weight",
    "head": "lm_head.weight",
}

POINTS = {
    "embedding": "model.embed_tokens",
    "layers.{i}/attention/norm": "model.layers.{i}.input_layernorm",
    "layers.{i}/attention/q": "model.layers.{i}.self_attn.q_proj",
    "layers.{i}/attention/k": "model.layers.{i}.self_attn.k_proj",
    "layers.{i}/attention/v": "model.layers.{i}.self_attn.v_proj",
    "layers.{i}/attention/output": "model.layers.{i}.self_attn.o_proj",
    "layers.{i}/mlp/norm": "model.layers.{i}.post_attention_layernorm",
    "layers.{i}/mlp/gate": "model.layers.{i}.mlp.gate_proj",
    "layers.{i}/mlp/up": "model.layers.{i}.mlp.up_proj",
    "layers.{i}/mlp/down": "model.layers.{i}.mlp.down_proj",
    "layers.{i}/output": "model.layers.{i}",
    "norm": "model.norm",
    "logits": "lm_head",
}

FAMILY = Family(
    model_type="llama",
    architectures=("LlamaForCausalLM",),
    layout=layout,
    prefixes=("model.", ""),
    names=NAMES,
    points=POINTS,
    ignorable=(Ignorable(r"(.*\.)?rotary_emb\.inv_freq", "computed from rope_theta"),),
    copies=(("lm_head.weight", "embedding"),),
)
