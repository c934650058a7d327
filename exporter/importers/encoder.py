"""Builds the graph of an encoder from its layout: post-norm layers as in BERT or pre-norm ones as in ModernBERT."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from exporter.graph.builder import GraphBuilder
from exporter.graph.model import EncoderSpec, Hub
from exporter.importers.activation import activate
from exporter.importers.encoder_heads import PAIR_SLOTS, build_head
from exporter.importers.encoder_layout import EncoderLayout, tensor_shapes
from exporter.importers.masks import distant, hide, padding_mask
from exporter.importers.parts import LayerBuilder, NamedTensor
from exporter.importers.relative import Disentangled, RelativePositions, Scores
from exporter.importers.rope import Rope, rotary_tables
from exporter.importers.sentence import (
    Tokens,
    build_embeddings,
    embedding_spec,
    first_token,
    mean_token,
    sentence_weights,
)

__all__ = ["EncoderLayout", "build_encoder", "tensor_shapes"]


def build_encoder(layout: EncoderLayout, weights: Mapping[str, NamedTensor], family: str) -> Hub:
    """Builds the graph of an encoder, with the inputs and outputs in `EncoderSpec`.

    weights: role → tensor, with the roles and shapes of `tensor_shapes(layout)`. family: the model type.
    """
    dense = layout.sentence.dense if layout.sentence else ()
    return _Encoder(layout, {**weights, **sentence_weights(dense)}, family).build()


class _Encoder(LayerBuilder):
    """Builds one encoder. Values that all layers share are built once, in `build`."""

    def __init__(self, layout: EncoderLayout, weights: Mapping[str, NamedTensor], family: str) -> None:
        super().__init__(GraphBuilder(family), weights)
        self.norm_eps = layout.norm_eps
        self._layout = layout
        self._family = family

    def build(self) -> Hub:
        layout, b = self._layout, self.builder
        names = ["input_ids", "attention_mask", *(["token_type_ids"] if layout.inputs.types > 1 else [])]
        ids, attention_mask, *types = (b.input(name, ir.DataType.INT64, ["batch_size", "sequence"]) for name in names)
        real = b.op("Cast", attention_mask, to=int(ir.DataType.FLOAT), name="attention_mask/float")
        self._masks = {0: padding_mask(self, ids, real)}
        if layout.rotary is not None:
            self._positions = self._build_positions(ids)
            for window in sorted(set(layout.rotary.windows) - {0}):
                far = distant(self, self._positions, window, f"mask.window.{window}")
                self._masks[window] = hide(self, self._masks[0], far, f"mask.window.{window}")
        self._relative = (
            RelativePositions(self, layout.relative, layout.context, ids, layout.heads) if layout.relative else None
        )
        with b.scope("embeddings"):
            x = self._embed(ids, types[0] if types else None)
        for i in range(layout.layers):
            with b.scope(f"layers.{i}"):
                x = self._layer(x, i)
        if layout.pre_norm:
            x = self._norm(x, "final.norm", "final_norm")
        self._build_outputs(x, real)
        return b.build(self._family, self._spec(bool(types)))

    def _spec(self, types: bool) -> EncoderSpec:
        layout, head = self._layout, self._layout.head
        if head is None:
            return embedding_spec(layout.vocab_size, layout.hidden_size, layout.context, layout.sentence)
        return EncoderSpec(
            layout.vocab_size,
            layout.hidden_size,
            layout.context,
            task=head.task,
            labels=head.labels,
            scores=head.scores,
            pairs=types and head.slot in PAIR_SLOTS,
        )

    def _build_outputs(self, x: ir.Value, real: ir.Value) -> None:
        layout, b, head = self._layout, self.builder, self._layout.head
        if head is None:
            build_embeddings(self, layout.sentence, Tokens(x, real, layout.hidden_size, layout.context))
            return
        with b.scope("head"):
            if head.slot == "sequence":
                mean, width = head.style.pooling == "mean", layout.hidden_size
                x = mean_token(self, x, real, width) if mean else first_token(self, x, width)
            results = build_head(self, head, x, layout.norm_eps)
        sizes: list[int | str] = ["batch_size"] if head.slot == "sequence" else ["batch_size", "sequence"]
        if head.slot != "answer":
            sizes.append(layout.vocab_size if head.slot == "mask" else len(head.labels))
        for name, value in results.items():
            b.output(value, name, ir.DataType.FLOAT, sizes)

    def _build_positions(self, ids: ir.Value) -> ir.Value:
        """Builds `positions`, int64 `[batch, sequence]`, 0, 1, 2, … in every row, and the rotary tables."""
        layout, b = self._layout, self.builder
        assert layout.rotary is not None
        self._tables = {}
        for theta in sorted(set(layout.rotary.thetas)):
            cos, sin = rotary_tables(Rope(theta), layout.head_dim, layout.context)
            self._tables[theta] = b.const(cos, f"rope.{theta:g}/cos"), b.const(sin, f"rope.{theta:g}/sin")
        places = self.range(self.size(ids, 1, "positions/length"), "positions/places")
        shape = b.op("Shape", ids, name="positions/shape")
        return b.op(
            "Expand", b.op("Unsqueeze", places, self.integers(0), name="positions/row"), shape, name="positions"
        )

    def _embed(self, ids: ir.Value, types: ir.Value | None) -> ir.Value:
        b, inputs = self.builder, self._layout.inputs
        x = self.embedding("embedding", ids, "words")
        if inputs.types:
            row = self.integers(0) if types is None else types
            x = b.op("Add", x, b.op("Gather", self.vector("embedding.type"), row, axis=0, name="types"), name="typed")
        if inputs.positions:
            x = b.op("Add", x, self.embedding("embedding.position", self._places(ids), "positions"), name="sum")
        if inputs.projection == "before norm":
            x = self.linear(x, "embedding.projection", "projection")
        x = self._norm(x, "embedding.norm")
        return self.linear(x, "embedding.projection", "projection") if inputs.projection == "after norm" else x

    def _places(self, ids: ir.Value) -> ir.Value:
        """The rows of the position table for the tokens."""
        b, padding = self.builder, self._layout.inputs.padding_id
        if padding is None:
            return self.range(self.size(ids, 1, "length"), "index")
        pads = b.op("Equal", ids, self.integer(padding), name="pads")
        real = b.op("Cast", b.op("Not", pads, name="reals"), to=int(ir.DataType.INT64), name="real")
        count = b.op("CumSum", real, self.integer(1), name="count")
        return b.op("Add", b.op("Mul", count, real, name="counted"), self.integer(padding), name="index")

    def _layer(self, x: ir.Value, i: int) -> ir.Value:
        layout, b = self._layout, self.builder
        role = f"layers.{layout.stored_layer(i)}"
        with b.scope("attention"):
            given = x
            if layout.pre_norm and i:  # the first layer reads the normalized embeddings
                given = self._norm(x, f"{role}.attention.norm")
            x = b.op("Add", x, self._attention(given, role, i), name="residual")
            if not layout.pre_norm:
                x = self._norm(x, f"{role}.attention.norm")
        with b.scope("mlp"):
            given = self._norm(x, f"{role}.mlp.norm") if layout.pre_norm else x
            down = self._mlp(given, role)
        if layout.pre_norm:
            return b.op("Add", x, down, name="output")
        return self._norm(b.op("Add", x, down, name="mlp/residual"), f"{role}.mlp.norm", "output")

    def _attention(self, x: ir.Value, role: str, i: int) -> ir.Value:
        layout, b = self._layout, self.builder
        q, k, v = (self.linear(x, f"{role}.attention.{part}", part) for part in "qkv")
        mask, scale = self._masks[0], layout.head_dim**-0.5
        if layout.rotary is not None:
            cos, sin = self._tables[layout.rotary.thetas[i]]
            q, k = (
                b.op("RotaryEmbedding", t, cos, sin, self._positions, num_heads=layout.heads, name=f"{name}_rotated")
                for t, name in ((q, "q"), (k, "k"))
            )
            mask = self._masks[layout.rotary.windows[i]]
        if self._relative is not None:
            if isinstance(layout.relative, Disentangled):
                scale = (layout.head_dim * (1 + len(layout.relative.kinds))) ** -0.5
            added = self._relative.layer(role, Scores(q, k, layout.heads, layout.head_dim, scale))
            mask = b.op("Add", added, mask, name="mask")
        heads = b.op(
            "Attention", q, k, v, mask,
            name="heads", q_num_heads=layout.heads, kv_num_heads=layout.heads, scale=scale,
        )  # fmt: skip
        return self.linear(heads, f"{role}.attention.output", "output")

    def _mlp(self, x: ir.Value, role: str) -> ir.Value:
        layout, b = self._layout, self.builder
        inner = activate(b, self.linear(x, f"{role}.mlp.up", "up"), layout.activation, "activation")
        if layout.gated:
            inner = b.op("Mul", inner, self.linear(x, f"{role}.mlp.gate", "gate"), name="gated")
        return self.linear(inner, f"{role}.mlp.down", "down")

    def _norm(self, x: ir.Value, role: str, name: str = "norm") -> ir.Value:
        scale = self.vector(role)
        inputs = [x, scale, *([self.vector(f"{role}.bias")] if f"{role}.bias" in self.weights else [])]
        return self.builder.op("LayerNormalization", *inputs, axis=-1, epsilon=self.norm_eps, name=name)
