"""Relative positions, which are added to attention scores: MPNet's bias per bucket, DeBERTa's disentangled attention.

Sources: `modeling_mpnet.py` (T5's buckets, arXiv 1910.10683) and `modeling_deberta_v2.py` (arXiv 2006.03654) of
transformers. Its float32 arithmetic is followed exactly, because it decides which bucket a distance falls into.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.importers.parts import LayerBuilder

INDEX = "relative/index"  # graph value: `[batch, heads, query, key]`, rows of the table of relative positions

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Buckets:
    """A learned bias for each head and bucket of distances, added to the scores of every layer (MPNet).

    count: number of buckets; half of them are for keys before the query. distance: all larger distances share the last
    bucket.
    """

    count: int = 32
    distance: int = 128

    def rows(self, distances: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bucket of each distance, int64. distances: query position minus key position."""
        half = self.count // 2
        exact = half // 2
        away = np.abs(distances)
        with np.errstate(divide="ignore"):
            log = np.log(away.astype(np.float32) / np.float32(exact)) / np.float32(math.log(self.distance / exact))
        far = exact + np.minimum(np.maximum(log, 0) * np.float32(half - exact), half).astype(np.int64)
        within: NDArray[np.int64] = np.where(away < exact, away, np.minimum(far, half - 1))
        return np.where(distances < 0, half, 0) + within


