"""The parametric encoder: BERT's post-norm transformer with learned positions, and sentence pooling behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from exporter.graph.builder import GraphBuilder
from exporter.graph.hub import EncoderSpec, Hub
from exporter.importers.parts import MASKED, Bound, Painter

GeluKind = Literal["none", "tanh"]

# torch clamps at 1e-12, which is 0 in fp16; 1e-7 is not, and no embedding of a real sentence is that short.
_SHORTEST = 1e-7


@dataclass(frozen=True)
class EncoderLayout:
    """Everything that an encoder's graph depends on besides its weights.

    positions: rows of the position table. types: rows of the token type table.
    gelu: ONNX's `approximate` attribute. context, pooling, normalize: as in `EncoderSpec`.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    positions: int
    types: int
    norm_eps: float
    gelu: GeluKind
    context: int
    pooling: Literal["mean", "cls"] | None = None
    normalize: bool = False


def tensor_shapes(layout: EncoderLayout) -> dict[str, tuple[int, ...]]:
    """Weight role → shape, linear weights `[out, in]`."""
    hidden, inner = layout.hidden_size, layout.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (layout.vocab_size, hidden),
        "embedding.position": (layout.positions, hidden),
        "embedding.type": (layout.types, hidden),
    }
    linears = {
        "attention.q": (hidden, hidden),
        "attention.k": (hidden, hidden),
        "attention.v": (hidden, hidden),
        "attention.output": (hidden, hidden),
        "mlp.up": (inner, hidden),
        "mlp.down": (hidden, inner),
    }
    norms = ["embedding.norm"]
    for i in range(layout.layers):
        norms += [f"layers.{i}.attention.norm", f"layers.{i}.mlp.norm"]
        for role, shape in linears.items():
            shapes[f"layers.{i}.{role}"] = shape
            shapes[f"layers.{i}.{role}.bias"] = shape[:1]
    for norm in norms:
        shapes[norm] = shapes[f"{norm}.bias"] = (hidden,)
    return shapes


def draw_encoder(layout: EncoderLayout, weights: Mapping[str, Bound], family: str) -> Hub:
    """The graph as `EncoderSpec` states it; `weights` as `tensor_shapes` states them."""
    return _Encoder(layout, weights, family).draw()


class _Encoder(Painter):
    """Draws one encoder; values that all layers share are made once, in `draw`."""

    def __init__(self, layout: EncoderLayout, weights: Mapping[str, Bound], family: str) -> None:
        super().__init__(GraphBuilder(family), weights)
        self._layout = layout
        self._family = family

    def draw(self) -> Hub:
        layout, b = self._layout, self.builder
        ids, attention_mask, types = (
            b.input(name, ir.DataType.INT64, ["batch", "sequence"])
            for name in ("input_ids", "attention_mask", "token_type_ids")
        )
        real = b.op("Cast", attention_mask, to=int(ir.DataType.FLOAT), name="attention_mask/float")
        self._mask = self._draw_mask(ids, real)
        with b.scope("embeddings"):
            x = self._embed(ids, types)
        for i in range(layout.layers):
            with b.scope(f"layers.{i}"):
                x = self._layer(x, f"layers.{i}")
        b.output(x, "token_embeddings", ir.DataType.FLOAT, ["batch", "sequence", layout.hidden_size])
        if layout.pooling is not None:
            with b.scope("pooling"):
                sentence = self._pool(x, real)
            b.output(sentence, "sentence_embedding", ir.DataType.FLOAT, ["batch", layout.hidden_size])
        model, open_weights = b.build()
        spec = EncoderSpec(
            vocab_size=layout.vocab_size,
            hidden_size=layout.hidden_size,
            context=layout.context,
            pooling=layout.pooling,
            normalize=layout.normalize,
        )
        return Hub(model, self._family, spec, open_weights)

    def _draw_mask(self, ids: ir.Value, real: ir.Value) -> ir.Value:
        """`mask`, float32 `[batch, 1, sequence, sequence]`: 0 for a real token, else a large negative number."""
        b = self.builder
        with b.scope("mask"):
            absent = b.op("Sub", self.scalar(1.0, "one"), real, name="absent")
            score = b.op("Mul", absent, self.scalar(MASKED, "mask/masked"), name="score")
            keys = b.op("Unsqueeze", score, self.integers(1, 2), name="keys")
            # Every query sees the same keys, but onnxruntime doesn't broadcast the mask's third axis.
            queries = b.op("Shape", ids, start=1, end=2, name="queries")
            rows = b.op("Concat", self.integers(1, 1), queries, self.integers(1), axis=0, name="rows")
        return b.op("Expand", keys, rows, name="mask")

    def _embed(self, ids: ir.Value, types: ir.Value) -> ir.Value:
        b = self.builder
        words = self.embedding("embedding", ids, "words")
        positions = self.embedding("embedding.position", self.range(self.size(ids, 1, "length"), "index"), "positions")
        kinds = b.op("Gather", self.vector("embedding.type"), types, axis=0, name="types")
        return self._norm(b.op("Add", b.op("Add", words, kinds, name="typed"), positions, name="sum"), "embedding.norm")

    def _layer(self, x: ir.Value, role: str) -> ir.Value:
        layout, b = self._layout, self.builder
        with b.scope("attention"):
            q, k, v = (self.linear(x, f"{role}.attention.{part}", part) for part in "qkv")
            heads = b.op(
                "Attention",
                q, k, v, self._mask,
                name="heads",
                q_num_heads=layout.heads,
                kv_num_heads=layout.heads,
                scale=(layout.hidden_size // layout.heads) ** -0.5,
            )  # fmt: skip
            attended = self.linear(heads, f"{role}.attention.output", "output")
            x = self._norm(b.op("Add", x, attended, name="residual"), f"{role}.attention.norm")
        with b.scope("mlp"):
            up = self.linear(x, f"{role}.mlp.up", "up")
            gelu = b.op("Gelu", up, approximate=layout.gelu, name="gelu")
            down = self.linear(gelu, f"{role}.mlp.down", "down")
            residual = b.op("Add", x, down, name="residual")
        return self._norm(residual, f"{role}.mlp.norm", "output")

    def _pool(self, tokens: ir.Value, real: ir.Value) -> ir.Value:
        b, width = self.builder, self._layout.hidden_size
        if self._layout.pooling == "mean":
            # Each token is weighted before it is summed, so that a long text can't overflow fp16.
            count = b.op("ReduceSum", real, self.integers(1), keepdims=1, name="count")
            share = b.op("Div", real, b.op("Clip", count, self.scalar(1.0, "one"), name="at_least_one"), name="share")
            pooled = b.op("MatMul", b.op("Unsqueeze", share, self.integers(1), name="row"), tokens, name="mean")
        else:
            pooled = b.op("Slice", tokens, self.integers(0), self.integers(1), self.integers(1), name="cls")
        vector = b.op("Reshape", pooled, self.integers(-1, width), name="vector")
        if not self._layout.normalize:
            return vector
        norm = b.op("ReduceL2", vector, self.integers(1), keepdims=1, name="norm")
        length = b.op("Clip", norm, self.scalar(_SHORTEST, "pooling/shortest"), name="length")
        return b.op("Div", vector, length, name="unit")

    def _norm(self, x: ir.Value, role: str, name: str = "norm") -> ir.Value:
        scale, bias = self.vector(role), self.vector(f"{role}.bias")
        return self.builder.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=self._layout.norm_eps, name=name)
