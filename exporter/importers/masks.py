"""Additive masks of attention for graphs that read a whole text at once: 0 where a query may attend, else `MASKED`."""

from __future__ import annotations

import onnx_ir as ir

from exporter.importers.parts import MASKED, LayerBuilder


def padding_mask(layers: LayerBuilder, ids: ir.Value, real: ir.Value) -> ir.Value:
    """`mask`, float32 `[batch, 1, sequence, sequence]`: 0 for a real token, else a large negative number."""
    b = layers.builder
    with b.scope("mask"):
        absent = b.op("Sub", layers.scalar(1.0, "one"), real, name="absent")
        score = b.op("Mul", absent, layers.scalar(MASKED, "mask/masked"), name="score")
        keys = b.op("Unsqueeze", score, layers.integers(1, 2), name="keys")
        # The mask is the same for every query, but onnxruntime doesn't broadcast its third axis.
        queries = b.op("Shape", ids, start=1, end=2, name="queries")
        rows = b.op("Concat", layers.integers(1, 1), queries, layers.integers(1), axis=0, name="rows")
    return b.op("Expand", keys, rows, name="mask")


def distant(layers: LayerBuilder, positions: ir.Value, window: int, name: str) -> ir.Value:
    """Keys that are more than `window` tokens before or after a query, bool `[batch, sequence, sequence]`."""
    b = layers.builder
    columns, rows = _keys_and_queries(layers, positions, name)
    apart = b.op("Abs", b.op("Sub", rows, columns, name=f"{name}/apart"), name=f"{name}/distance")
    return b.op("Greater", apart, layers.integer(window), name=f"{name}/far")


def later(layers: LayerBuilder, positions: ir.Value, name: str) -> ir.Value:
    """Keys that come after a query, bool `[batch, sequence, sequence]`."""
    columns, rows = _keys_and_queries(layers, positions, name)
    return layers.builder.op("Greater", columns, rows, name=f"{name}/later")


def hide(layers: LayerBuilder, mask: ir.Value, hidden: ir.Value, name: str) -> ir.Value:
    """The mask `[batch, 1, sequence, sequence]` that hides the keys in `hidden` too."""
    b = layers.builder
    score = b.op("Cast", hidden, to=int(ir.DataType.FLOAT), name=f"{name}/float")
    score = b.op("Mul", score, layers.scalar(MASKED, "mask/masked"), name=f"{name}/score")
    own = b.op("Unsqueeze", score, layers.integers(1), name=f"{name}/own")
    return b.op("Min", mask, own, name=name)  # a sum would overflow fp16


def _keys_and_queries(layers: LayerBuilder, positions: ir.Value, name: str) -> tuple[ir.Value, ir.Value]:
    columns = layers.builder.op("Unsqueeze", positions, layers.integers(1), name=f"{name}/keys")
    return columns, layers.builder.op("Unsqueeze", positions, layers.integers(2), name=f"{name}/queries")
