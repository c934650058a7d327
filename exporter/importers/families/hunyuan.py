"""Hunyuan (dense): 0.5B to 7B.

Source: `modeling_hunyuan_v1_dense.py` and `configuration_hunyuan_v1_dense.py` of transformers.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import biases, plain_layout, read_rms_norm, read_sizes, uniform_layers
from exporter.importers.decoder_layout import DecoderLayout, QkNorm
from exporter.importers.families import llama
from exporter.importers.rope import Rope, read_rope


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout: queries and keys are normalized after the rotation."""
    sizes = read_sizes(config, {"max_position_embeddings": 2048})
    rope = _read_rope(config, sizes.head_dim)
    biased = config.flag("attention_bias", False)
    norm = read_rms_norm(config, 1e-5)
    return replace(
        plain_layout(config, sizes, uniform_layers(sizes, rope), norm, tied=False),
        biases=biases(qkv=biased, output=biased),
        qk_norm=QkNorm(norm, rotated=True),
    )


def _read_rope(config: ConfigReader, head_dim: int) -> Rope:
    """Reads the rope. A "dynamic" scaling with `alpha` changes the base wavelength by a fixed NTK factor."""
    rope = read_rope(config, rotary_dim=head_dim)
    scaling = config.section("rope_parameters") or config.section("rope_scaling")
    if rope.scaling != "dynamic" or scaling is None or not scaling.get("alpha"):
        return rope
    if config.valid and head_dim < 4:
        config.invalid("head_dim", f"{head_dim} is too small for rope_scaling's alpha")
        return rope
    return Rope(rope.theta * scaling.number("alpha", maximum=1e6) ** (head_dim / max(head_dim - 2, 1)))


HEAD_NORMS = {
    "layers.{i}.attention.q.norm": f"{llama.LAYER}.self_attn.query_layernorm.weight",
    "layers.{i}.attention.k.norm": f"{llama.LAYER}.self_attn.key_layernorm.weight",
}

FAMILY = replace(
    llama.FAMILY,
    model_type="hunyuan_v1_dense",
    architectures=("HunYuanDenseV1ForCausalLM",),
    layout=layout,
    names=llama.NAMES | HEAD_NORMS,
)
