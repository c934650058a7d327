"""SmolLM3: Llama in which every fourth layer has no positions.

Source: `modeling_smollm3.py` and `configuration_smollm3.py` of transformers.
"""

from __future__ import annotations

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
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import llama
from exporter.importers.rope import read_rope


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout. If windows are on, the layers without positions have one."""
    sizes = read_sizes(config, {"num_key_value_heads": 4, "max_position_embeddings": 32768})
    rotated = _rotated(config, sizes.layers)
    window = read_window(config, None)
    windowed = config.flag("use_sliding_window", False) and window is not None
    sliding = read_sliding(config, sizes.layers, lambda i: windowed and not rotated[i])
    rope = read_rope(config, rotary_dim=sizes.head_dim, theta=2e6)
    ropes = [rope if rotates else None for rotates in rotated]
    layers = layer_layouts(sizes, ropes, windows_of(config, sliding, window))
    biased = config.flag("attention_bias", False)
    return replace(
        plain_layout(config, sizes, layers, read_rms_norm(config, 1e-6), tied=True),
        biases=biases(qkv=biased, output=biased, mlp=config.flag("mlp_bias", False)),
    )


def _rotated(config: ConfigReader, layers: int) -> tuple[bool, ...]:
    """Whether each layer has a rope. In `no_rope_layers`, 1 means that the layer has one. If the key is absent, every
    `no_rope_layer_interval`th layer has none."""
    interval = config.integer("no_rope_layer_interval", 4)
    flags = config.get("no_rope_layers")
    if flags is None:
        return tuple((i + 1) % interval != 0 for i in range(layers))
    if not isinstance(flags, list) or len(flags) != layers or any(flag not in (0, 1) for flag in flags):
        config.invalid("no_rope_layers", f"must be a list with 0 or 1 for each of the {layers} layers")
        return (True,) * layers
    return tuple(bool(flag) for flag in flags)


FAMILY = replace(llama.FAMILY, model_type="smollm3", architectures=("SmolLM3ForCausalLM",), layout=layout)
