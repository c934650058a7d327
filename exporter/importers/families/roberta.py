"""RoBERTa and families with its architecture: XLM-RoBERTa, CamemBERT, data2vec's text model.

Source: `modeling_roberta.py`, `modeling_xlm_roberta.py`, `modeling_camembert.py` and `modeling_data2vec_text.py` of
transformers. Positions start after the padding's id; padding has no position.
"""

from __future__ import annotations

from exporter.importers.config import ConfigReader
from exporter.importers.encoder import EncoderLayout
from exporter.importers.encoder_heads import encoder_classes, read_head
from exporter.importers.encoder_layout import InputLayout
from exporter.importers.families.encoder_names import (
    BERT_NAMES,
    BERT_POINTS,
    MASKED_HEAD,
    OLD_NORMS,
    ROBERTA_HEAD_NAMES,
    ROBERTA_HEADS,
    activation,
    hidden_and_heads,
    read_whole,
    refuse_decoder_settings,
    usable_positions,
)
from exporter.importers.family import Family, Ignorable


def _layout(config: ConfigReader, classes: str) -> EncoderLayout:
    hidden, heads = hidden_and_heads(config)
    refuse_decoder_settings(config)
    positions, padding = config.integer("max_position_embeddings", 512), read_whole(config, "pad_token_id", 1)
    longest = usable_positions(config, positions, padding)
    return EncoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=config.integer("intermediate_size"),
        layers=config.integer("num_hidden_layers"),
        heads=heads,
        norm_eps=config.number("layer_norm_eps", 1e-12, maximum=1.0),
        activation=activation(config),
        inputs=InputLayout(hidden, positions, padding, config.integer("type_vocab_size", 2)),
        longest=longest,
        context=longest,
        head=read_head(config, classes, ROBERTA_HEADS),
    )


def _family(model_type: str, classes: str, prefix: str) -> Family:
    return Family(
        model_type=model_type,
        architectures=encoder_classes(classes),
        layout=lambda config: _layout(config, classes),
        prefixes=("", prefix),
        names={**BERT_NAMES, **ROBERTA_HEAD_NAMES},
        points=BERT_POINTS,
        ignorable=(
            Ignorable(r"(\w+\.)?embeddings\.position_ids", "made in the graph"),
            Ignorable(r"(\w+\.)?pooler\.dense\.(weight|bias)", "no task uses it"),
            Ignorable(r"lm_head\..*", "pretraining head; this task doesn't use it", unless=MASKED_HEAD),
        ),
        aliases=(*OLD_NORMS, ("lm_head.bias", "lm_head.decoder.bias")),
        copies=(("lm_head.decoder.weight", "embedding"), ("lm_head.decoder.bias", "mask.output.bias")),
    )


FAMILY = _family("roberta", "Roberta", "roberta.")
XLM_ROBERTA = _family("xlm-roberta", "XLMRoberta", "roberta.")
CAMEMBERT = _family("camembert", "Camembert", "roberta.")
DATA2VEC_TEXT = _family("data2vec-text", "Data2VecText", "data2vec_text.")
