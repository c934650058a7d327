"""Command R, Command R7B and Aya Expanse.

Source: `modeling_cohere.py`, `modeling_cohere2.py` and their configurations in transformers. Attention and MLP read the
same LayerNorm, rotation pairs neighbours, logits are scaled. In Cohere 2 three of four layers have a window and rotary
positions; the fourth has neither.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import (
    Sizes,
    biases,
    layer_layouts,
    plain_layout,
    read_layer_norm,
    read_sizes,
    read_sliding,
    read_window,
    uniform_layers,
    windows_of,
)
from exporter.importers.decoder_layout import DecoderLayout, LayerLayout, QkNorm
from exporter.importers.families import llama
from exporter.importers.families.qwen import HEAD_NORMS
from exporter.importers.rope import read_rope

DEFAULTS = {"max_position_embeddings": 8192}


def layout(config: ConfigReader) -> DecoderLayout:
    """Cohere's layout."""
    sizes = read_sizes(config, DEFAULTS)
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    normed = config.flag("use_qk_norm", False)
    layout = _layout(config, sizes, uniform_layers(sizes, rope))
    return replace(layout, qk_norm=QkNorm(layout.norm, "each head") if normed else None)


def layout_2(config: ConfigReader) -> DecoderLayout:
    """Cohere 2's layout."""
    sizes = read_sizes(config, DEFAULTS)
    pattern = config.integer("sliding_window_pattern", 4)
    sliding = read_sliding(config, sizes.layers, lambda i: (i + 1) % pattern != 0)
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    windows = windows_of(config, sliding, read_window(config, 4096))
    return _layout(config, sizes, layer_layouts(sizes, [rope if slides else None for slides in sliding], windows))


def _layout(config: ConfigReader, sizes: Sizes, layers: tuple[LayerLayout, ...]) -> DecoderLayout:
    norm = read_layer_norm(config, "layer_norm_eps", biased=False)
    biased = config.flag("attention_bias", False)
    return replace(
        plain_layout(config, sizes, layers, norm, tied=True),
        biases=biases(qkv=biased, output=biased),
        interleaved=True,
        block="parallel",
        shared_norm=True,
        logits_factor=config.number("logit_scale", 0.0625),
    )


FAMILY = replace(
    llama.FAMILY,
    model_type="cohere",
    architectures=("CohereForCausalLM",),
    layout=layout,
    names=llama.NAMES | HEAD_NORMS,
    points=llama.POINTS_BEFORE_SCALING,
)
COHERE_2 = replace(FAMILY, model_type="cohere2", architectures=("Cohere2ForCausalLM",), layout=layout_2)
