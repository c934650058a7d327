"""Lowers a decoder's graph to an ONNX file that onnxruntime opens without decoding any weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from exporter.graph.grid import Grid, GridBits
from exporter.graph.model import DecoderSpec, Hub
from exporter.lower.onnx.artifact import OnnxArtifact, OnnxBytes
from exporter.lower.onnx.lowering import tidy
from exporter.lower.onnx.mobile.attention import MICROSOFT, fuse_attention
from exporter.lower.onnx.mobile.elementwise import fuse_gates, fuse_norms, store_floats
from exporter.lower.onnx.mobile.weights import Sources, quantize_weights
from exporter.lower.onnx.write import stored_sizes, write_model

MobileWeights = Literal["int8", "int4"]
_BITS: Mapping[MobileWeights, GridBits] = {"int8": 8, "int4": 4}
DATA_ABOVE = 1 << 20  # bytes of tensors from which they lie in a file of their own, which the runtime maps


@dataclass(frozen=True)
class MobileOptions:
    """weights: how matrices are stored that have no grid. grids: of weights, by name, as they are to be stored.
    metadata: the model's metadata properties, written in sorted order."""

    weights: MobileWeights = "int8"
    grids: Mapping[str, Grid] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


def supports_mobile(hub: Hub) -> bool:
    """Whether the form can express the graph: a decoder that was imported natively."""
    return isinstance(hub.spec, DecoderSpec)


def lower_mobile(hub: Hub, folder: Path, options: MobileOptions) -> OnnxArtifact:
    """Writes `folder/model.onnx` and `model.onnx.data`. `hub` isn't changed.

    Inputs and outputs keep their names. The same graph and options give the same bytes. Raises InputError if files
    can't be written.
    """
    model = hub.model.clone()
    graph = model.graph
    graph.opset_imports[MICROSOFT] = 1
    if isinstance(hub.spec, DecoderSpec):
        fuse_attention(graph, hub.spec.cache.head_dim)
    RemoveUnusedNodesPass()(model)
    stored = quantize_weights(model, hub.weights, Sources(options.grids, hub.palettes, _BITS[options.weights]))
    RemoveUnusedNodesPass()(model)
    store_floats(graph, ())
    fuse_norms(graph)
    fuse_gates(graph)
    tidy(model, options.metadata, ())
    sizes = _sizes(graph, stored.integers - set(stored.same_bytes), stored.scales, set(stored.same_bytes))
    files = write_model(model, folder, DATA_ABOVE, same_bytes=stored.same_bytes)
    total = stored_sizes(folder, files)
    return OnnxArtifact(folder / files[0], files, total, OnnxBytes(**sizes, overhead=total - sum(sizes.values())))


def _sizes(graph: ir.Graph, integers: set[str], scales: set[str], again: set[str]) -> dict[str, int]:
    sizes = {"indices": 0, "luts": 0, "kept": 0}
    for name, value in graph.initializers.items():
        if value.const_value is None or name in again:
            continue
        kind = "indices" if name in integers else "luts" if name in scales else "kept"
        sizes[kind] += value.const_value.nbytes
    return sizes