@dataclass(frozen=True)
class Disentangled:
    """Adds query · position key and key · position query to the scores (DeBERTa-v2 and v3).

    rows_each_way: half of the table's rows. buckets: logarithmic buckets for each sign; 0: one row per distance.
    distance: where the last bucket begins. kinds: "c2p" (query · position key), "p2c" (key · position query) or both.
    shared: position keys and queries use the projections of keys and queries. norm: the table is normalized.
    """

    rows_each_way: int
    buckets: int
    distance: int
    kinds: frozenset[str]
    shared: bool
    norm: bool
    norm_eps: float

    def rows(self, distances: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of the table for each distance, int64. distances: query position minus key position."""
        span = self.rows_each_way
        places = self._logarithmic(distances) if self.buckets and self.distance else distances
        return np.clip(places + span, 0, 2 * span - 1)

    def _logarithmic(self, distances: NDArray[np.int64]) -> NDArray[np.int64]:
        middle = self.buckets // 2
        near = np.abs(distances) <= middle
        away = np.where(np.abs(distances) < middle, middle - 1, np.abs(distances))
        base = np.log(np.float32((self.distance - 1) / middle))
        log = np.log((away / np.float32(middle)).astype(np.float32)) / base
        far = np.ceil(log * np.float32(middle - 1)) + np.float32(middle)
        return np.where(near, distances, (far * np.sign(distances)).astype(np.int64))


def shared_shapes(kind: Buckets | Disentangled, heads: int, hidden: int) -> Shapes:
    """Weight role → shape, for the weights that all layers share."""
    if isinstance(kind, Buckets):
        return {"relative": (kind.count, heads)}
    norm: Shapes = {"relative.norm": (hidden,), "relative.norm.bias": (hidden,)} if kind.norm else {}
    return {"relative": (2 * kind.rows_each_way, hidden), **norm}


def layer_shapes(kind: Buckets | Disentangled, hidden: int) -> Shapes:
    """Weight role within a layer → shape."""
    shapes: Shapes = {}
    if isinstance(kind, Disentangled) and not kind.shared:
        for name, role in (("c2p", "attention.position_k"), ("p2c", "attention.position_q")):
            if name in kind.kinds:
                shapes |= {role: (hidden, hidden), f"{role}.bias": (hidden,)}
    return shapes


@dataclass(frozen=True)
class Scores:
    """An attention layer's queries and keys `[batch, seq, hidden]`, its heads, and the factor of its scores."""

    queries: ir.Value
    keys: ir.Value
    heads: int
    head_dim: int
    scale: float


class RelativePositions:
    """Builds the scores of relative positions; values that all layers share are built once.

    context: longest sequence, in tokens.
    """

    def __init__(
        self, layers: LayerBuilder, kind: Buckets | Disentangled, context: int, ids: ir.Value, heads: int
    ) -> None:
        self._layers, self._kind = layers, kind
        b, p = layers.builder, layers
        with b.scope("relative"):
            places = p.range(p.size(ids, 1, "length"), "places")
            apart = b.op(
                "Sub",
                b.op("Unsqueeze", places, p.integers(1), name="queries"),
                b.op("Unsqueeze", places, p.integers(0), name="keys"),
                name="apart",
            )
            table = b.const(kind.rows(np.arange(1 - context, context, dtype=np.int64)), "relative/rows")
            row = b.op("Gather", table, b.op("Add", apart, p.integer(context - 1), name="from_zero"), name="row")
            self._shared = self._bias(row) if isinstance(kind, Buckets) else self._positions()
        if isinstance(kind, Disentangled):
            self._index = self._every_head(row, ids, heads)
            self._turned = b.op("Transpose", self._index, perm=[0, 1, 3, 2], name="relative/turned")

    def layer(self, role: str, scores: Scores) -> ir.Value:
        """The value to add to the scores of one layer; it broadcasts to `[batch, heads, query, key]`."""
        kind, b = self._kind, self._layers.builder
        if isinstance(kind, Buckets):
            return self._shared
        parts = []
        if "c2p" in kind.kinds:
            keys = self._projected("k", role, scores)
            seen = b.op("MatMul", self._by_heads(scores.queries, scores, "queries"), keys, name="c2p/all")
            parts.append(b.op("GatherElements", seen, self._index, axis=3, name="c2p"))
        if "p2c" in kind.kinds:
            queries = self._projected("q", role, scores)
            seen = b.op("MatMul", self._by_heads(scores.keys, scores, "keys"), queries, name="p2c/all")
            turned = b.op("GatherElements", seen, self._turned, axis=3, name="p2c/turned")
            parts.append(b.op("Transpose", turned, perm=[0, 1, 3, 2], name="p2c"))
        both = parts[0] if len(parts) == 1 else b.op("Add", *parts, name="both")
        return b.op("Mul", both, self._layers.scalar(scores.scale, "relative/scale"), name="relative")

    def _bias(self, row: ir.Value) -> ir.Value:
        """The bias, `[1, heads, query, key]`."""
        b, p = self._layers.builder, self._layers
        by_place = b.op("Gather", p.vector("relative"), row, axis=0, name="by_place")
        by_head = b.op("Transpose", by_place, perm=[2, 0, 1], name="by_head")
        return b.op("Unsqueeze", by_head, p.integers(0), name="bias")

    def _positions(self) -> ir.Value:
        """The table `[1, rows, hidden]`."""
        b, p = self._layers.builder, self._layers
        table = p.vector("relative")
        assert isinstance(self._kind, Disentangled)
        if self._kind.norm:
            scale, bias = p.vector("relative.norm"), p.vector("relative.norm.bias")
            table = b.op("LayerNormalization", table, scale, bias, axis=-1, epsilon=self._kind.norm_eps, name="norm")
        return b.op("Unsqueeze", table, p.integers(0), name="table")

    def _every_head(self, row: ir.Value, ids: ir.Value, heads: int) -> ir.Value:
        b, p = self._layers.builder, self._layers
        batch, length = (b.op("Shape", ids, start=i, end=i + 1, name=f"relative/size{i}") for i in (0, 1))
        shape = b.op("Concat", batch, p.integers(heads), length, length, axis=0, name="relative/shape")
        return b.op("Expand", b.op("Unsqueeze", row, p.integers(0, 1), name="relative/one"), shape, name=INDEX)

    def _projected(self, part: str, role: str, scores: Scores) -> ir.Value:
        """The projected table, `[1, heads, head_dim, rows]`."""
        kind = self._kind
        assert isinstance(kind, Disentangled)
        own = f"{role}.attention.{part}" if kind.shared else f"{role}.attention.position_{part}"
        rows = self._layers.linear(self._shared, own, f"position_{part}")
        return self._by_heads(rows, scores, f"position_{part}/heads", perm=[0, 2, 3, 1])

    def _by_heads(
        self, x: ir.Value, scores: Scores, name: str, perm: tuple[int, ...] | list[int] = (0, 2, 1, 3)
    ) -> ir.Value:
        b, p = self._layers.builder, self._layers
        split = b.op("Reshape", x, p.integers(0, -1, scores.heads, scores.head_dim), name=f"{name}/split")
        return b.op("Transpose", split, perm=list(perm), name=f"{name}/by_head")
