"""Llama 2, 3, 3.1, 3.2 and models with their architecture: TinyLlama, SmolLM2 and others.

Source: `modeling_llama.py` and `configuration_llama.py` of transformers.
Absent keys have the same defaults here, except sizes, which are required.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import biases, plain_layout, read_rms_norm, read_sizes, uniform_layers
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.family import Family, Ignorable
from exporter.importers.rope import read_rope


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout."""
    sizes = read_sizes(config, {"max_position_embeddings": 2048})
    config.refuse("sliding_window", [], "Llama attends to the whole context")
    config.refuse("partial_rotary_factor", [1], "Llama rotates whole heads")
    biased = config.flag("attention_bias", False)
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    return replace(
        plain_layout(config, sizes, uniform_layers(sizes, rope), read_rms_norm(config, 1e-6), tied=False),
        biases=biases(qkv=biased, output=biased, mlp=config.flag("mlp_bias", False)),
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
# For families whose norms have biases.
NORM_BIASES = {
    "layers.{i}.attention.norm.bias": f"{LAYER}.input_layernorm.bias",
    "layers.{i}.mlp.norm.bias": f"{LAYER}.post_attention_layernorm.bias",
    "norm.bias": "{prefix}norm.bias",
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
# For families that scale or cap the head's output.
POINTS_BEFORE_SCALING = {value: module for value, module in POINTS.items() if value != "logits"} | {"head": "lm_head"}

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
