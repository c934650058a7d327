"""A graph with one weight in two roles, and palettes for it."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir

from exporter.graph.builder import GraphBuilder
from exporter.graph.model import EncoderSpec, Hub
from exporter.graph.palette import Palette

VOCAB, HIDDEN = 35, 12


def tied_hub(rows: int = VOCAB, columns: int = HIDDEN, dtype: type = ml_dtypes.bfloat16, scale: float = 1.0) -> Hub:
    """`logits = embedding(ids) * norm · embeddingᵀ`, with a weight in both roles and a kept vector."""
    rng = np.random.default_rng(0)
    builder = GraphBuilder("tied")
    ids = builder.input("ids", ir.DataType.INT64, ["batch", "seq"])
    weight = ir.tensor((rng.standard_normal((rows, columns)) * scale).astype(dtype), name="emb.weight")
    norm = builder.weight(ir.tensor(rng.standard_normal(columns).astype(dtype), name="norm.weight"), "norm.weight")
    x = builder.op("Mul", builder.embedding(weight, ids, "emb.weight"), norm, name="scaled")
    builder.output(builder.linear(x, weight, "emb.weight"), "logits", ir.DataType.FLOAT, ["batch", "seq", rows])
    return builder.build("test", EncoderSpec(rows, columns, 16, None, False))


def palette(rows: int, columns: int, bits: int, group_size: int) -> Palette:
    rng = np.random.default_rng(1)
    lut = np.sort(rng.standard_normal((-(-rows // group_size), 2**bits)).astype(np.float16), axis=1)
    return Palette.of(rng.integers(0, 2**bits, (rows, columns)).astype(np.uint8), lut, bits, group_size)
