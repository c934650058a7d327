"""GLM-4 and GLM-4 0414, 9B and Edge.

Source: `modeling_glm.py`, `modeling_glm4.py` and their configurations in transformers. A part of each head is rotated,
in pairs of neighbours; gate and up projections are fused; 0414 also normalizes the outputs of attention and MLP.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import biases, plain_layout, read_rms_norm, read_sizes, uniform_layers
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import llama, phi
from exporter.importers.rope import read_rope, read_rotary_dim


def layout(config: ConfigReader) -> DecoderLayout:
    """GLM's layout."""
    sizes = read_sizes(config, {"num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072})
    rotary_dim = read_rotary_dim(config, sizes.head_dim, 0.5)
    rope = read_rope(config, rotary_dim=rotary_dim)
    return replace(
        plain_layout(config, sizes, uniform_layers(sizes, rope), read_rms_norm(config, 1.5625e-7), tied=False),
        rotary_dim=rotary_dim,
        interleaved=True,
        biases=biases(qkv=config.flag("attention_bias", True)),
    )


def layout_4(config: ConfigReader) -> DecoderLayout:
    """The layout of GLM-4 0414."""
    return replace(layout(config), block="sandwich")


POST_NORMS = {
    "layers.{i}.attention.post_norm": f"{llama.LAYER}.post_self_attn_layernorm.weight",
    "layers.{i}.mlp.post_norm": f"{llama.LAYER}.post_mlp_layernorm.weight",
}
# No module has the output of only a part of a fused tensor.
POINTS = {value: module for value, module in llama.POINTS.items() if not value.endswith(("/gate", "/up"))} | {
    "layers.{i}/attention/post_norm": "model.layers.{i}.post_self_attn_layernorm",
    "layers.{i}/mlp/post_norm": "model.layers.{i}.post_mlp_layernorm",
}
NAMES = llama.NAMES | phi.FUSED_MLP

FAMILY = replace(
    llama.FAMILY, model_type="glm", architectures=("GlmForCausalLM",), layout=layout, names=NAMES, points=POINTS
)
GLM_4 = replace(
    FAMILY, model_type="glm4", architectures=("Glm4ForCausalLM",), layout=layout_4, names=NAMES | POST_NORMS
)
