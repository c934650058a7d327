"""EXAONE 4.

Source: `modeling_exaone4.py` and `configuration_exaone4.py` of transformers. Norms come after attention, after the MLP
and after the projections of queries and keys. In the 32B model three of four layers have a window; the fourth has no
positions.
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
from exporter.importers.decoder_layout import DecoderLayout, QkNorm
from exporter.importers.families import llama, olmo
from exporter.importers.rope import read_rope


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout."""
    sizes = read_sizes(config, {"num_key_value_heads": 32, "max_position_embeddings": 2048})
    window = read_window(config, 4096)
    # If layer_types is stated, sliding_window_pattern isn't needed; it may be a string such as "LLLG".
    pattern = config.integer("sliding_window_pattern", 4) if config.get("layer_types") is None else 1
    sliding = read_sliding(config, sizes.layers, lambda i: window is not None and (i + 1) % pattern != 0)
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    ropes = [rope if slides or window is None else None for slides in sliding]
    layers = layer_layouts(sizes, ropes, windows_of(config, sliding, window))
    norm = read_rms_norm(config, 1e-5)
    return replace(plain_layout(config, sizes, layers, norm, tied=False), block="post", qk_norm=QkNorm(norm))


FAMILY = replace(
    llama.FAMILY,
    model_type="exaone4",
    architectures=("Exaone4ForCausalLM",),
    layout=layout,
    names=olmo.NAMES_2,
    points=olmo.POINTS_2,
)
