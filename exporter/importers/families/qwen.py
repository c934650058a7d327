"""Qwen2, Qwen2.5 and Qwen3.

Source: `modeling_qwen2.py`, `modeling_qwen3.py` and their configurations in transformers. Windows are off unless
`use_sliding_window` is true; then layers from `max_window_layers` on have one, or those that `layer_types` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import (
    biases,
    layer_layouts,
    plain_layout,
    read_rms_norm,
    read_sizes,
    read_sliding,
    read_window,
    windows_of,
)
from exporter.importers.decoder_layout import DecoderLayout, QkNorm
from exporter.importers.families import llama
from exporter.importers.rope import read_rope

DEFAULTS = {"num_key_value_heads": 32, "max_position_embeddings": 32768}


def layout_qwen2(config: ConfigReader) -> DecoderLayout:
    """Qwen2's layout: the projections of queries, keys and values always have biases."""
    return replace(_layout(config, DEFAULTS), biases=biases(qkv=True))


def layout_qwen3(config: ConfigReader) -> DecoderLayout:
    """Qwen3's layout: every query and key head is normalized."""
    biased = config.flag("attention_bias", False)
    layout = _layout(config, DEFAULTS | {"head_dim": 128})
    return replace(layout, biases=biases(qkv=biased, output=biased), qk_norm=QkNorm(layout.norm))


def _layout(config: ConfigReader, defaults: Mapping[str, int]) -> DecoderLayout:
    sizes = read_sizes(config, defaults)
    window = read_window(config, 4096) if config.flag("use_sliding_window", False) else None
    first = _first_window(config)
    sliding = read_sliding(config, sizes.layers, lambda i: window is not None and i >= first)
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    layers = layer_layouts(sizes, [rope] * sizes.layers, windows_of(config, sliding, window))
    return plain_layout(config, sizes, layers, read_rms_norm(config, 1e-6), tied=False)


def _first_window(config: ConfigReader) -> int:
    """`max_window_layers`, the first layer with a window; with 0, every layer has one."""
    return 0 if config.get("max_window_layers") == 0 else config.integer("max_window_layers", 28)


HEAD_NORMS = {
    "layers.{i}.attention.q.norm": f"{llama.LAYER}.self_attn.q_norm.weight",
    "layers.{i}.attention.k.norm": f"{llama.LAYER}.self_attn.k_norm.weight",
}

QWEN2 = replace(llama.FAMILY, model_type="qwen2", architectures=("Qwen2ForCausalLM",), layout=layout_qwen2)
QWEN3 = replace(
    llama.FAMILY,
    model_type="qwen3",
    architectures=("Qwen3ForCausalLM",),
    layout=layout_qwen3,
    names=llama.NAMES | HEAD_NORMS,
)
