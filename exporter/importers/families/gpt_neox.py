"""GPT-NeoX and models with its architecture: Pythia and others.

Source: `modeling_gpt_neox.py` and `configuration_gpt_neox.py` of transformers.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import (
    biases,
    plain_layout,
    read_activation,
    read_layer_norm,
    read_sizes,
    uniform_layers,
)
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import llama
from exporter.importers.family import Ignorable
from exporter.importers.rope import read_rope, read_rotary_dim


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout: LayerNorms, attention and MLP in parallel, a part of each head rotated."""
    sizes = read_sizes(config, {"max_position_embeddings": 2048})
    sizes = replace(sizes, kv_heads=sizes.heads)
    rotary_dim = read_rotary_dim(config, sizes.head_dim, 0.25, "rotary_pct")
    rope = read_rope(config, rotary_dim=rotary_dim, theta_key="rotary_emb_base")
    norm = read_layer_norm(config, "layer_norm_eps", biased=True)
    biased = config.flag("attention_bias", True)
    return replace(
        plain_layout(
            config, sizes, uniform_layers(sizes, rope), norm, tied=False, activation=read_activation(config, "gelu")
        ),
        rotary_dim=rotary_dim,
        biases=biases(qkv=biased, output=biased, mlp=True),
        block="parallel" if config.flag("use_parallel_residual", True) else "pre",
        gated=False,
    )


MODULES = {
    "layers.{i}.attention.norm": "input_layernorm",
    "layers.{i}.attention.q": "attention.query_key_value",
    "layers.{i}.attention.k": "attention.query_key_value",
    "layers.{i}.attention.v": "attention.query_key_value",
    "layers.{i}.attention.output": "attention.dense",
    "layers.{i}.mlp.norm": "post_attention_layernorm",
    "layers.{i}.mlp.up": "mlp.dense_h_to_4h",
    "layers.{i}.mlp.down": "mlp.dense_4h_to_h",
}
NAMES = {
    "embedding": "{prefix}embed_in.weight",
    **{role: f"{llama.LAYER}.{module}.weight" for role, module in MODULES.items()},
    **{f"{role}.bias": f"{llama.LAYER}.{module}.bias" for role, module in MODULES.items()},
    "norm": "{prefix}final_layer_norm.weight",
    "norm.bias": "{prefix}final_layer_norm.bias",
    "head": "embed_out.weight",
}

POINTS = {
    "embedding": "gpt_neox.embed_in",
    "layers.{i}/attention/norm": "gpt_neox.layers.{i}.input_layernorm",
    "layers.{i}/attention/output": "gpt_neox.layers.{i}.attention.dense",
    "layers.{i}/mlp/norm": "gpt_neox.layers.{i}.post_attention_layernorm",
    "layers.{i}/mlp/up": "gpt_neox.layers.{i}.mlp.dense_h_to_4h",
    "layers.{i}/mlp/down": "gpt_neox.layers.{i}.mlp.dense_4h_to_h",
    "layers.{i}/output": "gpt_neox.layers.{i}",
    "norm": "gpt_neox.final_layer_norm",
    "logits": "embed_out",
}

FAMILY = replace(
    llama.FAMILY,
    model_type="gpt_neox",
    architectures=("GPTNeoXForCausalLM",),
    layout=layout,
    prefixes=("gpt_neox.", ""),
    names=NAMES,
    points=POINTS,
    ignorable=(
        Ignorable(r".*\.rotary_emb\.inv_freq", "computed from rotary_emb_base"),
        Ignorable(r".*\.attention\.(bias|masked_bias)", "the causal mask: made in the graph"),
    ),
    copies=(("embed_out.weight", "embedding"),),
    grouped=True,
)
