"""The modules that sentence-transformers runs after a model: pooling, dense layers, normalization, truncation.

Source: the modules `Pooling`, `Dense` and `Normalize` of sentence-transformers, and `SentenceTransformer.encode`, which
truncates last and doesn't normalize again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import onnx_ir as ir

from exporter.checkpoint.sentence import SentenceModules
from exporter.checkpoint.sentence_dense import SentenceDense
from exporter.graph.model import EncoderSpec, Pooling
from exporter.importers.activation import Activation, activate
from exporter.importers.config import ConfigReader
from exporter.importers.parts import MASKED, LayerBuilder, NamedTensor

# torch clamps the norm at 1e-12, which is 0 in fp16. 1e-7 isn't 0, and embeddings of real sentences are longer.
_MIN_NORM = 1e-7
DENSE_ACTIVATIONS: Mapping[str, Activation | None] = {  # torch's class name
    "Identity": None,
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
}
_POOLINGS: Mapping[str, Pooling] = {pooling: pooling for pooling in get_args(Pooling)}


@dataclass(frozen=True)
class Sentence:
    """What is computed from token embeddings.

    pooling: None if there is no sentence embedding. dense: layers after the pooling. normalize: to L2 norm 1.
    truncate: how many elements of the result are kept, None for all.
    """

    pooling: Pooling | None
    dense: tuple[SentenceDense, ...] = ()
    normalize: bool = False
    truncate: int | None = None

    def width(self, hidden: int) -> int:
        """Elements of the sentence embedding of a model with `hidden` elements for each token."""
        whole = self.dense[-1].out_features if self.dense else hidden
        return whole if self.truncate is None else min(whole, self.truncate)


@dataclass(frozen=True)
class Tokens:
    """A model's output and what pooling needs to know about it.

    embeddings: float32 `[batch, sequence, hidden]`. real: 1 for tokens, 0 for padding, float32 `[batch, sequence]`.
    places: int64 `[sequence]`, or `[batch, sequence]` where padding may come first. context: places are below this.
    padded_first: whether padding may come before a text.
    """

    embeddings: ir.Value
    real: ir.Value
    hidden: int
    context: int
    places: ir.Value | None = None
    padded_first: bool = False


def read_modules(modules: SentenceModules, config: ConfigReader, hidden: int) -> Sentence:
    """The modules as Kogata builds them. Records in `config` everything that can't be built, by the module's name.

    hidden: elements of a token's embedding.
    """
    for what in modules.unsupported:
        config.unsupported("modules.json", f"{what} is not supported")
    if modules.pooling is not None and modules.pooling not in _POOLINGS:
        hint = f"supported: {', '.join(_POOLINGS)}"
        config.unsupported("modules.json", f"pooling by {modules.pooling!r} is not supported", hint)
    if modules.pooling is None and not modules.unsupported:
        if modules.normalize:
            config.unsupported("modules.json", "normalization without pooling is not supported")
        if modules.dense:
            config.unsupported("modules.json", "a dense layer without pooling is not supported")
    width = hidden
    for module in modules.dense:
        if module.activation not in DENSE_ACTIVATIONS:
            hint = f"supported: {', '.join(DENSE_ACTIVATIONS)}"
            config.unsupported("modules.json", f"a dense layer with {module.activation} is not supported", hint)
        if module.in_features != width:
            config.invalid("modules.json", f"{module.path} reads {module.in_features} elements and gets {width}")
        width = module.out_features
    pooling = _POOLINGS.get(modules.pooling or "")
    return Sentence(pooling, modules.dense, modules.normalize, modules.truncate)


def sentence_weights(modules: Sequence[SentenceDense]) -> dict[str, NamedTensor]:
    """Weight role → tensor, with names as in the files: `2_Dense/linear.weight`."""
    return {
        f"dense.{i}{role}": NamedTensor(f"{module.path}/linear.{name}", module.tensors[f"linear.{name}"])
        for i, module in enumerate(modules)
        for role, name in (("", "weight"), (".bias", "bias"))
        if f"linear.{name}" in module.tensors
    }


def embedding_spec(
    vocab_size: int, hidden: int, context: int, sentence: Sentence | None, rope_switch: int | None = None
) -> EncoderSpec:
    """The spec of a graph with the outputs that `build_embeddings` makes."""
    sentence = sentence or Sentence(None)
    return EncoderSpec(vocab_size, hidden, context, sentence.pooling, sentence.normalize, rope_switch=rope_switch)


def build_embeddings(layers: LayerBuilder, sentence: Sentence | None, tokens: Tokens) -> None:
    """Adds the outputs `token_embeddings` and, with pooling, `sentence_embedding`."""
    b = layers.builder
    b.output(tokens.embeddings, "token_embeddings", ir.DataType.FLOAT, ["batch_size", "sequence", tokens.hidden])
    if sentence is None or sentence.pooling is None:
        return
    with b.scope("pooling"):
        vector = build_sentence(layers, sentence, tokens)
    b.output(vector, "sentence_embedding", ir.DataType.FLOAT, ["batch_size", sentence.width(tokens.hidden)])


def build_sentence(layers: LayerBuilder, sentence: Sentence, tokens: Tokens) -> ir.Value:
    """Builds the sentence embedding `[batch, sentence.width(hidden)]`."""
    b = layers.builder
    if sentence.pooling == "cls" and not tokens.padded_first:
        vector = first_token(layers, tokens.embeddings, tokens.hidden)
    elif sentence.pooling == "max":
        vector = _largest(layers, tokens.embeddings, tokens.real)
    else:
        vector = _pooled(layers, tokens.embeddings, _shares(layers, sentence.pooling, tokens), tokens.hidden)
    for i, module in enumerate(sentence.dense):
        vector = layers.linear(vector, f"dense.{i}", f"dense.{i}")
        kind = DENSE_ACTIVATIONS[module.activation]
        vector = vector if kind is None else activate(b, vector, kind, f"dense.{i}/activation")
    if sentence.normalize:
        norm = b.op("ReduceL2", vector, layers.integers(1), keepdims=1, name="norm")
        length = b.op("Clip", norm, layers.scalar(_MIN_NORM, "pooling/shortest"), name="length")
        vector = b.op("Div", vector, length, name="unit")
    width = sentence.width(tokens.hidden)
    if width == Sentence(None, sentence.dense).width(tokens.hidden):
        return vector
    return b.op("Slice", vector, layers.integers(0), layers.integers(width), layers.integers(1), name="truncated")


def first_token(layers: LayerBuilder, tokens: ir.Value, width: int) -> ir.Value:
    """The first token's vector, `[batch, width]`."""
    zero, one = layers.integers(0), layers.integers(1)
    first = layers.builder.op("Slice", tokens, zero, one, one, name="cls")
    return layers.builder.op("Reshape", first, layers.integers(-1, width), name="vector")


