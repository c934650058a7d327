"""GPT-2 and models with its architecture (DistilGPT2, DialoGPT, Cerebras-GPT and others); GPTBigCode (StarCoder 1).

Source: `modeling_gpt2.py`, `modeling_gpt_bigcode.py` and their configurations in transformers. GPT-2's linear layers
are stored `[in, out]`, GPTBigCode's `[out, in]`. GPTBigCode's query heads share one key and one value; or each head has
its own, which are then stored together with its query.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import MAX_LAYERS, biases, read_activation, read_layer_norm
from exporter.importers.decoder_layout import DecoderLayout, LayerLayout
from exporter.importers.family import Family, Ignorable


def layout(config: ConfigReader) -> DecoderLayout:
    """GPT-2's layout."""
    layout = _layout(config, "gelu_new")
    if not config.flag("scale_attn_by_inverse_layer_idx", False):
        return layout
    return replace(
        layout, layers=tuple(replace(layer, scale=layer.scale / (i + 1)) for i, layer in enumerate(layout.layers))
    )


def layout_bigcode(config: ConfigReader) -> DecoderLayout:
    """GPTBigCode's layout."""
    layout = _layout(config, "gelu_pytorch_tanh")
    if not config.flag("multi_query", True):
        return layout
    return replace(layout, layers=tuple(replace(layer, kv_heads=1) for layer in layout.layers))


def _layout(config: ConfigReader, activation: str) -> DecoderLayout:
    config.refuse("add_cross_attention", [False], "a decoder with cross-attention")
    hidden, heads = config.integer("n_embd"), config.integer("n_head")
    if config.valid and hidden % heads:
        config.invalid("n_head", f"{heads} doesn't divide n_embd, {hidden}")
    head_dim = max(hidden // heads, 1)
    scale = head_dim**-0.5 if config.flag("scale_attn_weights", True) else 1.0
    layer = LayerLayout(heads, heads, config.integer("n_inner", 4 * hidden), scale)
    positions = config.integer("n_positions", 1024)
    return DecoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        head_dim=head_dim,
        layers=(layer,) * config.integer("n_layer", maximum=MAX_LAYERS),
        context=positions,
        norm=read_layer_norm(config, "layer_norm_epsilon", biased=True),
        tied=config.flag("tie_word_embeddings", True),
        activation=read_activation(config, activation, "activation_function"),
        gated=False,
        biases=biases(qkv=True, output=True, mlp=True),
        positions=positions,
    )


LAYER = "{prefix}h.{i}"
MODULES = {
    "layers.{i}.attention.norm": "ln_1",
    "layers.{i}.attention.q": "attn.c_attn",
    "layers.{i}.attention.k": "attn.c_attn",
    "layers.{i}.attention.v": "attn.c_attn",
    "layers.{i}.attention.output": "attn.c_proj",
    "layers.{i}.mlp.norm": "ln_2",
    "layers.{i}.mlp.up": "mlp.c_fc",
    "layers.{i}.mlp.down": "mlp.c_proj",
}
NAMES = {
    "embedding": "{prefix}wte.weight",
    "embedding.position": "{prefix}wpe.weight",
    **{role: f"{LAYER}.{module}.weight" for role, module in MODULES.items()},
    **{f"{role}.bias": f"{LAYER}.{module}.bias" for role, module in MODULES.items()},
    "norm": "{prefix}ln_f.weight",
    "norm.bias": "{prefix}ln_f.bias",
    "head": "lm_head.weight",
}

POINTS = {
    "embedding": "transformer.wte",
    "layers.{i}/attention/norm": "transformer.h.{i}.ln_1",
    "layers.{i}/attention/output": "transformer.h.{i}.attn.c_proj",
    "layers.{i}/mlp/norm": "transformer.h.{i}.ln_2",
    "layers.{i}/mlp/up": "transformer.h.{i}.mlp.c_fc",
    "layers.{i}/mlp/down": "transformer.h.{i}.mlp.c_proj",
    "layers.{i}/output": "transformer.h.{i}",
    "norm": "transformer.ln_f",
    "logits": "lm_head",
}

FAMILY = Family(
    model_type="gpt2",
    architectures=("GPT2LMHeadModel",),
    layout=layout,
    prefixes=("transformer.", ""),
    names=NAMES,
    points=POINTS,
    ignorable=(Ignorable(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)", "the causal mask: made in the graph"),),
    copies=(("lm_head.weight", "embedding"),),
    transposed=frozenset(role for role in MODULES if not role.endswith("norm")),
)
BIGCODE = replace(
    FAMILY,
    model_type="gpt_bigcode",
    architectures=("GPTBigCodeForCausalLM",),
    layout=layout_bigcode,
    transposed=frozenset(),
    grouped=True,
)
