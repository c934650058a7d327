"""OLMo 1, 2 and 3.

Source: `modeling_olmo.py`, `modeling_olmo2.py`, `modeling_olmo3.py` and their configurations in transformers. OLMo has
LayerNorms without weights. OLMo 2 normalizes the outputs of attention and MLP instead of their inputs, and queries and
keys over all heads together. OLMo 3 adds layers with windows, in which the rope isn't scaled.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import (
    Sizes,
    biases,
    layer_layouts,
    plain_layout,
    read_rms_norm,
    read_sizes,
    read_sliding,
    read_window,
    uniform_layers,
    windows_of,
)
from exporter.importers.decoder_layout import DecoderLayout, LayerLayout, Norm, QkNorm
from exporter.importers.families import llama
from exporter.importers.families.qwen import HEAD_NORMS
from exporter.importers.rope import read_rope

DEFAULTS = {"max_position_embeddings": 2048}


def layout(config: ConfigReader) -> DecoderLayout:
    """OLMo's layout."""
    config.refuse("clip_qkv", [], "clipping of queries, keys and values")
    sizes = read_sizes(config, DEFAULTS)
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    norm = Norm("layer", 1e-5, weight=False)
    return _layout(config, sizes, uniform_layers(sizes, rope), norm)


def layout_2(config: ConfigReader) -> DecoderLayout:
    """OLMo 2's layout."""
    sizes = read_sizes(config, DEFAULTS)
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    return _normed_after(config, sizes, uniform_layers(sizes, rope))


def layout_3(config: ConfigReader) -> DecoderLayout:
    """OLMo 3's layout."""
    sizes = read_sizes(config, DEFAULTS)
    sliding = read_sliding(config, sizes.layers, lambda i: (i + 1) % 4 != 0)
    ropes = {
        False: read_rope(config, rotary_dim=sizes.head_dim, layer_type="full_attention"),
        True: read_rope(config, rotary_dim=sizes.head_dim, layer_type="sliding_attention", scaled=False),
    }
    windows = windows_of(config, sliding, read_window(config, 4096))
    return _normed_after(config, sizes, layer_layouts(sizes, [ropes[slides] for slides in sliding], windows))


def _normed_after(config: ConfigReader, sizes: Sizes, layers: tuple[LayerLayout, ...]) -> DecoderLayout:
    norm = read_rms_norm(config, 1e-5)
    return replace(_layout(config, sizes, layers, norm), block="post", qk_norm=QkNorm(norm, "projection"))


def _layout(config: ConfigReader, sizes: Sizes, layers: tuple[LayerLayout, ...], norm: Norm) -> DecoderLayout:
    biased = config.flag("attention_bias", False)
    return replace(plain_layout(config, sizes, layers, norm, tied=False), biases=biases(qkv=biased, output=biased))


NORMED_AFTER = {
    "layers.{i}.attention.post_norm": f"{llama.LAYER}.post_attention_layernorm.weight",
    "layers.{i}.mlp.post_norm": f"{llama.LAYER}.post_feedforward_layernorm.weight",
}
NAMES_2 = {role: name for role, name in llama.NAMES.items() if not role.endswith((".attention.norm", ".mlp.norm"))}
NAMES_2 |= NORMED_AFTER | HEAD_NORMS

POINTS_2 = llama.POINTS | {
    "layers.{i}/attention/post_norm": "model.layers.{i}.post_attention_layernorm",
    "layers.{i}/mlp/post_norm": "model.layers.{i}.post_feedforward_layernorm",
}

FAMILY = replace(llama.FAMILY, model_type="olmo", architectures=("OlmoForCausalLM",), layout=layout)
OLMO_2 = replace(
    llama.FAMILY,
    model_type="olmo2",
    architectures=("Olmo2ForCausalLM",),
    layout=layout_2,
    names=NAMES_2,
    points=POINTS_2,
)
OLMO_3 = replace(
    llama.FAMILY,
    model_type="olmo3",
    architectures=("Olmo3ForCausalLM",),
    layout=layout_3,
    names=NAMES_2,
    points=POINTS_2,
)
