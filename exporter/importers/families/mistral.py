"""Mistral 7B, Nemo and Small, and Ministral.

Source: `modeling_mistral.py`, `modeling_ministral.py` and their configurations in transformers. Mistral v0.1 has a
window of 4,096 tokens in every layer, which is the default if the key is absent; later models state null. In Ministral
only some layers have a window.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import (
    layer_layouts,
    plain_layout,
    read_rms_norm,
    read_sizes,
    read_sliding,
    read_window,
    windows_of,
)
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import llama
from exporter.importers.rope import read_rope


def layout(config: ConfigReader) -> DecoderLayout:
    """Mistral's layout."""
    return _layout(config, mixed=False)


def layout_ministral(config: ConfigReader) -> DecoderLayout:
    """Ministral's layout."""
    return _layout(config, mixed=True)


def _layout(config: ConfigReader, *, mixed: bool) -> DecoderLayout:
    sizes = read_sizes(config, {"num_key_value_heads": 8, "max_position_embeddings": 131072})
    window = read_window(config, 4096)
    sliding = (window is not None,) * sizes.layers
    if mixed:
        sliding = read_sliding(config, sizes.layers, lambda _: window is not None)
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    layers = layer_layouts(sizes, [rope] * sizes.layers, windows_of(config, sliding, window))
    return plain_layout(config, sizes, layers, read_rms_norm(config, 1e-6), tied=False)


FAMILY = replace(llama.FAMILY, model_type="mistral", architectures=("MistralForCausalLM",), layout=layout)
MINISTRAL = replace(
    llama.FAMILY, model_type="ministral", architectures=("MinistralForCausalLM",), layout=layout_ministral
)
