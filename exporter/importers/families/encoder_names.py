"""What encoder families read and name alike: BERT's layers, and the configuration around them."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.importers.activation import ACTIVATIONS, Activation
from exporter.importers.config import ConfigReader
from exporter.importers.encoder_heads import HeadStyle, Slot

EMBEDDINGS = "{prefix}embeddings"
LAYER = "{prefix}encoder.layer.{i}"


def pairs(names: Mapping[str, str]) -> dict[str, str]:
    """Role → module as role → `module.weight`, and `role.bias` → `module.bias`."""
    return {
        f"{role}{ending}": f"{module}.{part}"
        for role, module in names.items()
        for ending, part in (("", "weight"), (".bias", "bias"))
    }


BERT_EMBEDDINGS = {
    "embedding": f"{EMBEDDINGS}.word_embeddings.weight",
    "embedding.position": f"{EMBEDDINGS}.position_embeddings.weight",
    "embedding.type": f"{EMBEDDINGS}.token_type_embeddings.weight",
    **pairs({"embedding.norm": f"{EMBEDDINGS}.LayerNorm"}),
}
BERT_ATTENTION = {
    "layers.{i}.attention.q": f"{LAYER}.attention.self.query",
    "layers.{i}.attention.k": f"{LAYER}.attention.self.key",
    "layers.{i}.attention.v": f"{LAYER}.attention.self.value",
}
BERT_LAYER = {
    "layers.{i}.attention.output": f"{LAYER}.attention.output.dense",
    "layers.{i}.attention.norm": f"{LAYER}.attention.output.LayerNorm",
    "layers.{i}.mlp.up": f"{LAYER}.intermediate.dense",
    "layers.{i}.mlp.down": f"{LAYER}.output.dense",
    "layers.{i}.mlp.norm": f"{LAYER}.output.LayerNorm",
}
BERT_NAMES = {**BERT_EMBEDDINGS, **pairs({**BERT_ATTENTION, **BERT_LAYER})}

MASKED_HEAD = "mask.norm"  # the role that only graphs with a fill-mask head have

# Heads of BERT and RoBERTa that others have too.
TOKEN_NAMES = pairs({"token.output": "classifier", "answer.output": "qa_outputs"})
BERT_MASK_NAMES = {
    **pairs({"mask.dense": "cls.predictions.transform.dense", "mask.norm": "cls.predictions.transform.LayerNorm"}),
    "mask.output": "cls.predictions.decoder.weight",
    "mask.output.bias": "cls.predictions.bias",
}
ROBERTA_HEAD_NAMES = {
    **pairs({"sequence.dense": "classifier.dense", "sequence.output": "classifier.out_proj"}),
    **TOKEN_NAMES,
    **pairs({"mask.dense": "lm_head.dense", "mask.norm": "lm_head.layer_norm"}),
    "mask.output": "lm_head.decoder.weight",
    "mask.output.bias": "lm_head.bias",
}
ROBERTA_HEADS: Mapping[Slot, HeadStyle] = {
    "sequence": HeadStyle("tanh"),
    "token": HeadStyle(),
    "mask": HeadStyle("gelu", norm=True),
    "answer": HeadStyle(),
}

_BERT_MODULE = "encoder.layer.{i}"
BERT_POINTS = {
    "embeddings/norm": "embeddings",
    "layers.{i}/attention/q": f"{_BERT_MODULE}.attention.self.query",
    "layers.{i}/attention/k": f"{_BERT_MODULE}.attention.self.key",
    "layers.{i}/attention/v": f"{_BERT_MODULE}.attention.self.value",
    "layers.{i}/attention/output": f"{_BERT_MODULE}.attention.output.dense",
    "layers.{i}/attention/norm": f"{_BERT_MODULE}.attention.output",
    "layers.{i}/mlp/up": f"{_BERT_MODULE}.intermediate.dense",
    "layers.{i}/mlp/activation": f"{_BERT_MODULE}.intermediate",
    "layers.{i}/mlp/down": f"{_BERT_MODULE}.output.dense",
    "layers.{i}/output": _BERT_MODULE,
    "token_embeddings": _BERT_MODULE,
}
# TensorFlow's names for the parts of a norm, in the oldest checkpoints.
OLD_NORMS = ((".LayerNorm.weight", ".LayerNorm.gamma"), (".LayerNorm.bias", ".LayerNorm.beta"))


def heads_of(sequence: Activation, mask: HeadStyle) -> dict[Slot, HeadStyle]:
    """BERT's heads: one layer each, but for these two."""
    return {"sequence": HeadStyle(sequence), "token": HeadStyle(), "answer": HeadStyle(), "mask": mask}


def hidden_and_heads(
    config: ConfigReader, hidden: str = "hidden_size", heads: str = "num_attention_heads"
) -> tuple[int, int]:
    """Both sizes; the heads must share the first evenly."""
    size, count = config.integer(hidden), config.integer(heads)
    if config.sound and size % count:
        config.invalid(heads, f"{count} doesn't divide {hidden}, {size}")
    return size, count


def activation(config: ConfigReader, key: str = "hidden_act", default: str = "gelu") -> Activation:
    """The activation under `key`, which is transformers' name for it."""
    return ACTIVATIONS[config.choice(key, default, list(ACTIVATIONS))]


def whole(config: ConfigReader, key: str, default: int) -> int:
    """A whole number that may be 0: a token id, or a number of types."""
    value = config.get(key)
    if value is None:
        return default
    if type(value) is int and 0 <= value < 2**31:
        return value
    config.invalid(key, "not a whole number from 0 on")
    return default


def only_an_encoder(config: ConfigReader) -> None:
    """Refuses what BERT's configuration can turn it into."""
    config.choice("position_embedding_type", "absolute", ["absolute"])
    config.refuse("is_decoder", [False], "only an encoder is")
    config.refuse("add_cross_attention", [False], "only an encoder is")


def counted_from(config: ConfigReader, positions: int, padding_id: int) -> int:
    """How many tokens have a position where the first one has `padding_id + 1`."""
    if positions <= padding_id + 1:
        config.invalid("max_position_embeddings", f"{positions}, and the first position is {padding_id + 1}")
    return max(positions - padding_id - 1, 1)
