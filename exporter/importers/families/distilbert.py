"""DistilBERT. Source: `modeling_distilbert.py` and `configuration_distilbert.py` of transformers."""

from __future__ import annotations

from exporter.importers.config import ConfigReader
from exporter.importers.encoder import EncoderLayout
from exporter.importers.encoder_heads import HeadStyle, encoder_classes, read_head
from exporter.importers.encoder_layout import InputLayout
from exporter.importers.families.encoder_names import (
    BERT_EMBEDDINGS,
    MASKED_HEAD,
    OLD_NORMS,
    TOKEN_NAMES,
    activation,
    heads_of,
    hidden_and_heads,
    weights_and_biases,
)
from exporter.importers.family import Family, Ignorable

_LAYER = "{prefix}transformer.layer.{i}"
_MODULE = "transformer.layer.{i}"


def layout(config: ConfigReader) -> EncoderLayout:
    """The encoder's layout, without sentence-transformers' modules."""
    hidden, heads = hidden_and_heads(config, "dim", "n_heads")
    positions = config.integer("max_position_embeddings", 512)
    act = activation(config, "activation")
    return EncoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=config.integer("hidden_dim"),
        layers=config.integer("n_layers"),
        heads=heads,
        norm_eps=1e-12,
        activation=act,
        inputs=InputLayout(hidden, positions),
        longest=positions,
        context=positions,
        head=read_head(config, "DistilBert", heads_of("relu", HeadStyle(act, norm=True))),
    )


FAMILY = Family(
    model_type="distilbert",
    architectures=encoder_classes("DistilBert"),
    layout=layout,
    prefixes=("", "distilbert."),
    names={
        **BERT_EMBEDDINGS,
        **weights_and_biases(
            {
                "layers.{i}.attention.q": f"{_LAYER}.attention.q_lin",
                "layers.{i}.attention.k": f"{_LAYER}.attention.k_lin",
                "layers.{i}.attention.v": f"{_LAYER}.attention.v_lin",
                "layers.{i}.attention.output": f"{_LAYER}.attention.out_lin",
                "layers.{i}.attention.norm": f"{_LAYER}.sa_layer_norm",
                "layers.{i}.mlp.up": f"{_LAYER}.ffn.lin1",
                "layers.{i}.mlp.down": f"{_LAYER}.ffn.lin2",
                "layers.{i}.mlp.norm": f"{_LAYER}.output_layer_norm",
                "sequence.dense": "pre_classifier",
                "sequence.output": "classifier",
                "mask.dense": "vocab_transform",
                "mask.norm": "vocab_layer_norm",
                "mask.output": "vocab_projector",
            }
        ),
        **TOKEN_NAMES,
    },
    points={
        "embeddings/norm": "embeddings",
        "layers.{i}/attention/q": f"{_MODULE}.attention.q_lin",
        "layers.{i}/attention/k": f"{_MODULE}.attention.k_lin",
        "layers.{i}/attention/v": f"{_MODULE}.attention.v_lin",
        "layers.{i}/attention/output": f"{_MODULE}.attention.out_lin",
        "layers.{i}/attention/norm": f"{_MODULE}.sa_layer_norm",
        "layers.{i}/mlp/up": f"{_MODULE}.ffn.lin1",
        "layers.{i}/mlp/activation": f"{_MODULE}.ffn.activation",
        "layers.{i}/mlp/down": f"{_MODULE}.ffn.lin2",
        "layers.{i}/output": _MODULE,
        "token_embeddings": _MODULE,
    },
    ignorable=(
        Ignorable(r"(distilbert\.)?embeddings\.position_ids", "made in the graph"),
        Ignorable(
            r"vocab_(transform|layer_norm|projector)\..*",
            "pretraining head; this task doesn't use it",
            unless=MASKED_HEAD,
        ),
    ),
    aliases=OLD_NORMS,
    copies=(("vocab_projector.weight", "embedding"),),
)
