"""The parametric decoder: a pre-norm transformer with rotary positions, grouped heads, a gated MLP and a KV cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from exporter.graph.builder import GraphBuilder
from exporter.graph.hub import CacheSpec, DecoderSpec, Hub
from exporter.importers.parts import MASKED, Bound, Painter
from exporter.importers.rope import Rope, rotary_tables


@dataclass(frozen=True)
class DecoderLayout:
    """Everything that a decoder's graph depends on besides its weights.

    intermediate_size: width of the gated MLP. context: longest sequence, in tokens; the rotary tables end there.
    qkv_bias, output_bias: of the attention's projections. tied: the head is the embedding.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    norm_eps: float
    rope: Rope
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    tied: bool


def tensor_shapes(layout: DecoderLayout) -> dict[str, tuple[int, ...]]:
    """Weight role → shape, linear weights `[out, in]`."""
    hidden, inner = layout.hidden_size, layout.intermediate_size
    q, kv = layout.heads * layout.head_dim, layout.kv_heads * layout.head_dim
    linears = {
        "attention.q": ((q, hidden), layout.qkv_bias),
        "attention.k": ((kv, hidden), layout.qkv_bias),
        "attention.v": ((kv, hidden), layout.qkv_bias),
        "attention.output": ((hidden, q), layout.output_bias),
        "mlp.gate": ((inner, hidden), layout.mlp_bias),
        "mlp.up": ((inner, hidden), layout.mlp_bias),
        "mlp.down": ((hidden, inner), layout.mlp_bias),
    }
    shapes: dict[str, tuple[int, ...]] = {"embedding": (layout.vocab_size, hidden)}
    for i in range(layout.layers):
        shapes[f"layers.{i}.attention.norm"] = (hidden,)
        shapes[f"layers.{i}.mlp.norm"] = (hidden,)
        for role, (shape, biased) in linears.items():
            shapes[f"layers.{i}.{role}"] = shape
            if biased:
                shapes[f"layers.{i}.{role}.bias"] = shape[:1]
    shapes["norm"] = (hidden,)
    if not layout.tied:
        shapes["head"] = (layout.vocab_size, hidden)
    return shapes


def draw_decoder(layout: DecoderLayout, weights: Mapping[str, Bound], family: str) -> Hub:
    """The graph as `DecoderSpec` states it; `weights` as `tensor_shapes` states them."""
    return _Decoder(layout, weights, family).draw()


