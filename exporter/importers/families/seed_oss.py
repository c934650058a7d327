"""Seed-OSS.

Source: `modeling_seed_oss.py` and `configuration_seed_oss.py` of transformers.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import biases, plain_layout, read_rms_norm, read_sizes, uniform_layers
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import llama
from exporter.importers.rope import read_rope


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout: Llama's, with the biases that the configuration states."""
    sizes = read_sizes(config, {"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 524288})
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    return replace(
        plain_layout(config, sizes, uniform_layers(sizes, rope), read_rms_norm(config, 1e-6), tied=False),
        biases=biases(
            qkv=config.flag("attention_bias", True),
            output=config.flag("attention_out_bias", False),
            mlp=config.flag("mlp_bias", False),
        ),
    )


FAMILY = replace(llama.FAMILY, model_type="seed_oss", architectures=("SeedOssForCausalLM",), layout=layout)
