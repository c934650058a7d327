"""What sentence-transformers puts behind an encoder: pooling over the real tokens, dense layers, a unit norm.

Source: the modules `Pooling`, `Dense` and `Normalize` of sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from exporter.checkpoint.sentence import SentenceDense
from exporter.importers.activation import Activation, activate
from exporter.importers.parts import MASKED, Bound, Painter

if TYPE_CHECKING:
    from exporter.importers.encoder_layout import EncoderLayout

# torch clamps at 1e-12, which is 0 in fp16; 1e-7 is not, and no embedding of a real sentence is that short.
_SHORTEST = 1e-7
DENSE_ACTIVATIONS: Mapping[str, Activation | None] = {  # torch's class name
    "Identity": None,
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
}


def sentence_weights(modules: Sequence[SentenceDense]) -> dict[str, Bound]:
    """Weight role → tensor, named as the file is: `2_Dense/linear.weight`."""
    return {
        f"dense.{i}{role}": Bound(f"{module.path}/linear.{name}", module.tensors[f"linear.{name}"])
        for i, module in enumerate(modules)
        for role, name in (("", "weight"), (".bias", "bias"))
        if f"linear.{name}" in module.tensors
    }


def draw_sentence(painter: Painter, layout: EncoderLayout, tokens: ir.Value, real: ir.Value) -> tuple[ir.Value, int]:
    """The sentence embedding `[batch, width]`, and its width. real: 1 or 0, float32 `[batch, sequence]`."""
    b, width = painter.builder, layout.hidden_size
    if layout.pooling == "cls":
        vector = first_token(painter, tokens, width)
    elif layout.pooling == "max":
        vector = _largest(painter, tokens, real)
    else:
        vector = _pooled(painter, tokens, _shares(painter, layout, real), width)
    for i, module in enumerate(layout.dense):
        vector = painter.linear(vector, f"dense.{i}", f"dense.{i}")
        kind = DENSE_ACTIVATIONS[module.activation]
        vector = vector if kind is None else activate(b, vector, kind, f"dense.{i}/activation")
        width = module.out_features
    if not layout.normalize:
        return vector, width
    norm = b.op("ReduceL2", vector, painter.integers(1), keepdims=1, name="norm")
    length = b.op("Clip", norm, painter.scalar(_SHORTEST, "pooling/shortest"), name="length")
    return b.op("Div", vector, length, name="unit"), width


def first_token(painter: Painter, tokens: ir.Value, width: int) -> ir.Value:
    """The first token's vector, `[batch, width]`."""
    zero, one = painter.integers(0), painter.integers(1)
    first = painter.builder.op("Slice", tokens, zero, one, one, name="cls")
    return painter.builder.op("Reshape", first, painter.integers(-1, width), name="vector")


def mean_token(painter: Painter, tokens: ir.Value, real: ir.Value, width: int) -> ir.Value:
    """The mean of the real tokens, `[batch, width]`."""
    return _pooled(painter, tokens, _mean(painter, real), width)


def _pooled(painter: Painter, tokens: ir.Value, shares: ir.Value, width: int) -> ir.Value:
    """The sum of tokens times shares `[batch, sequence]`. Each is weighted first: a long text can't overflow fp16."""
    b = painter.builder
    mean = b.op("MatMul", b.op("Unsqueeze", shares, painter.integers(1), name="row"), tokens, name="mean")
    return b.op("Reshape", mean, painter.integers(-1, width), name="vector")


def _mean(painter: Painter, real: ir.Value) -> ir.Value:
    return painter.builder.op("Div", real, _count(painter, real), name="share")


def _shares(painter: Painter, layout: EncoderLayout, real: ir.Value) -> ir.Value:
    """What each token counts in the sentence, `[batch, sequence]`."""
    match layout.pooling:
        case "mean_sqrt_len":
            root = painter.builder.op("Sqrt", _count(painter, real), name="root")
            return painter.builder.op("Div", real, root, name="share")
        case "weightedmean":
            return _weighted(painter, real, layout.context)
        case "lasttoken":
            return _last(painter, real)
        case _:
            return _mean(painter, real)


def _weighted(painter: Painter, real: ir.Value, context: int) -> ir.Value:
    """Later tokens count more: 1, 2, 3, …, here over `context`, so that their sum stays in fp16's range."""
    b = painter.builder
    weights = b.const((np.arange(1, context + 1) / context).astype(np.float32), "pooling/weights")
    places = painter.range(painter.size(real, 1, "length"), "places")
    weighted = b.op("Mul", real, b.op("Gather", weights, places, axis=0, name="weights"), name="weighted")
    total = b.op("ReduceSum", weighted, painter.integers(1), keepdims=1, name="total")
    least = painter.scalar(1 / context, "pooling/least")
    return b.op("Div", weighted, b.op("Clip", total, least, name="at_least"), name="share")


def _last(painter: Painter, real: ir.Value) -> ir.Value:
    """1 for the last real token."""
    b = painter.builder
    whole = b.op("Cast", real, to=int(ir.DataType.INT64), name="whole")
    reached = b.op("CumSum", whole, painter.integer(1), name="reached")
    count = b.op("ReduceSum", whole, painter.integers(1), keepdims=1, name="count")
    last = b.op("Cast", b.op("Equal", reached, count, name="end"), to=int(ir.DataType.FLOAT), name="behind")
    return b.op("Mul", last, real, name="share")  # padding behind the last token has reached the count too


def _largest(painter: Painter, tokens: ir.Value, real: ir.Value) -> ir.Value:
    b = painter.builder
    absent = b.op("Sub", painter.scalar(1.0, "one"), real, name="absent")
    score = b.op("Mul", absent, painter.scalar(MASKED, "mask/masked"), name="score")
    seen = b.op("Add", tokens, b.op("Unsqueeze", score, painter.integers(2), name="column"), name="seen")
    return b.op("ReduceMax", seen, painter.integers(1), keepdims=0, name="vector")


def _count(painter: Painter, real: ir.Value) -> ir.Value:
    count = painter.builder.op("ReduceSum", real, painter.integers(1), keepdims=1, name="count")
    return painter.builder.op("Clip", count, painter.scalar(1.0, "one"), name="at_least_one")
