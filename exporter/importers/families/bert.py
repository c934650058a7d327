"""BERT and models with its architecture: MiniLM, BGE, E5, GTE (v1) and others.

Source: `modeling_bert.py` and `configuration_bert.py` of transformers.
Absent keys have the same defaults here, except sizes, which are required.
"""

from __future__ import annotations

from exporter.importers.config import ConfigReader
from exporter.importers.encoder import EncoderLayout
from exporter.importers.encoder_heads import HeadStyle, encoder_classes, read_head
from exporter.importers.encoder_layout import InputLayout
from exporter.importers.families.encoder_names import (
    BERT_MASK_NAMES,
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
    positions = config.integer("max_position_embeddings", 512)
    act = activation(config)
    return EncoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=config.integer("intermediate_size"),
        layers=config.integer("num_hidden_layers"),
        heads=heads,
        norm_eps=config.number("layer_norm_eps", 1e-12, maximum=1.0),
        activation=act,
        inputs=InputLayout(hidden, positions, types=config.integer("type_vocab_size", 2)),
        longest=positions,
        context=positions,
        head=read_head(config, "Bert", heads_of("tanh", HeadStyle(act, norm=True))),
    )


FAMILY = Family(
    model_type="bert",
    architectures=(*encoder_classes("Bert"), "BertForPreTraining"),
    layout=layout,
    prefixes=("", "bert."),
    names={
        **BERT_NAMES,
        **weights_and_biases({"sequence.dense": "{prefix}pooler.dense", "sequence.output": "classifier"}),
        **TOKEN_NAMES,
        **BERT_MASK_NAMES,
    },
    points=BERT_POINTS,
    ignorable=(
        Ignorable(r"(bert\.)?embeddings\.position_ids", "0, 1, 2, …: made in the graph"),
        Ignorable(
            r"(bert\.)?pooler\.dense\.(weight|bias)", "trained for next-sentence prediction; this task doesn't use it"
        ),
        Ignorable(r"cls\.seq_relationship\..*", "pretraining head; this task doesn't use it"),
        Ignorable(r"cls\.predictions\..*", "pretraining head; this task doesn't use it", unless=MASKED_HEAD),
    ),
    aliases=(*OLD_NORMS, (".predictions.bias", ".predictions.decoder.bias")),
    copies=(
        ("cls.predictions.decoder.weight", "embedding"),
        ("cls.predictions.decoder.bias", "mask.output.bias"),
    ),
)
