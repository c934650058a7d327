"""The modules that sentence-transformers runs after an encoder: pooling, dense layers, normalization.

Source: the modules `Pooling`, `Dense` and `Normalize` of sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from exporter.checkpoint.sentence import SentenceDense
from exporter.importers.activation import Activation, activate
from exporter.importers.parts import MASKED, LayerBuilder, NamedTensor

if TYPE_CHECKING:
    from exporter.importers.encoder_layout import EncoderLayout

# torch clamps the norm at 1e-12, which is 0 in fp16. 1e-7 isn't 0, and embeddings of real sentences are longer.
_MIN_NORM = 1e-7
DENSE_ACTIVATIONS: Mapping[str, Activation | None] = {  # torch's class name
    "Identity": None,
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
}


def sentence_weights(modules: Sequence[SentenceDense]) -> dict[str, NamedTensor]:
    """Weight role → tensor, with names as in the files: `2_Dense/linear.weight`."""
    return {
        f"dense.{i}{role}": NamedTensor(f"{module.path}/linear.{name}", module.tensors[f"linear.{name}"])
        for i, module in enumerate(modules)
        for role, name in (("", "weight"), (".bias", "bias"))
        if f"linear.{name}" in module.tensors
    }


def build_sentence(
    layers: LayerBuilder, layout: EncoderLayout, tokens: ir.Value, real: ir.Value
) -> tuple[ir.Value, int]:
    """Builds the sentence embedding `[batch, width]`. Returns its value and its width.

    tokens: `[batch, sequence, hidden]`. real: 1 for tokens, 0 for padding, float32 `[batch, sequence]`.
    """
    b, width = layers.builder, layout.hidden_size
    if layout.pooling == "cls":
        vector = first_token(layers, tokens, width)
    elif layout.pooling == "max":
        vector = _largest(layers, tokens, real)
    else:
        vector = _pooled(layers, tokens, _shares(layers, layout, real), width)
    for i, module in enumerate(layout.dense):
        vector = layers.linear(vector, f"dense.{i}", f"dense.{i}")
        kind = DENSE_ACTIVATIONS[module.activation]
        vector = vector if kind is None else activate(b, vector, kind, f"dense.{i}/activation")
        width = module.out_features
    if not layout.normalize:
        return vector, width
    norm = b.op("ReduceL2", vector, layers.integers(1), keepdims=1, name="norm")
    length = b.op("Clip", norm, layers.scalar(_MIN_NORM, "pooling/shortest"), name="length")
    return b.op("Div", vector, length, name="unit"), width


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


def _shares(layers: LayerBuilder, layout: EncoderLayout, real: ir.Value) -> ir.Value:
    """Each token's weight in the sentence embedding, `[batch, sequence]`."""
    match layout.pooling:
        case "mean_sqrt_len":
            root = layers.builder.op("Sqrt", _count(layers, real), name="root")
            return layers.builder.op("Div", real, root, name="share")
        case "weightedmean":
            return _weighted(layers, real, layout.context)
        case "lasttoken":
            return _last(layers, real)
        case _:
            return _mean(layers, real)


def _weighted(layers: LayerBuilder, real: ir.Value, context: int) -> ir.Value:
    """Weights 1, 2, 3, … by position, divided by `context` so that their sum stays in fp16's range."""
    b = layers.builder
    weights = b.const((np.arange(1, context + 1) / context).astype(np.float32), "pooling/weights")
    places = layers.range(layers.size(real, 1, "length"), "places")
    weighted = b.op("Mul", real, b.op("Gather", weights, places, axis=0, name="weights"), name="weighted")
    total = b.op("ReduceSum", weighted, layers.integers(1), keepdims=1, name="total")
    least = layers.scalar(1 / context, "pooling/least")
    return b.op("Div", weighted, b.op("Clip", total, least, name="at_least"), name="share")


def _last(layers: LayerBuilder, real: ir.Value) -> ir.Value:
    """1 for the last real token."""
    b = layers.builder
    whole = b.op("Cast", real, to=int(ir.DataType.INT64), name="whole")
    reached = b.op("CumSum", whole, layers.integer(1), name="reached")
    count = b.op("ReduceSum", whole, layers.integers(1), keepdims=1, name="count")
    last = b.op("Cast", b.op("Equal", reached, count, name="end"), to=int(ir.DataType.FLOAT), name="behind")
    return b.op("Mul", last, real, name="share")  # padding after the last token has the same running count


def _largest(layers: LayerBuilder, tokens: ir.Value, real: ir.Value) -> ir.Value:
    b = layers.builder
    absent = b.op("Sub", layers.scalar(1.0, "one"), real, name="absent")
    score = b.op("Mul", absent, layers.scalar(MASKED, "mask/masked"), name="score")
    seen = b.op("Add", tokens, b.op("Unsqueeze", score, layers.integers(2), name="column"), name="seen")
    return b.op("ReduceMax", seen, layers.integers(1), keepdims=0, name="vector")


def _count(layers: LayerBuilder, real: ir.Value) -> ir.Value:
    count = layers.builder.op("ReduceSum", real, layers.integers(1), keepdims=1, name="count")
    return layers.builder.op("Clip", count, layers.scalar(1.0, "one"), name="at_least_one")
