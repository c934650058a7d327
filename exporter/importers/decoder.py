"""Builds the graph of a decoder from its layout: layers of attention and an MLP with residuals, and a KV cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from exporter.graph.builder import Attribute, GraphBuilder
from exporter.graph.model import CacheSpec, DecoderSpec, Hub
from exporter.importers.activation import activate
from exporter.importers.decoder_layout import DecoderLayout, LayerLayout, Norm, tensor_shapes
from exporter.importers.parts import MASKED, LayerBuilder, NamedTensor
from exporter.importers.rope import Rope, rotary_tables

__all__ = ["DecoderLayout", "build_decoder", "tensor_shapes"]

Cache = tuple[ir.Value, ir.Value]


def build_decoder(layout: DecoderLayout, weights: Mapping[str, NamedTensor], family: str) -> Hub:
    """Builds the graph of a decoder, with the inputs and outputs in `DecoderSpec`.

    weights: role → tensor, with the roles and shapes of `tensor_shapes(layout)`. family: the model type.
    """
    return DecoderBuilder(layout, weights, family).build()


class DecoderBuilder(LayerBuilder):
    """Builds one decoder. Layers share masks and rotary tables, so each of these is built once."""

    def __init__(self, layout: DecoderLayout, weights: Mapping[str, NamedTensor], family: str) -> None:
        super().__init__(GraphBuilder(family), weights)
        self.layout = layout
        self.family = family
        self.masks: dict[int | None, ir.Value] = {}
        self._ropes: dict[Rope, tuple[ir.Value, ir.Value, ir.Value]] = {}

    def build(self) -> Hub:
        layout, b = self.layout, self.builder
        ids = b.input("input_ids", ir.DataType.INT64, ["batch_size", "sequence"])
        attention_mask = b.input("attention_mask", ir.DataType.INT64, ["batch_size", "total"])
        self.positions = b.input("position_ids", ir.DataType.INT64, ["batch_size", "sequence"])
        past = [
            (
                b.input(f"past_key_values.{i}.key", ir.DataType.FLOAT, self._cache_shape(layer, "past")),
                b.input(f"past_key_values.{i}.value", ir.DataType.FLOAT, self._cache_shape(layer, "past")),
            )
            for i, layer in enumerate(layout.layers)
        ]
        self._build_masks(ids, attention_mask)
        x, present = self.build_layers(ids, past)
        b.output(self._logits(x), "logits", ir.DataType.FLOAT, ["batch_size", "sequence", layout.vocab_size])
        for i, (layer, cache) in enumerate(zip(layout.layers, present, strict=True)):
            for kind, value in zip(("key", "value"), cache, strict=True):
                b.output(value, f"present.{i}.{kind}", ir.DataType.FLOAT, self._cache_shape(layer, "total"))
        return b.build(self.family, self._spec())

    def build_layers(self, ids: ir.Value, past: Sequence[Cache] = ()) -> tuple[ir.Value, list[Cache]]:
        """Everything between the inputs and the head: the last hidden states, and each layer's keys and values.

        past: the cache of each layer; without it, there are no keys and values to return.
        """
        self._build_ropes()
        x = self._embed(ids)
        present = []
        for i, layer in enumerate(self.layout.layers):
            with self.builder.scope(f"layers.{i}"):
                x, cache = self._layer(x, f"layers.{i}", layer, past[i] if past else None)
                present += [cache] if cache else []
        x = self._norm(x, "norm", self.layout.norm) if self.layout.final_norm else x
        if self.layout.embedding_size is not None:
            x = self.linear(x, "embedding.project_out", "head/project_out")
        return x, present

    def _cache_shape(self, layer: LayerLayout, length: str) -> list[int | str]:
        return ["batch_size", layer.kv_heads, length, self.layout.head_dim]

    def _spec(self) -> DecoderSpec:
        layout = self.layout
        return DecoderSpec(
            vocab_size=layout.vocab_size,
            hidden_size=layout.hidden_size,
            heads=tuple(layer.heads for layer in layout.layers),
            context=layout.context,
            cache=CacheSpec(tuple(layer.kv_heads for layer in layout.layers), layout.head_dim),
            windows=layout.windows,
            rope_switch=self.rope_switch,
        )

    @property
    def rope_switch(self) -> int | None:
        """As in `DecoderSpec`."""
        switches = (rope.switch_at(self.layout.context) for rope in self._ropes)
        return min((switch for switch in switches if switch is not None), default=None)

    def last_position(self, label: str) -> ir.Value:
        """The last position of the longest text, an int64 scalar."""
        return self.builder.op("ReduceMax", self.positions, keepdims=0, name=f"{label}/last")

    def _build_masks(self, ids: ir.Value, attention_mask: ir.Value) -> None:
        """`mask` and `mask.window.{width}`, float32 `[batch, 1, sequence, total]`: 0 where a query may attend, else
        a large negative number.

        It is finite instead of −inf or a boolean, so that a padding row without any key stays finite in every runtime.
        """
        b = self.builder
        with b.scope("mask"):
            total = self.size(attention_mask, 1, "total")
            sequence = self.size(ids, 1, "sequence")
            keys = self.range(total, "keys")
            first = b.op("Unsqueeze", b.op("Sub", total, sequence, name="past"), self.integers(0), name="first")
            end = b.op("Unsqueeze", total, self.integers(0), name="end")
            queries = b.op("Slice", keys, first, end, name="queries")
            column = b.op("Unsqueeze", queries, self.integers(1), name="column")
            causal = b.op("LessOrEqual", keys, column, name="causal")
            real = b.op("Cast", attention_mask, to=int(ir.DataType.BOOL), name="real")
            real = b.op("Unsqueeze", real, self.integers(1, 2), name="keys_real")
            zero, masked = self.scalar(0.0, "mask/zero"), self.scalar(MASKED, "mask/masked")
        for window in dict.fromkeys(self.layout.window_of(layer) for layer in self.layout.layers):
            name = "mask" if window is None else f"mask.window.{window}"
            with b.scope(name):
                seen = causal
                if window is not None:
                    before = b.op("Sub", column, self.integer(window), name="before")
                    seen = b.op("And", causal, b.op("Greater", keys, before, name="inside"), name="near")
                seen = b.op("And", real, seen, name="seen")
            self.masks[window] = b.op("Where", seen, zero, masked, name=name)

    def _build_ropes(self) -> None:
        """cos, sin and the rows to read: the positions; in sequences longer than the switch, the rows after it."""
        layout, b = self.layout, self.builder
        for rope in dict.fromkeys(layer.rope for layer in layout.layers if layer.rope is not None):
            label = f"rope.{len(self._ropes)}" if self._ropes else "rope"
            cos, sin = rotary_tables(rope, layout.rotary_dim, layout.context)
            rows, switch = self.positions, rope.switch_at(layout.context)
            if switch is not None:
                longer = b.op("GreaterOrEqual", self.last_position(label), self.integer(switch), name=f"{label}/longer")
                longer = b.op("Cast", longer, to=int(ir.DataType.INT64), name=f"{label}/half")
                second = b.op("Mul", longer, self.integer(switch), name=f"{label}/second")
                rows = b.op("Add", rows, second, name=f"{label}/rows")
            self._ropes[rope] = b.const(cos, f"{label}/cos"), b.const(sin, f"{label}/sin"), rows

    def _embed(self, ids: ir.Value) -> ir.Value:
        layout, b = self.layout, self.builder
        x = self._scaled(self.embedding("embedding", ids), layout.embedding_factor, "embedding/scaled")
        if layout.embedding_norm:
            x = self._norm(x, "embedding.norm", layout.norm, "embedding/norm")
        if layout.embedding_size is not None:
            x = self.linear(x, "embedding.project_in", "embedding/project_in")
        if layout.positions is None:
            return x
        rows = self.positions
        if layout.position_offset:
            rows = b.op("Add", rows, self.integer(layout.position_offset), name="positions/rows")
        return b.op("Add", x, self.embedding("embedding.position", rows, "positions"), name="embedding/placed")

    def _logits(self, x: ir.Value) -> ir.Value:
        layout, b = self.layout, self.builder
        head = self.weights["embedding" if layout.tied else "head"]
        bias = self.vector("head.bias") if "head.bias" in self.weights else None
        plain = layout.logits_factor == 1 and layout.logits_softcap is None
        logits = b.linear(x, head.tensor, head.name, bias, label="logits" if plain else "head")
        logits = self._scaled(logits, layout.logits_factor, "logits/scaled")
        if layout.logits_softcap is None:
            return logits
        cap = self.scalar(layout.logits_softcap, "logits/cap")
        bounded = b.op("Tanh", b.op("Div", logits, cap, name="logits/ratio"), name="logits/bounded")
        return b.op("Mul", bounded, cap, name="logits/capped")

    def _layer(self, x: ir.Value, role: str, layer: LayerLayout, past: Cache | None) -> tuple[ir.Value, Cache | None]:
        layout, b, block = self.layout, self.builder, self.layout.block
        before = block in ("pre", "sandwich", "parallel")
        with b.scope("attention"):
            normed = self._norm(x, f"{role}.attention.norm", layout.norm) if before else x
            attended, cache = self._attention(normed, f"{role}.attention", layer, past)
            after = b.op("Add", x, self._leave(attended, f"{role}.attention"), name="residual")
            if block == "after":
                after = self._norm(after, f"{role}.attention.post_norm", layout.norm, "post_norm")
        with b.scope("mlp"):
            if not layout.shared_norm:
                read = x if block == "parallel" else after
                normed = self._norm(read, f"{role}.mlp.norm", layout.norm) if before else read
            mapped = self._leave(self._mlp(normed, f"{role}.mlp"), f"{role}.mlp")
        x = b.op("Add", after, mapped, name="output" if block != "after" else "mlp/residual")
        return (self._norm(x, f"{role}.mlp.post_norm", layout.norm, "output") if block == "after" else x), cache

    def _leave(self, branch: ir.Value, role: str) -> ir.Value:
        """The output of attention or MLP, normalized and scaled as needed, to be added to the residual stream."""
        if self.layout.block in ("post", "sandwich"):
            branch = self._norm(branch, f"{role}.post_norm", self.layout.norm, "post_norm")
        return self._scaled(branch, self.layout.residual_factor, "scaled")

    def _attention(
        self, x: ir.Value, role: str, layer: LayerLayout, past: Cache | None
    ) -> tuple[ir.Value, Cache | None]:
        layout, b = self.layout, self.builder
        q, k, v = (self.linear(x, f"{role}.{part}", part) for part in "qkv")
        q = self._place(q, f"{role}.q", layer.heads, layer.rope)
        k = self._place(k, f"{role}.k", layer.kv_heads, layer.rope)
        # ONNX's specification and onnxruntime both apply the soft cap before they add the mask.
        cap: dict[str, Attribute] = {} if layout.softcap is None else {"softcap": layout.softcap}
        heads, *cache = b.ops(
            "Attention",
            q, k, v, self.masks[layout.window_of(layer)], *(past or ()),
            outputs=("heads", "key", "value") if past else ("heads",),
            q_num_heads=layer.heads,
            kv_num_heads=layer.kv_heads,
            scale=layer.scale,
            **cap,
        )  # fmt: skip
        return self.linear(heads, f"{role}.output", "output"), (cache[0], cache[1]) if past else None

    def _place(self, x: ir.Value, role: str, heads: int, rope: Rope | None) -> ir.Value:
        """Queries or keys `[batch, sequence, heads · head_dim]`, normalized and rotated in the order of the layout."""
        normed_last = self.layout.qk_norm is not None and self.layout.qk_norm.rotated
        if not normed_last:
            x = self._norm_heads(x, role, heads)
        if rope is not None:
            x = self._rotate(x, heads, rope, f"{role[-1]}_rotated")
        return self._norm_heads(x, role, heads) if normed_last else x

    def _norm_heads(self, x: ir.Value, role: str, heads: int) -> ir.Value:
        layout, b, name = self.layout, self.builder, f"{role[-1]}_norm"
        if layout.qk_norm is None:
            return x
        if layout.qk_norm.over == "projection":
            return self._norm(x, f"{role}.norm", layout.qk_norm.norm, name)
        x = b.op("Reshape", x, self.integers(0, -1, heads, layout.head_dim), name=f"{name}/heads")
        x = self._norm(x, f"{role}.norm", layout.qk_norm.norm, name)
        return b.op("Reshape", x, self.integers(0, -1, heads * layout.head_dim), name=f"{name}/flat")

    def _rotate(self, x: ir.Value, heads: int, rope: Rope, name: str) -> ir.Value:
        layout = self.layout
        options: dict[str, Attribute] = {"interleaved": 1} if layout.interleaved else {}
        if layout.rotary_dim != layout.head_dim:
            options["rotary_embedding_dim"] = layout.rotary_dim
        return self.builder.op("RotaryEmbedding", x, *self._ropes[rope], num_heads=heads, name=name, **options)

    def _mlp(self, x: ir.Value, role: str) -> ir.Value:
        b, kind = self.builder, self.layout.activation
        if not self.layout.gated:
            inner = activate(b, self.linear(x, f"{role}.up", "up"), kind, "activation")
        else:
            gate = self.linear(x, f"{role}.gate", "gate")
            up = self.linear(x, f"{role}.up", "up")
            inner = b.op("Mul", activate(b, gate, kind, "activation"), up, name="gated")
        return self.linear(inner, f"{role}.down", "down")

    def _norm(self, x: ir.Value, role: str, norm: Norm, name: str = "norm") -> ir.Value:
        """A norm over the last axis. Weights `[heads, head_dim]` are multiplied after a norm without weights."""
        b = self.builder
        kind = "RMSNormalization" if norm.kind == "rms" else "LayerNormalization"
        if not norm.weight:
            return b.op(kind, x, self._ones(self.layout.hidden_size), axis=-1, epsilon=norm.eps, name=name)
        scale = self.vector(role, norm.shift)
        if len(self.weights[role].tensor.shape) == 1:
            bias = [self.vector(f"{role}.bias")] if norm.bias else []
            return b.op(kind, x, scale, *bias, axis=-1, epsilon=norm.eps, name=name)
        ones = self._ones(int(self.weights[role].tensor.shape.numpy()[-1]))
        plain = b.op(kind, x, ones, axis=-1, epsilon=norm.eps, name=f"{name}/plain")
        if not norm.bias:
            return b.op("Mul", plain, scale, name=name)
        return b.op("Add", b.op("Mul", plain, scale, name=f"{name}/scaled"), self.vector(f"{role}.bias"), name=name)

    def _ones(self, size: int) -> ir.Value:
        return self.builder.const(np.ones(size, np.float32), f"ones/{size}")

    def _scaled(self, x: ir.Value, factor: float, name: str) -> ir.Value:
        return x if factor == 1 else self.builder.op("Mul", x, self.scalar(factor, f"factor/{factor!r}"), name=name)
