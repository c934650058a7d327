"""ALBERT, whose layers share their weights.

Source: `modeling_albert.py` and `configuration_albert.py` of transformers.
"""

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
    refuse_decoder_settings,
    weights_and_biases,
)
from exporter.importers.family import Family, Ignorable

_GROUP = "{prefix}encoder.albert_layer_groups.{i}.albert_layers.0"


def layout(config: ConfigReader) -> EncoderLayout:
    """The encoder's layout, without sentence-transformers' modules."""
    hidden, heads = hidden_and_heads(config)
    refuse_decoder_settings(config)
    config.refuse("inner_group_num", [1], "only one layer in each group is supported")
    layers, groups = config.integer("num_hidden_layers"), config.integer("num_hidden_groups", 1)
    if config.valid and layers % groups:
        config.invalid("num_hidden_groups", f"{groups} doesn't divide num_hidden_layers, {layers}")
    width, positions = config.integer("embedding_size", 128), config.integer("max_position_embeddings", 512)
    act = activation(config, default="gelu_new")
    return EncoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=config.integer("intermediate_size"),
        layers=layers,
        stored_layers=groups,
        heads=heads,
        norm_eps=config.number("layer_norm_eps", 1e-12, maximum=1.0),
        activation=act,
        inputs=InputLayout(width, positions, types=config.integer("type_vocab_size", 2), projection="after norm"),
        longest=positions,
        context=positions,
        head=read_head(config, "Albert", heads_of("tanh", HeadStyle(act, norm=True, width=width))),
    )


FAMILY = Family(
    model_type="albert",
    architectures=(*encoder_classes("Albert"), "AlbertForPreTraining"),
    layout=layout,
    prefixes=("", "albert."),
    names={
        **BERT_EMBEDDINGS,
        **weights_and_biases(
            {
                "embedding.projection": "{prefix}encoder.embedding_hidden_mapping_in",
                "layers.{i}.attention.q": f"{_GROUP}.attention.query",
                "layers.{i}.attention.k": f"{_GROUP}.attention.key",
                "layers.{i}.attention.v": f"{_GROUP}.attention.value",
                "layers.{i}.attention.output": f"{_GROUP}.attention.dense",
                "layers.{i}.attention.norm": f"{_GROUP}.attention.LayerNorm",
                "layers.{i}.mlp.up": f"{_GROUP}.ffn",
                "layers.{i}.mlp.down": f"{_GROUP}.ffn_output",
                "layers.{i}.mlp.norm": f"{_GROUP}.full_layer_layer_norm",
                "sequence.dense": "{prefix}pooler",
                "sequence.output": "classifier",
                "mask.dense": "predictions.dense",
                "mask.norm": "predictions.LayerNorm",
            }
        ),
        "mask.output": "predictions.decoder.weight",
        "mask.output.bias": "predictions.bias",
        **TOKEN_NAMES,
    },
    # Layers that share a module run it several times, and only its last output can be observed.
    points={
        "embeddings/norm": "embeddings",
        "embeddings/projection": "encoder.embedding_hidden_mapping_in",
        "token_embeddings": "encoder",
    },
    ignorable=(
        Ignorable(r"(albert\.)?embeddings\.position_ids", "made in the graph"),
        Ignorable(r"(albert\.)?pooler\.(weight|bias)", "trained for sentence order; this task doesn't use it"),
        Ignorable(r"sop_classifier\..*", "pretraining head; this task doesn't use it"),
        Ignorable(r"predictions\..*", "pretraining head; this task doesn't use it", unless=MASKED_HEAD),
    ),
    aliases=(*OLD_NORMS, ("predictions.bias", "predictions.decoder.bias")),
    copies=(("predictions.decoder.weight", "embedding"), ("predictions.decoder.bias", "mask.output.bias")),
)
