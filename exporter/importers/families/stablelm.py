"""StableLM 2 and StableLM 3B.

Source: `modeling_stablelm.py` and `configuration_stablelm.py` of transformers.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import biases, plain_layout, read_layer_norm, read_sizes, uniform_layers
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import llama
from exporter.importers.rope import read_rope, read_rotary_dim


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout: LayerNorms, and a part of each head rotated."""
    config.refuse("qk_layernorm", [False], "norms of query and key heads")
    sizes = read_sizes(config, {"num_key_value_heads": 32, "max_position_embeddings": 4096})
    rotary_dim = read_rotary_dim(config, sizes.head_dim, 0.25)
    rope = read_rope(config, rotary_dim=rotary_dim)
    norm = read_layer_norm(config, "layer_norm_eps", biased=True)
    parallel = config.flag("use_parallel_residual", False)
    return replace(
        plain_layout(config, sizes, uniform_layers(sizes, rope), norm, tied=False),
        rotary_dim=rotary_dim,
        biases=biases(qkv=config.flag("use_qkv_bias", False)),
        block="parallel" if parallel else "pre",
        shared_norm=parallel,
    )


FAMILY = replace(
    llama.FAMILY,
    model_type="stablelm",
    architectures=("StableLmForCausalLM",),
    layout=layout,
    names=llama.NAMES | llama.NORM_BIASES,
)
