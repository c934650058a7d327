"""Nemotron 4 and Minitron.

Source: `modeling_nemotron.py` and `configuration_nemotron.py` of transformers.
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
from exporter.importers.rope import read_rope, read_rotary_dim


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout: LayerNorm weights stored minus 1, squared ReLU and no gate in the MLP."""
    config.refuse("rope_scaling", [], "transformers ignores it in this family")
    sizes = read_sizes(config, {"max_position_embeddings": 4096})
    rotary_dim = read_rotary_dim(config, sizes.head_dim, 0.5)
    rope = read_rope(config, rotary_dim=rotary_dim)
    norm = replace(read_layer_norm(config, "norm_eps", biased=True), shift=1.0)
    biased = config.flag("attention_bias", False)
    return replace(
        plain_layout(
            config, sizes, uniform_layers(sizes, rope), norm, tied=False, activation=read_activation(config, "relu2")
        ),
        rotary_dim=rotary_dim,
        biases=biases(qkv=biased, output=biased, mlp=config.flag("mlp_bias", False)),
        gated=False,
    )


FAMILY = replace(
    llama.FAMILY,
    model_type="nemotron",
    architectures=("NemotronForCausalLM",),
    layout=layout,
    names=llama.NAMES | llama.NORM_BIASES,
)