def mean_token(layers: LayerBuilder, tokens: ir.Value, real: ir.Value, width: int) -> ir.Value:
    """The mean of the real tokens, `[batch, width]`."""
    return _pooled(layers, tokens, _mean(layers, real), width)


def _pooled(layers: LayerBuilder, tokens: ir.Value, shares: ir.Value, width: int) -> ir.Value:
    """The sum of tokens times shares `[batch, sequence]`. Weighting before summing keeps long texts in fp16's range."""
    b = layers.builder
    mean = b.op("MatMul", b.op("Unsqueeze", shares, layers.integers(1), name="row"), tokens, name="mean")
    return b.op("Reshape", mean, layers.integers(-1, width), name="vector")


def _mean(layers: LayerBuilder, real: ir.Value) -> ir.Value:
    return layers.builder.op("Div", real, _count(layers, real), name="share")


def _shares(layers: LayerBuilder, pooling: Pooling | None, tokens: Tokens) -> ir.Value:
    """Each token's weight in the sentence embedding, `[batch, sequence]`."""
    real = tokens.real
    match pooling:
        case "mean_sqrt_len":
            root = layers.builder.op("Sqrt", _count(layers, real), name="root")
            return layers.builder.op("Div", real, root, name="share")
        case "weightedmean":
            return _weighted(layers, tokens)
        case "cls":
            return _nth(layers, real, first=True)
        case "lasttoken":
            return _nth(layers, real, first=False)
        case _:
            return _mean(layers, real)


def _weighted(layers: LayerBuilder, tokens: Tokens) -> ir.Value:
    """Weights 1, 2, 3, … by position, divided by the context so that their sum stays in fp16's range."""
    b, real, context = layers.builder, tokens.real, tokens.context
    weights = b.const((np.arange(1, context + 1) / context).astype(np.float32), "pooling/weights")
    places = tokens.places or layers.range(layers.size(real, 1, "length"), "places")
    weighted = b.op("Mul", real, b.op("Gather", weights, places, axis=0, name="weights"), name="weighted")
    total = b.op("ReduceSum", weighted, layers.integers(1), keepdims=1, name="total")
    least = layers.scalar(1 / context, "pooling/least")
    return b.op("Div", weighted, b.op("Clip", total, least, name="at_least"), name="share")


def _nth(layers: LayerBuilder, real: ir.Value, *, first: bool) -> ir.Value:
    """1 for the first or the last real token, wherever the padding is."""
    b = layers.builder
    whole = b.op("Cast", real, to=int(ir.DataType.INT64), name="whole")
    reached = b.op("CumSum", whole, layers.integer(1), name="reached")
    count = layers.integer(1) if first else b.op("ReduceSum", whole, layers.integers(1), keepdims=1, name="count")
    last = b.op("Cast", b.op("Equal", reached, count, name="end"), to=int(ir.DataType.FLOAT), name="behind")
    return b.op("Mul", last, real, name="share")  # padding after that token has the same running count


def _largest(layers: LayerBuilder, tokens: ir.Value, real: ir.Value) -> ir.Value:
    b = layers.builder
    absent = b.op("Sub", layers.scalar(1.0, "one"), real, name="absent")
    score = b.op("Mul", absent, layers.scalar(MASKED, "mask/masked"), name="score")
    seen = b.op("Add", tokens, b.op("Unsqueeze", score, layers.integers(2), name="column"), name="seen")
    return b.op("ReduceMax", seen, layers.integers(1), keepdims=0, name="vector")


def _count(layers: LayerBuilder, real: ir.Value) -> ir.Value:
    count = layers.builder.op("ReduceSum", real, layers.integers(1), keepdims=1, name="count")
    return layers.builder.op("Clip", count, layers.scalar(1.0, "one"), name="at_least_one")
