"""InternLM 2, 2.5 and 3.

Source: `configuration_internlm2.py`, `configuration_internlm3.py` and the modeling code beside the weights (InternLM2's
report: arXiv 2403.17297). That code is never run. The architecture is Llama's; version 2 stores queries, keys and
values of each key/value head together.
"""

from __future__ import annotations

from dataclasses import replace

from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import biases, plain_layout, read_rms_norm, read_sizes, uniform_layers
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import llama
from exporter.importers.rope import read_rope


def layout_2(config: ConfigReader) -> DecoderLayout:
    """InternLM2's layout: `bias` is on by default; the MLP has no biases."""
    biased = config.flag("bias", True)
    return replace(_layout(config, 2048), biases=biases(qkv=biased, output=biased))


def layout_3(config: ConfigReader) -> DecoderLayout:
    """InternLM3's layout: `qkv_bias` is for queries, keys and values, `bias` for all other linear layers.

    transformers 5 saves it as a Llama with Llama's keys: `attention_bias` is for all four projections.
    """
    others, qkv, mlp = config.flag("bias", False), config.flag("qkv_bias", False), config.flag("mlp_bias", False)
    all_four = config.flag("attention_bias", False)
    return replace(
        _layout(config, 32768), biases=biases(qkv=qkv or all_four, output=others or all_four, mlp=others or mlp)
    )


def _layout(config: ConfigReader, context: int) -> DecoderLayout:
    config.choice("hidden_act", "silu", ["silu", "swish"])
    sizes = read_sizes(config, {"max_position_embeddings": context})
    rope = read_rope(config, rotary_dim=sizes.head_dim)
    return plain_layout(config, sizes, uniform_layers(sizes, rope), read_rms_norm(config, 1e-6), tied=False)


NAMES_2 = {
    "embedding": "{prefix}tok_embeddings.weight",
    "layers.{i}.attention.norm": f"{llama.LAYER}.attention_norm.weight",
    **{f"layers.{{i}}.attention.{part}": f"{llama.LAYER}.attention.wqkv.weight" for part in "qkv"},
    **{f"layers.{{i}}.attention.{part}.bias": f"{llama.LAYER}.attention.wqkv.bias" for part in "qkv"},
    "layers.{i}.attention.output": f"{llama.LAYER}.attention.wo.weight",
    "layers.{i}.attention.output.bias": f"{llama.LAYER}.attention.wo.bias",
    "layers.{i}.mlp.norm": f"{llama.LAYER}.ffn_norm.weight",
    "layers.{i}.mlp.gate": f"{llama.LAYER}.feed_forward.w1.weight",
    "layers.{i}.mlp.up": f"{llama.LAYER}.feed_forward.w3.weight",
    "layers.{i}.mlp.down": f"{llama.LAYER}.feed_forward.w2.weight",
    "norm": "{prefix}norm.weight",
    "head": "output.weight",
}

INTERNLM_2 = replace(
    llama.FAMILY,
    model_type="internlm2",
    architectures=("InternLM2ForCausalLM",),
    layout=layout_2,
    names=NAMES_2,
    copies=(("output.weight", "embedding"),),
    grouped=True,
)
INTERNLM_3 = replace(
    llama.FAMILY, model_type="internlm3", architectures=("InternLM3ForCausalLM", "LlamaForCausalLM"), layout=layout_3
)
