"""GPT-Neo and models with its architecture: TinyStories and others.

Source: `modeling_gpt_neo.py` and `configuration_gpt_neo.py` of transformers. Attention scores are not scaled, every
other layer has a window, and queries, keys and values have no bias.
"""

from __future__ import annotations

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import MAX_LAYERS, biases, read_activation, read_layer_norm
from exporter.importers.decoder_layout import DecoderLayout, LayerLayout
from exporter.importers.families import gpt2
from exporter.importers.family import Family, Ignorable


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_heads")
    if config.valid and hidden % heads:
        config.invalid("num_heads", f"{heads} doesn't divide hidden_size, {hidden}")
    inner, window = config.integer("intermediate_size", 4 * hidden), config.integer("window_size", 256)
    positions = config.integer("max_position_embeddings", 2048)
    return DecoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        head_dim=max(hidden // heads, 1),
        layers=tuple(
            LayerLayout(heads, heads, inner, scale=1.0, window=window if kind == "local" else None)
            for kind in _kinds(config)
        ),
        context=positions,
        norm=read_layer_norm(config, "layer_norm_epsilon", biased=True),
        tied=config.flag("tie_word_embeddings", True),
        activation=read_activation(config, "gelu_new", "activation_function"),
        gated=False,
        biases=biases(output=True, mlp=True),
        positions=positions,
    )


def _kinds(config: ConfigReader) -> list[str]:
    """ "global" or "local" for each layer, from `attention_types`: `[[kinds, repetitions], …]`."""
    layers = config.integer("num_layers", maximum=MAX_LAYERS)
    kinds: list[str] = []
    types = config.get("attention_types")
    for entry in types if isinstance(types, list) else []:
        match entry:
            case [list(names), int(times)] if 0 < times <= MAX_LAYERS and len(names) <= MAX_LAYERS:
                kinds += [str(name) for name in names] * times if len(kinds) <= MAX_LAYERS else []
            case _:
                kinds.append("")
    if len(kinds) != layers or not set(kinds) <= {"global", "local"}:
        config.invalid(
            "attention_types", f'must have the form [[["global", "local"], times], …] and give {layers} layers'
        )
        return ["global"] * layers
    return kinds


MODULES = {
    "layers.{i}.attention.norm": "ln_1",
    "layers.{i}.attention.q": "attn.attention.q_proj",
    "layers.{i}.attention.k": "attn.attention.k_proj",
    "layers.{i}.attention.v": "attn.attention.v_proj",
    "layers.{i}.attention.output": "attn.attention.out_proj",
    "layers.{i}.mlp.norm": "ln_2",
    "layers.{i}.mlp.up": "mlp.c_fc",
    "layers.{i}.mlp.down": "mlp.c_proj",
}
NAMES = gpt2.NAMES | {
    f"{role}{bias}": f"{gpt2.LAYER}.{module}{bias or '.weight'}"
    for role, module in MODULES.items()
    for bias in ("", ".bias")
}
POINTS = gpt2.POINTS | {
    f"layers.{{i}}/attention/{part}": f"transformer.h.{{i}}.attn.attention.{module}"
    for part, module in (("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj"), ("output", "out_proj"))
}

FAMILY = Family(
    model_type="gpt_neo",
    architectures=("GPTNeoForCausalLM",),
    layout=layout,
    prefixes=("transformer.", ""),
    names=NAMES,
    points=POINTS,
    ignorable=(
        Ignorable(r"(transformer\.)?h\.\d+\.attn\.attention\.(bias|masked_bias)", "the causal mask: made in the graph"),
    ),
    copies=(("lm_head.weight", "embedding"),),
)