class _Decoder(Painter):
    """Draws one decoder; values that all layers share are made once, in `draw`."""

    def __init__(self, layout: DecoderLayout, weights: Mapping[str, Bound], family: str) -> None:
        super().__init__(GraphBuilder(family), weights)
        self._layout = layout
        self._family = family

    def draw(self) -> Hub:
        layout, b = self._layout, self.builder
        ids = b.input("input_ids", ir.DataType.INT64, ["batch", "sequence"])
        attention_mask = b.input("attention_mask", ir.DataType.INT64, ["batch", "total"])
        self._positions = b.input("position_ids", ir.DataType.INT64, ["batch", "sequence"])
        cache_shape: list[int | str] = ["batch", layout.kv_heads, "past", layout.head_dim]
        past = [
            [b.input(f"past_key_values.{i}.{kind}", ir.DataType.FLOAT, cache_shape) for kind in ("key", "value")]
            for i in range(layout.layers)
        ]
        self._mask = self._draw_mask(ids, attention_mask)
        cos, sin = rotary_tables(layout.rope, layout.head_dim, layout.context)
        self._cos, self._sin = b.const(cos, "rope/cos"), b.const(sin, "rope/sin")
        x = self.embedding("embedding", ids)
        present = []
        for i in range(layout.layers):
            with b.scope(f"layers.{i}"):
                x, cache = self._layer(x, f"layers.{i}", past[i])
                present.append(cache)
        x = self._norm(x, "norm")
        head = self.weights["embedding" if layout.tied else "head"]
        logits = b.linear(x, head.tensor, head.name, label="logits")
        b.output(logits, "logits", ir.DataType.FLOAT, ["batch", "sequence", layout.vocab_size])
        cache_shape[2] = "total"
        for i, cache in enumerate(present):
            for kind, value in zip(("key", "value"), cache, strict=True):
                b.output(value, f"present.{i}.{kind}", ir.DataType.FLOAT, cache_shape)
        model, open_weights = b.build()
        spec = DecoderSpec(
            vocab_size=layout.vocab_size,
            hidden_size=layout.hidden_size,
            heads=layout.heads,
            context=layout.context,
            cache=CacheSpec(layout.layers, layout.kv_heads, layout.head_dim),
        )
        return Hub(model, self._family, spec, open_weights)

    def _draw_mask(self, ids: ir.Value, attention_mask: ir.Value) -> ir.Value:
        """`mask`, float32 `[batch, 1, sequence, total]`: 0 where a query may look, else a large negative number.

        Finite rather than −inf or a boolean: a padding row that may look nowhere stays finite in every runtime.
        """
        b = self.builder
        with b.scope("mask"):
            total = self.size(attention_mask, 1, "total")
            sequence = self.size(ids, 1, "sequence")
            keys = self.range(total, "keys")
            first = b.op("Unsqueeze", b.op("Sub", total, sequence, name="past"), self.integers(0), name="first")
            end = b.op("Unsqueeze", total, self.integers(0), name="end")
            queries = b.op("Slice", keys, first, end, name="queries")
            causal = b.op(
                "LessOrEqual", keys, b.op("Unsqueeze", queries, self.integers(1), name="column"), name="causal"
            )
            real = b.op("Cast", attention_mask, to=int(ir.DataType.BOOL), name="real")
            seen = b.op("And", b.op("Unsqueeze", real, self.integers(1, 2), name="keys_real"), causal, name="seen")
            zero, masked = self.scalar(0.0, "mask/zero"), self.scalar(MASKED, "mask/masked")
        return b.op("Where", seen, zero, masked, name="mask")

    def _layer(self, x: ir.Value, role: str, past: list[ir.Value]) -> tuple[ir.Value, tuple[ir.Value, ir.Value]]:
        b = self.builder
        with b.scope("attention"):
            attended, cache = self._attention(self._norm(x, f"{role}.attention.norm"), f"{role}.attention", past)
            x = b.op("Add", x, attended, name="residual")
        with b.scope("mlp"):
            mapped = self._mlp(self._norm(x, f"{role}.mlp.norm"), f"{role}.mlp")
        return b.op("Add", x, mapped, name="output"), cache

    def _attention(self, x: ir.Value, role: str, past: list[ir.Value]) -> tuple[ir.Value, tuple[ir.Value, ir.Value]]:
        layout, b = self._layout, self.builder
        q, k, v = (self.linear(x, f"{role}.{part}", part) for part in "qkv")
        q = self._rotate(q, layout.heads, "q_rotated")
        k = self._rotate(k, layout.kv_heads, "k_rotated")
        heads, key, value = b.ops(
            "Attention",
            q, k, v, self._mask, *past,
            outputs=("heads", "key", "value"),
            q_num_heads=layout.heads,
            kv_num_heads=layout.kv_heads,
            scale=layout.head_dim**-0.5,
        )  # fmt: skip
        return self.linear(heads, f"{role}.output", "output"), (key, value)

    def _rotate(self, x: ir.Value, heads: int, name: str) -> ir.Value:
        return self.builder.op("RotaryEmbedding", x, self._cos, self._sin, self._positions, num_heads=heads, name=name)

    def _mlp(self, x: ir.Value, role: str) -> ir.Value:
        b = self.builder
        gate = self.linear(x, f"{role}.gate", "gate")
        up = self.linear(x, f"{role}.up", "up")
        gated = b.op("Mul", gate, b.op("Sigmoid", gate, name="sigmoid"), name="silu")
        return self.linear(b.op("Mul", gated, up, name="gated"), f"{role}.down", "down")

    def _norm(self, x: ir.Value, role: str) -> ir.Value:
        scale = self.vector(role)
        return self.builder.op("RMSNormalization", x, scale, axis=-1, epsilon=self._layout.norm_eps, name="norm")
