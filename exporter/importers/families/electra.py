"""ELECTRA. Source: `modeling_electra.py` and `configuration_electra.py` of transformers."""

from __future__ import annotations

from exporter.importers.config import ConfigReader
from exporter.importers.encoder import EncoderLayout
from exporter.importers.encoder_heads import HeadStyle, encoder_classes, read_head
from exporter.importers.encoder_layout import InputLayout
from exporter.importers.families.encoder_names import (
    BERT_NAMES,
    BERT_POINTS,
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


def layout(config: ConfigReader) -> EncoderLayout:
    """The encoder's layout, without sentence-transformers' modules."""
    hidden, heads = hidden_and_heads(config)
    refuse_decoder_settings(config)
    width, positions = config.integer("embedding_size", 128), config.integer("max_position_embeddings", 512)
    types = config.integer("type_vocab_size", 2)
    return EncoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=config.integer("intermediate_size"),
        layers=config.integer("num_hidden_layers"),
        heads=heads,
        norm_eps=config.number("layer_norm_eps", 1e-12, maximum=1.0),
        activation=activation(config),
        inputs=InputLayout(width, positions, types=types, projection="after norm" if width != hidden else None),
        longest=positions,
        context=positions,
        head=read_head(config, "Electra", heads_of("gelu", HeadStyle("gelu", norm=True, width=width))),
    )


FAMILY = Family(
    model_type="electra",
    architectures=(*encoder_classes("Electra"), "ElectraForPreTraining"),
    layout=layout,
    prefixes=("", "electra."),
    names={
        **BERT_NAMES,
        **weights_and_biases(
            {
                "embedding.projection": "{prefix}embeddings_project",
                "sequence.dense": "classifier.dense",
                "sequence.output": "classifier.out_proj",
                "mask.dense": "generator_predictions.dense",
                "mask.norm": "generator_predictions.LayerNorm",
                "mask.output": "generator_lm_head",
            }
        ),
        **TOKEN_NAMES,
    },
    points={**BERT_POINTS, "embeddings/projection": "embeddings_project"},
    ignorable=(
        Ignorable(r"(electra\.)?embeddings\.position_ids", "made in the graph"),
        Ignorable(r"discriminator_predictions\..*", "pretraining head; this task doesn't use it"),
        Ignorable(
            r"generator_(predictions|lm_head)\..*", "pretraining head; this task doesn't use it", unless=MASKED_HEAD
        ),
    ),
    aliases=OLD_NORMS,
    copies=(("generator_lm_head.weight", "embedding"),),
)
