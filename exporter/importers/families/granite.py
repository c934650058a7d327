"""Granite 3: Llama with four multipliers.

Source: `modeling_granite.py` and `configuration_granite.py` of transformers.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import biases, plain_layout, read_rms_norm, read_sizes, uniform_layers
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import llama
from exporter.importers.rope import read_rope


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout; `attention_multiplier` replaces 1/√head_dim."""
    sizes = read_sizes(config, {"max_position_embeddings": 2048})
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    layers = uniform_layers(sizes, rope, scale=config.number("attention_multiplier", 1.0))
    biased = config.flag("attention_bias", False)
    return replace(
        plain_layout(config, sizes, layers, read_rms_norm(config, 1e-6), tied=False),
        biases=biases(qkv=biased, output=biased, mlp=config.flag("mlp_bias", False)),
        embedding_factor=config.number("embedding_multiplier", 1.0),
        residual_factor=config.number("residual_multiplier", 1.0),
        logits_factor=1 / config.number("logits_scaling", 1.0),
    )


FAMILY = replace(
    llama.FAMILY,
    model_type="granite",
    architectures=("GraniteForCausalLM",),
    layout=layout,
    points=llama.POINTS_BEFORE_SCALING,
)
