"""MPNet. Source: `modeling_mpnet.py` and `configuration_mpnet.py` of transformers."""

from __future__ import annotations

from exporter.importers.config import ConfigReader
from exporter.importers.encoder import EncoderLayout
from exporter.importers.encoder_heads import encoder_classes, read_head
from exporter.importers.encoder_layout import InputLayout
from exporter.importers.families.encoder_names import (
    BERT_EMBEDDINGS,
    BERT_LAYER,
    BERT_POINTS,
    LAYER,
    MASKED_HEAD,
    OLD_NORMS,
    ROBERTA_HEAD_NAMES,
    ROBERTA_HEADS,
    activation,
    hidden_and_heads,
    usable_positions,
    weights_and_biases,
)
from exporter.importers.family import Family, Ignorable
from exporter.importers.relative import Buckets

_PADDING = 1  # transformers' class counts positions from it and ignores pad_token_id
_BUCKETS = 32  # transformers' class uses this number and ignores relative_attention_num_buckets


def layout(config: ConfigReader) -> EncoderLayout:
    """The encoder's layout, without sentence-transformers' modules."""
    hidden, heads = hidden_and_heads(config)
    positions = config.integer("max_position_embeddings", 512)
    if config.integer("relative_attention_num_buckets", _BUCKETS) != _BUCKETS:
        config.unsupported(
            "relative_attention_num_buckets", f"only {_BUCKETS} is supported, the number that transformers uses"
        )
    longest = usable_positions(config, positions, _PADDING)
    return EncoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=config.integer("intermediate_size"),
        layers=config.integer("num_hidden_layers"),
        heads=heads,
        norm_eps=config.number("layer_norm_eps", 1e-12, maximum=1.0),
        activation=activation(config),
        inputs=InputLayout(hidden, positions, _PADDING),
        longest=longest,
        context=longest,
        relative=Buckets(_BUCKETS),
        head=read_head(config, "MPNet", ROBERTA_HEADS),
    )


_MODULE = "encoder.layer.{i}.attention"
_ATTENTION = {
    "layers.{i}.attention.q": f"{LAYER}.attention.attn.q",
    "layers.{i}.attention.k": f"{LAYER}.attention.attn.k",
    "layers.{i}.attention.v": f"{LAYER}.attention.attn.v",
}
_OUTPUT = {
    "layers.{i}.attention.output": f"{LAYER}.attention.attn.o",
    "layers.{i}.attention.norm": f"{LAYER}.attention.LayerNorm",
}

FAMILY = Family(
    model_type="mpnet",
    architectures=encoder_classes("MPNet"),
    layout=layout,
    prefixes=("", "mpnet."),
    names={
        **BERT_EMBEDDINGS,
        **weights_and_biases({**BERT_LAYER, **_ATTENTION, **_OUTPUT}),
        "relative": "{prefix}encoder.relative_attention_bias.weight",
        **ROBERTA_HEAD_NAMES,
    },
    points={
        **BERT_POINTS,
        "layers.{i}/attention/q": f"{_MODULE}.attn.q",
        "layers.{i}/attention/k": f"{_MODULE}.attn.k",
        "layers.{i}/attention/v": f"{_MODULE}.attn.v",
        "layers.{i}/attention/output": f"{_MODULE}.attn.o",
        "layers.{i}/attention/norm": _MODULE,
    },
    ignorable=(
        Ignorable(r"(mpnet\.)?embeddings\.position_ids", "made in the graph"),
        Ignorable(r"(mpnet\.)?pooler\.dense\.(weight|bias)", "no task uses it"),
        Ignorable(r"lm_head\..*", "pretraining head; this task doesn't use it", unless=MASKED_HEAD),
    ),
    aliases=(*OLD_NORMS, ("lm_head.bias", "lm_head.decoder.bias")),
    copies=(("lm_head.decoder.weight", "embedding"), ("lm_head.decoder.bias", "mask.output.bias")),
)
