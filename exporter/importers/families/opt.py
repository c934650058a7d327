"""OPT, 125M to 66B.

Source: `modeling_opt.py` and `configuration_opt.py` of transformers. Positions are learned, and begin with the table's
third row. OPT-350m normalizes after each residual sum instead of before each block, and has narrower embeddings.
"""

from __future__ import annotations

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import MAX_LAYERS, biases, read_activation
from exporter.importers.decoder_layout import DecoderLayout, LayerLayout, Norm
from exporter.importers.family import Family

_OFFSET = 2  # unused rows at the start of the position table


def layout(config: ConfigReader) -> DecoderLayout:
    """The decoder's layout."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    if config.valid and hidden % heads:
        config.invalid("num_attention_heads", f"{heads} doesn't divide hidden_size, {hidden}")
    head_dim = max(hidden // heads, 1)
    layer = LayerLayout(heads, heads, config.integer("ffn_dim"), head_dim**-0.5)
    width = config.integer("word_embed_proj_dim", hidden)
    context = config.integer("max_position_embeddings", 2048)
    before, biased = config.flag("do_layer_norm_before", True), config.flag("enable_bias", True)
    affine = config.flag("layer_norm_elementwise_affine", True)
    return DecoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        head_dim=head_dim,
        layers=(layer,) * config.integer("num_hidden_layers", maximum=MAX_LAYERS),
        context=context,
        norm=Norm("layer", 1e-5, weight=affine, bias=affine),
        tied=config.flag("tie_word_embeddings", True),
        activation=read_activation(config, "relu", "activation_function"),
        gated=False,
        block="pre" if before else "after",
        final_norm=before and not config.flag("_remove_final_layer_norm", False),
        biases=biases(qkv=biased, output=biased, mlp=biased),
        positions=context + _OFFSET,
        position_offset=_OFFSET,
        embedding_size=None if width == hidden else width,
    )


LAYER = "{prefix}layers.{i}"
MODULES = {
    "layers.{i}.attention.norm": "self_attn_layer_norm",  # in OPT-350m the post_norm
    "layers.{i}.attention.post_norm": "self_attn_layer_norm",
    "layers.{i}.attention.q": "self_attn.q_proj",
    "layers.{i}.attention.k": "self_attn.k_proj",
    "layers.{i}.attention.v": "self_attn.v_proj",
    "layers.{i}.attention.output": "self_attn.out_proj",
    "layers.{i}.mlp.norm": "final_layer_norm",
    "layers.{i}.mlp.post_norm": "final_layer_norm",
    "layers.{i}.mlp.up": "fc1",
    "layers.{i}.mlp.down": "fc2",
}
NAMES = {
    "embedding": "{prefix}embed_tokens.weight",
    "embedding.position": "{prefix}embed_positions.weight",
    "embedding.project_in": "{prefix}project_in.weight",
    **{role: f"{LAYER}.{module}.weight" for role, module in MODULES.items()},
    **{f"{role}.bias": f"{LAYER}.{module}.bias" for role, module in MODULES.items()},
    "norm": "{prefix}final_layer_norm.weight",
    "norm.bias": "{prefix}final_layer_norm.bias",
    "embedding.project_out": "{prefix}project_out.weight",
    "head": "lm_head.weight",
}

POINTS = {  # without the MLP's modules: transformers flattens their inputs and outputs, so the shapes differ
    "embedding": "model.decoder.embed_tokens",
    "layers.{i}/attention/norm": "model.decoder.layers.{i}.self_attn_layer_norm",
    "layers.{i}/attention/q": "model.decoder.layers.{i}.self_attn.q_proj",
    "layers.{i}/attention/k": "model.decoder.layers.{i}.self_attn.k_proj",
    "layers.{i}/attention/v": "model.decoder.layers.{i}.self_attn.v_proj",
    "layers.{i}/attention/output": "model.decoder.layers.{i}.self_attn.out_proj",
    "layers.{i}/output": "model.decoder.layers.{i}",
    "norm": "model.decoder.final_layer_norm",
    "logits": "lm_head",
}

FAMILY = Family(
    model_type="opt",
    architectures=("OPTForCausalLM",),
    layout=layout,
    prefixes=("model.decoder.", "decoder.", ""),
    names=NAMES,
    points=POINTS,
    copies=(("lm_head.weight", "embedding"),),
)
