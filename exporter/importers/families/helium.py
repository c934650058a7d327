"""Helium 1.

Source: `modeling_helium.py` and `configuration_helium.py` of transformers.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import biases, plain_layout, read_rms_norm, read_sizes, uniform_layers
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import llama
from exporter.importers.rope import read_rope


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout: Llama's, with a rotation that pairs neighbours."""
    sizes = read_sizes(config, {"num_key_value_heads": 20, "head_dim": 128, "max_position_embeddings": 4096})
    rope = read_rope(config, rotary_dim=sizes.head_dim, theta=1e5)
    return replace(
        plain_layout(config, sizes, uniform_layers(sizes, rope), read_rms_norm(config, 1e-8), tied=False),
        interleaved=True,
        biases=biases(qkv=config.flag("attention_bias", False), mlp=config.flag("mlp_bias", False)),
    )


FAMILY = replace(llama.FAMILY, model_type="helium", architectures=("HeliumForCausalLM",), layout=layout)
