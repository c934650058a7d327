"""Gemma 1, 2 and 3 (text).

Source: `modeling_gemma.py`, `modeling_gemma2.py`, `modeling_gemma3.py` and their configurations in transformers.
All of them store norm weights minus 1 and multiply embeddings by √hidden. Gemma 2 and 3 normalize before and after each
block, and some of their layers have a sliding window. Gemma 2 has soft caps; Gemma 3 normalizes queries and keys and
has a rope for each layer type.
"""

from __future__ import annotations

import math
from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import (
    Sizes,
    biases,
    layer_layouts,
    plain_layout,
    read_activation,
    read_rms_norm,
    read_sizes,
    read_sliding,
    read_window,
    uniform_layers,
    windows_of,
)
from exporter.importers.decoder_layout import DecoderLayout, LayerLayout, QkNorm
from exporter.importers.families import llama
from exporter.importers.families.qwen import HEAD_NORMS
from exporter.importers.family import Ignorable
from exporter.importers.rope import read_rope

DEFAULTS = {"num_key_value_heads": 16, "head_dim": 256, "max_position_embeddings": 8192}
DEFAULTS_2 = DEFAULTS | {"num_key_value_heads": 4}
# Multimodal checkpoints state only values that differ from these defaults.
DEFAULTS_3 = DEFAULTS_2 | {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "max_position_embeddings": 131072,
}


def layout(config: ConfigReader) -> DecoderLayout:
    """Gemma's layout. As in transformers, `hidden_act` counts and `hidden_activation` is ignored.

    The first releases state "gelu", but were trained with its tanh approximation (see transformers 5).
    """
    sizes = read_sizes(config, DEFAULTS)
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    layout = _layout(config, sizes, uniform_layers(sizes, rope), "hidden_act")
    return replace(layout, activation="gelu_tanh") if layout.activation == "gelu" else layout


def layout_2(config: ConfigReader) -> DecoderLayout:
    """Gemma 2's layout."""
    sizes = read_sizes(config, DEFAULTS_2)
    sliding = read_sliding(config, sizes.layers, lambda i: i % 2 == 0)
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    windows = windows_of(config, sliding, read_window(config, 4096))
    layers = layer_layouts(sizes, (rope,) * sizes.layers, windows, _scale(config))
    return replace(
        _layout(config, sizes, layers, "hidden_activation"),
        block="sandwich",
        softcap=_cap(config, "attn_logit_softcapping", 50.0),
        logits_softcap=_cap(config, "final_logit_softcapping", 30.0),
    )


def layout_3(config: ConfigReader) -> DecoderLayout:
    """The layout of Gemma 3's text decoder. As in transformers, `attn_logit_softcapping` has no effect."""
    bidirectional = config.flag("use_bidirectional_attention", False)
    sizes = read_sizes(config, DEFAULTS_3)
    # If layer_types is stated, transformers ignores the pattern.
    pattern = config.integer("sliding_window_pattern", 6) if config.get("layer_types") is None else 1
    sliding = read_sliding(config, sizes.layers, lambda i: (i + 1) % pattern != 0)
    full = read_rope(config, rotary_dim=sizes.head_dim, theta=1e6, layer_type="full_attention")
    local = read_rope(
        config,
        rotary_dim=sizes.head_dim,
        theta_key="rope_local_base_freq",
        layer_type="sliding_attention",
        scaled=False,
    )
    window = read_window(config, 4096)
    if bidirectional and window is not None:
        window = window // 2 + 1  # half of it on either side, the token itself included
    windows = windows_of(config, sliding, window)
    ropes = [local if slides else full for slides in sliding]
    layout = _layout(config, sizes, layer_layouts(sizes, ropes, windows, _scale(config)), "hidden_activation")
    return replace(
        layout,
        block="sandwich",
        qk_norm=QkNorm(layout.norm),
        logits_softcap=_cap(config, "final_logit_softcapping", None),
        bidirectional=bidirectional,
    )


def layout_3_multimodal(config: ConfigReader) -> DecoderLayout:
    """The layout of the text decoder in a Gemma 3 with images."""
    text = config.section("text_config")
    if text is None:
        config.invalid("text_config", "is missing")
        text = config
    return layout_3(text)


def _layout(config: ConfigReader, sizes: Sizes, layers: tuple[LayerLayout, ...], activation: str) -> DecoderLayout:
    biased = config.flag("attention_bias", False)
    norm = replace(read_rms_norm(config, 1e-6), shift=1.0)
    kind = read_activation(config, "gelu_pytorch_tanh", activation)
    return replace(
        plain_layout(config, sizes, layers, norm, tied=True, activation=kind),
        embedding_factor=sizes.hidden_size**0.5,
        biases=biases(qkv=biased, output=biased),
    )


def _scale(config: ConfigReader) -> float:
    """The factor of attention scores, 1/√query_pre_attn_scalar."""
    return 1 / math.sqrt(config.number("query_pre_attn_scalar", 256.0))


def _cap(config: ConfigReader, key: str, default: float | None) -> float | None:
    if config.get(key) is None:
        return None if config.has(key) else default
    return config.number(key)


SANDWICH = {
    "layers.{i}.attention.post_norm": f"{llama.LAYER}.post_attention_layernorm.weight",
    "layers.{i}.mlp.norm": f"{llama.LAYER}.pre_feedforward_layernorm.weight",
    "layers.{i}.mlp.post_norm": f"{llama.LAYER}.post_feedforward_layernorm.weight",
}
SANDWICH_POINTS = {
    "layers.{i}/attention/post_norm": "model.layers.{i}.post_attention_layernorm",
    "layers.{i}/mlp/norm": "model.layers.{i}.pre_feedforward_layernorm",
    "layers.{i}/mlp/post_norm": "model.layers.{i}.post_feedforward_layernorm",
}
POINTS_2 = llama.POINTS_BEFORE_SCALING | SANDWICH_POINTS
# Gemma 3's embedding module includes the factor, so its output isn't our value.
POINTS_3 = {value: module for value, module in POINTS_2.items() if value != "embedding"}
POINTS_3 |= {"embedding/scaled": "model.embed_tokens"}
NAMES_2 = llama.NAMES | SANDWICH
NAMES_3 = NAMES_2 | HEAD_NORMS

FAMILY = replace(llama.FAMILY, model_type="gemma", architectures=("GemmaForCausalLM",), layout=layout)
GEMMA_2 = replace(
    llama.FAMILY,
    model_type="gemma2",
    architectures=("Gemma2ForCausalLM",),
    layout=layout_2,
    names=NAMES_2,
    points=POINTS_2,
)
GEMMA_3 = replace(
    llama.FAMILY,
    model_type="gemma3_text",
    architectures=("Gemma3ForCausalLM",),
    layout=layout_3,
    names=NAMES_3,
    points=POINTS_3,
)
GEMMA_3_MULTIMODAL = replace(
    GEMMA_3,
    model_type="gemma3",
    architectures=("Gemma3ForConditionalGeneration",),
    layout=layout_3_multimodal,
    prefixes=("language_model.model.", "model.language_model."),
    copies=(*llama.FAMILY.copies, ("language_model.lm_head.weight", "embedding")),
    points={value: module.replace("model.", "model.language_model.", 1) for value, module in POINTS_3.items()},
    ignorable=(
        *llama.FAMILY.ignorable,
        Ignorable(r"(model\.)?(vision_tower|multi_modal_projector)\..*", "vision: only text is exported"),
    ),
)
