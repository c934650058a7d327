"""DeBERTa-v2 and v3, mDeBERTa. Source: `modeling_deberta_v2.py` of transformers (arXiv 2006.03654, 2111.09543)."""

from __future__ import annotations

from exporter.importers.config import ConfigReader
from exporter.importers.encoder import EncoderLayout
from exporter.importers.encoder_heads import HeadStyle, encoder_classes, read_head
from exporter.importers.encoder_layout import InputLayout
from exporter.importers.families.encoder_names import (
    BERT_EMBEDDINGS,
    BERT_LAYER,
    BERT_MASK_NAMES,
    BERT_POINTS,
    EMBEDDINGS,
    LAYER,
    MASKED_HEAD,
    OLD_NORMS,
    TOKEN_NAMES,
    activation,
    heads_of,
    hidden_and_heads,
    read_whole,
    weights_and_biases,
)
from exporter.importers.family import Family, Ignorable
from exporter.importers.relative import Disentangled


def layout(config: ConfigReader) -> EncoderLayout:
    """The encoder's layout, without sentence-transformers' modules."""
    hidden, heads = hidden_and_heads(config)
    config.refuse("conv_kernel_size", [0], "a convolution after the first layer is not supported")
    config.refuse("attention_head_size", [hidden // heads], "all heads together must have hidden_size elements")
    config.refuse("pooler_hidden_size", [hidden], "the pooler must have the encoder's width")
    positions = config.integer("max_position_embeddings", 512)
    width, eps = config.integer("embedding_size", hidden), config.number("layer_norm_eps", 1e-7, maximum=1.0)
    act = activation(config)
    masked = config.flag("legacy", True)
    head = read_head(
        config, "DebertaV2", heads_of(activation(config, "pooler_hidden_act"), HeadStyle(act, norm=True, width=width))
    )
    if head is not None and head.slot == "mask" and not masked:
        config.unsupported("legacy", "fill-mask with DeBERTa-v3's pretraining head is not supported")
    return EncoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=config.integer("intermediate_size"),
        layers=config.integer("num_hidden_layers"),
        heads=heads,
        norm_eps=eps,
        activation=act,
        inputs=InputLayout(
            width,
            positions if config.flag("position_biased_input", True) else 0,
            types=read_whole(config, "type_vocab_size", 0),
            projection="before norm" if width != hidden else None,
        ),
        longest=positions,
        context=positions,
        relative=_relative(config, positions, eps),
        head=head,
    )


def _relative(config: ConfigReader, positions: int, eps: float) -> Disentangled:
    if not config.flag("relative_attention", False):
        config.unsupported("relative_attention", "only true is supported")
    stated = config.get("pos_att_type")
    kinds = [kind.strip() for kind in stated.lower().split("|")] if isinstance(stated, str) else stated or []
    if not isinstance(kinds, list) or not kinds or not set(kinds) <= {"c2p", "p2c"}:
        config.unsupported("pos_att_type", "supported: c2p, p2c, or both")
        kinds = ["c2p"]
    buckets, distance = (_size(config, key) for key in ("position_buckets", "max_relative_positions"))
    norms = config.get("norm_rel_ebd")
    return Disentangled(
        rows_each_way=buckets or distance or positions,
        buckets=buckets,
        distance=distance or positions,
        kinds=frozenset(kinds),
        shared=config.flag("share_att_key", False),
        norm=isinstance(norms, str) and "layer_norm" in [norm.strip() for norm in norms.lower().split("|")],
        norm_eps=eps,
    )


def _size(config: ConfigReader, key: str) -> int:
    """The size under `key`; 0 if it is absent or -1, which means none."""
    value = config.get(key)
    return 0 if value in (None, -1, 0) else config.integer(key, maximum=1 << 20)


_ATTENTION = {
    "layers.{i}.attention.q": f"{LAYER}.attention.self.query_proj",
    "layers.{i}.attention.k": f"{LAYER}.attention.self.key_proj",
    "layers.{i}.attention.v": f"{LAYER}.attention.self.value_proj",
    "layers.{i}.attention.position_k": f"{LAYER}.attention.self.pos_key_proj",
    "layers.{i}.attention.position_q": f"{LAYER}.attention.self.pos_query_proj",
}
_MODULE = "encoder.layer.{i}.attention.self"

FAMILY = Family(
    model_type="deberta-v2",
    architectures=encoder_classes("DebertaV2"),
    layout=layout,
    prefixes=("", "deberta."),
    names={
        **BERT_EMBEDDINGS,
        "embedding.projection": f"{EMBEDDINGS}.embed_proj.weight",
        **weights_and_biases({**_ATTENTION, **BERT_LAYER, "relative.norm": "{prefix}encoder.LayerNorm"}),
        "relative": "{prefix}encoder.rel_embeddings.weight",
        **weights_and_biases({"sequence.dense": "pooler.dense", "sequence.output": "classifier"}),
        **TOKEN_NAMES,
        **BERT_MASK_NAMES,
    },
    points={
        **BERT_POINTS,
        "layers.{i}/attention/q": f"{_MODULE}.query_proj",
        "layers.{i}/attention/k": f"{_MODULE}.key_proj",
        "layers.{i}/attention/v": f"{_MODULE}.value_proj",
    },
    ignorable=(
        Ignorable(r"(deberta\.)?embeddings\.(position_ids|position_embeddings\.weight)", "the model doesn't use it"),
        Ignorable(r"(lm_predictions|mask_predictions)\..*", "pretraining head; this task doesn't use it"),
        Ignorable(r"cls\..*", "pretraining head; this task doesn't use it", unless=MASKED_HEAD),
    ),
    aliases=(*OLD_NORMS, (".predictions.bias", ".predictions.decoder.bias")),
    copies=(("cls.predictions.decoder.weight", "embedding"), ("cls.predictions.decoder.bias", "mask.output.bias")),
)
