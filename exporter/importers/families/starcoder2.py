"""StarCoder2.

Source: `modeling_starcoder2.py` and `configuration_starcoder2.py` of transformers.
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
    read_window,
    uniform_layers,
)
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import llama
from exporter.importers.rope import read_rope


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout: LayerNorms, an MLP without gate, and biases in all linear layers."""
    sizes = read_sizes(config, {"num_key_value_heads": 2, "max_position_embeddings": 4096})
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    layers = uniform_layers(sizes, rope, read_window(config, None))
    biased = config.flag("use_bias", True)
    norm = read_layer_norm(config, "norm_epsilon", biased=True)
    activation = read_activation(config, "gelu_pytorch_tanh")
    return replace(
        plain_layout(config, sizes, layers, norm, tied=True, activation=activation),
        biases=biases(qkv=biased, output=biased, mlp=biased),
        gated=False,
    )


MLP = {
    "layers.{i}.mlp.up": f"{llama.LAYER}.mlp.c_fc.weight",
    "layers.{i}.mlp.up.bias": f"{llama.LAYER}.mlp.c_fc.bias",
    "layers.{i}.mlp.down": f"{llama.LAYER}.mlp.c_proj.weight",
    "layers.{i}.mlp.down.bias": f"{llama.LAYER}.mlp.c_proj.bias",
}

POINTS = {
    "layers.{i}/mlp/up": "model.layers.{i}.mlp.c_fc",
    "layers.{i}/mlp/down": "model.layers.{i}.mlp.c_proj",
}

FAMILY = replace(
    llama.FAMILY,
    model_type="starcoder2",
    architectures=("Starcoder2ForCausalLM",),
    layout=layout,
    names=llama.NAMES | llama.NORM_BIASES | MLP,
    points=llama.POINTS | POINTS,
)
