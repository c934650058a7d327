"""Phi-1, Phi-1.5, Phi-2, and Phi-3, 3.5 and 4 (mini).

Source: `modeling_phi.py`, `modeling_phi3.py` and their configurations in transformers. Up to Phi-2, attention and MLP
read the same LayerNorm, every linear layer has a bias, and a part of each head is rotated. From Phi-3 on, it is Llama's
architecture with fused projections, LongRoPE and, in some models, windows.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import (
    biases,
    plain_layout,
    read_activation,
    read_layer_norm,
    read_rms_norm,
    read_sizes,
    read_window,
    uniform_layers,
)
from exporter.importers.decoder_layout import DecoderLayout, QkNorm
from exporter.importers.families import llama
from exporter.importers.rope import read_rope, read_rotary_dim


def layout(config: ConfigReader) -> DecoderLayout:
    """The layout of Phi-1, 1.5 and 2."""
    sizes = read_sizes(config, {"max_position_embeddings": 2048})
    rotary_dim = read_rotary_dim(config, sizes.head_dim, 0.5)
    rope = read_rope(config, rotary_dim=rotary_dim)
    activation = read_activation(config, "gelu_new")
    norm = read_layer_norm(config, "layer_norm_eps", biased=True)
    return replace(
        plain_layout(config, sizes, uniform_layers(sizes, rope), norm, tied=False, activation=activation),
        rotary_dim=rotary_dim,
        block="parallel",
        shared_norm=True,
        biases=biases(qkv=True, output=True, mlp=True) | {"head"},
        gated=False,
        qk_norm=QkNorm(norm) if config.flag("qk_layernorm", False) else None,
    )


def layout_3(config: ConfigReader) -> DecoderLayout:
    """The layout of Phi-3, 3.5 and 4."""
    sizes = read_sizes(config, {"max_position_embeddings": 4096})
    rotary_dim = read_rotary_dim(config, sizes.head_dim)
    rope = read_rope(config, rotary_dim=rotary_dim)
    layers = uniform_layers(sizes, rope, read_window(config, None))
    norm = read_rms_norm(config, 1e-5)
    return replace(plain_layout(config, sizes, layers, norm, tied=False), rotary_dim=rotary_dim)


NAMES = {
    "embedding": "{prefix}embed_tokens.weight",
    "layers.{i}.attention.norm": f"{llama.LAYER}.input_layernorm.weight",
    "layers.{i}.attention.norm.bias": f"{llama.LAYER}.input_layernorm.bias",
    "layers.{i}.attention.q": f"{llama.LAYER}.self_attn.q_proj.weight",
    "layers.{i}.attention.q.bias": f"{llama.LAYER}.self_attn.q_proj.bias",
    "layers.{i}.attention.q.norm": f"{llama.LAYER}.self_attn.q_layernorm.weight",
    "layers.{i}.attention.q.norm.bias": f"{llama.LAYER}.self_attn.q_layernorm.bias",
    "layers.{i}.attention.k": f"{llama.LAYER}.self_attn.k_proj.weight",
    "layers.{i}.attention.k.bias": f"{llama.LAYER}.self_attn.k_proj.bias",
    "layers.{i}.attention.k.norm": f"{llama.LAYER}.self_attn.k_layernorm.weight",
    "layers.{i}.attention.k.norm.bias": f"{llama.LAYER}.self_attn.k_layernorm.bias",
    "layers.{i}.attention.v": f"{llama.LAYER}.self_attn.v_proj.weight",
    "layers.{i}.attention.v.bias": f"{llama.LAYER}.self_attn.v_proj.bias",
    "layers.{i}.attention.output": f"{llama.LAYER}.self_attn.dense.weight",
    "layers.{i}.attention.output.bias": f"{llama.LAYER}.self_attn.dense.bias",
    "layers.{i}.mlp.up": f"{llama.LAYER}.mlp.fc1.weight",
    "layers.{i}.mlp.up.bias": f"{llama.LAYER}.mlp.fc1.bias",
    "layers.{i}.mlp.down": f"{llama.LAYER}.mlp.fc2.weight",
    "layers.{i}.mlp.down.bias": f"{llama.LAYER}.mlp.fc2.bias",
    "norm": "{prefix}final_layernorm.weight",
    "norm.bias": "{prefix}final_layernorm.bias",
    "head": "lm_head.weight",
    "head.bias": "lm_head.bias",
}

FUSED_MLP = {f"layers.{{i}}.mlp.{part}": f"{llama.LAYER}.mlp.gate_up_proj.weight" for part in ("gate", "up")}
FUSED_QKV = {f"layers.{{i}}.attention.{part}": f"{llama.LAYER}.self_attn.qkv_proj.weight" for part in "qkv"}

POINTS = llama.POINTS | {
    "layers.{i}/attention/output": "model.layers.{i}.self_attn.dense",
    "layers.{i}/mlp/up": "model.layers.{i}.mlp.fc1",
    "layers.{i}/mlp/down": "model.layers.{i}.mlp.fc2",
    "norm": "model.final_layernorm",
}


# No module has the output of only a part of a fused tensor.
POINTS_3 = {
    value: module for value, module in llama.POINTS.items() if not value.endswith(("/q", "/k", "/v", "/gate", "/up"))
}

FAMILY = replace(
    llama.FAMILY, model_type="phi", architectures=("PhiForCausalLM",), layout=layout, names=NAMES, points=POINTS
)
PHI_3 = replace(
    llama.FAMILY,
    model_type="phi3",
    architectures=("Phi3ForCausalLM",),
    layout=layout_3,
    names=llama.NAMES | FUSED_QKV | FUSED_MLP,
    points=POINTS_3,
)
