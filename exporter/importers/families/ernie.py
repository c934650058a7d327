"""ERNIE 4.5 (dense).

Source: `modeling_ernie4_5.py` and `configuration_ernie4_5.py` of transformers.
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
    sizes = read_sizes(config, {"num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072})
    rope = read_rope(config, rotary_dim=sizes.head_dim, theta=5e5)
    biased = config.flag("use_bias", False)
    return replace(
        plain_layout(config, sizes, uniform_layers(sizes, rope), read_rms_norm(config, 1e-5), tied=True),
        interleaved=True,
        biases=biases(qkv=biased, output=biased, mlp=biased),
    )


FAMILY = replace(llama.FAMILY, model_type="ernie4_5", architectures=("Ernie4_5ForCausalLM",), layout=layout)
