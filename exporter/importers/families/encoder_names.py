"""Tensor names and settings that several encoder families share: BERT's layers and heads."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.importers.activation import ACTIVATIONS, Activation
from exporter.importers.config import ConfigReader
from exporter.importers.encoder_heads import HeadStyle, Slot

EMBEDDINGS = "{prefix}embeddings"
LAYER = "{prefix}encoder.layer.{i}"


def weights_and_biases(names: Mapping[str, str]) -> dict[str, str]:
    """role → `module.weight` and `role.bias` → `module.bias`. names: role → module."""
    return {
        f"{role}{ending}": f"{module}.{part}"
        for role, module in names.items()
        for ending, part in (("", "weight"), (".bias", "bias"))
    }


BERT_EMBEDDINGS = {
    "embedding": f"{EMBEDDINGS}.word_embeddings.weight",
    "embedding.position": f"{EMBEDDINGS}.position_embeddings.weight",
    "embedding.type": f"{EMBEDDINGS}.token_type_embeddings.weight",
    **weights_and_biases({"embedding.norm": f"{EMBEDDINGS}.LayerNorm"}),
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
BERT_NAMES = {**BERT_EMBEDDINGS, **weights_and_biases({**BERT_ATTENTION, **BERT_LAYER})}

MASKED_HEAD = "mask.norm"  # a role of graphs with a fill-mask head only

# Heads of BERT and RoBERTa that other families have too.
TOKEN_NAMES = weights_and_biases({"token.output": "classifier", "answer.output": "qa_outputs"})
BERT_MASK_NAMES = {
    **weights_and_biases(
        {"mask.dense": "cls.predictions.transform.dense", "mask.norm": "cls.predictions.transform.LayerNorm"}
    ),
    "mask.output": "cls.predictions.decoder.weight",
    "mask.output.bias": "cls.predictions.bias",
}
ROBERTA_HEAD_NAMES = {
    **weights_and_biases({"sequence.dense": "classifier.dense", "sequence.output": "classifier.out_proj"}),
    **TOKEN_NAMES,
    **weights_and_biases({"mask.dense": "lm_head.dense", "mask.norm": "lm_head.layer_norm"}),
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
    """BERT's heads: a single layer each, except sequence classification (activation) and fill-mask (style)."""
    return {"sequence": HeadStyle(sequence), "token": HeadStyle(), "answer": HeadStyle(), "mask": mask}


def hidden_and_heads(
    config: ConfigReader, hidden: str = "hidden_size", heads: str = "num_attention_heads"
) -> tuple[int, int]:
    """Both sizes; the number of heads must divide the hidden size."""
    size, count = config.integer(hidden), config.integer(heads)
    if config.valid and size % count:
        config.invalid(heads, f"{count} doesn't divide {hidden}, {size}")
    return size, count


def activation(config: ConfigReader, key: str = "hidden_act", default: str = "gelu") -> Activation:
    """The activation under `key`, by transformers' name."""
    return ACTIVATIONS[config.choice(key, default, list(ACTIVATIONS))]


def read_whole(config: ConfigReader, key: str, default: int) -> int:
    """A whole number from 0 on: a token id, or a number of types."""
    value = config.get(key)
    if value is None:
        return default
    if type(value) is int and 0 <= value < 2**31:
        return value
    config.invalid(key, "must be a whole number of at least 0")
    return default


def refuse_decoder_settings(config: ConfigReader) -> None:
    """Records a problem for settings that make a decoder of a BERT."""
    config.choice("position_embedding_type", "absolute", ["absolute"])
    config.refuse("is_decoder", [False], "only encoders of this family are supported")
    config.refuse("add_cross_attention", [False], "only encoders of this family are supported")


def usable_positions(config: ConfigReader, positions: int, padding_id: int) -> int:
    """The longest sequence if the first token has position `padding_id + 1`. positions: rows of the table."""
    if positions <= padding_id + 1:
        config.invalid("max_position_embeddings", f"is {positions}, but the first token has position {padding_id + 1}")
    return max(positions - padding_id - 1, 1)
