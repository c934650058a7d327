"""Arcee Foundation Models: AFM 4.5B.

Source: `modeling_arcee.py` and `configuration_arcee.py` of transformers.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import (
    biases,
    plain_layout,
    read_activation,
    read_rms_norm,
    read_sizes,
    uniform_layers,
)
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import llama
from exporter.importers.rope import read_rope


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout: Llama's, with squared ReLU and without a gate in the MLP."""
    sizes = read_sizes(config, {"max_position_embeddings": 4096})
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    biased = config.flag("attention_bias", False)
    norm, activation = read_rms_norm(config, 1e-5), read_activation(config, "relu2")
    return replace(
        plain_layout(config, sizes, uniform_layers(sizes, rope), norm, tied=False, activation=activation),
        biases=biases(qkv=biased, output=biased, mlp=config.flag("mlp_bias", False)),
        gated=False,
    )


FAMILY = replace(llama.FAMILY, model_type="arcee", architectures=("ArceeForCausalLM",), layout=layout)
