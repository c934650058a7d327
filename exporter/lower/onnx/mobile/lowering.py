"""Lowers a text model's graph to an ONNX file that onnxruntime opens without decoding any weight."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from exporter.errors import Diagnostic
from exporter.formats import LAST
from exporter.graph.grid import Grid, GridBits
from exporter.graph.model import DecoderSpec, GraphSpec, Hub
from exporter.graph.passes.rewrite import Rewriter
from exporter.lower.onnx.artifact import OnnxArtifact, OnnxBytes
from exporter.lower.onnx.lowering import tidy
from exporter.lower.onnx.mobile.attention import MICROSOFT, attention_problem, fuse_attention
from exporter.lower.onnx.mobile.elementwise import fuse_gates, fuse_norms, store_floats
from exporter.lower.onnx.mobile.join import join_projections
from exporter.lower.onnx.mobile.texts import Texts, head_of
from exporter.lower.onnx.mobile.weights import Sources, Stored, quantize_weights
from exporter.lower.onnx.write import stored_sizes, write_model

MobileWeights = Literal["int8", "int4"]
_BITS: Mapping[MobileWeights, GridBits] = {"int8": 8, "int4": 4}


@dataclass(frozen=True)
class MobileOptions:
    """weights: how matrices are stored that have no grid. grids: of weights, by name, as they are to be stored.
    metadata: the model's metadata properties, written in sorted order. external_data_above: bytes of tensors from which
    they lie in a file of their own, which the runtime maps."""

    weights: MobileWeights = "int8"
    grids: Mapping[str, Grid] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    external_data_above: int = 1 << 20


def mobile_problem(hub: Hub) -> Diagnostic | None:
    """Why the form can't express the graph; None where it can."""
    graph, reason = hub.model.graph, None
    if isinstance(hub.spec, GraphSpec):
        reason = "only text models that Kogata imports itself have it"
    elif isinstance(hub.spec, DecoderSpec):
        reason = attention_problem(graph, hub.spec.cache.head_dim)
        if reason is None and head_of(graph) is None:
            reason = "the logits don't come from one product with a matrix"
    if reason is None:
        return None
    hint = "leave out --onnx-form: the model has the portable form"
    return Diagnostic("onnx.no-mobile-form", f"the model has no ONNX form for phones: {reason}", "--onnx-form", hint)


def lower_mobile(hub: Hub, folder: Path, options: MobileOptions) -> OnnxArtifact:
    """Writes `folder/model.onnx`, `model.onnx.data` and, for a decoder with a data file, `model_last.onnx`, which has
    the logits of the last token alone and the same data. `hub` isn't changed; `mobile_problem` finds none with it.

    Inputs and outputs keep their names. The same graph and options give the same bytes. Raises InputError if files
    can't be written.
    """
    model, stored = _lowered(hub, options, last=False)
    sizes = _sizes(model.graph, stored)
    files = write_model(model, folder, options.external_data_above, same_bytes=stored.same_bytes)
    if len(files) > 1 and isinstance(hub.spec, DecoderSpec):
        tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
        data = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, ir.ExternalTensor)}
        last, _ = _lowered(hub, options, last=True)
        files = (*files, _write_last(last, folder, data))
    total = stored_sizes(folder, files)
    return OnnxArtifact(folder / files[0], files, total, OnnxBytes(**sizes, overhead=total - sum(sizes.values())))


def _lowered(hub: Hub, options: MobileOptions, *, last: bool) -> tuple[ir.Model, Stored]:
    """The model before its tensors are written. last: with logits of the last token alone."""
    model = hub.model.clone()
    graph = model.graph
    graph.opset_imports[MICROSOFT] = 1
    if isinstance(hub.spec, DecoderSpec):
        _fuse_decoder(graph, hub.spec, last=last)
        RemoveUnusedNodesPass()(model)
    names = hub.palettes.keys() | options.grids.keys()
    weights = tuple(weight for weight in hub.weights if weight.name in names)
    store_floats(graph, {weight.name for weight in hub.weights})
    stored = quantize_weights(model, weights, Sources(options.grids, hub.palettes, _BITS[options.weights]))
    RemoveUnusedNodesPass()(model)
    join_projections(graph, stored)
    fuse_norms(graph)
    fuse_gates(graph)
    tidy(model, options.metadata, ())
    return model, stored


def _fuse_decoder(graph: ir.Graph, spec: DecoderSpec, *, last: bool) -> None:
    rewriter, head = Rewriter(graph), head_of(graph)
    assert head is not None
    texts = Texts(rewriter)
    fuse_attention(rewriter, spec.cache.head_dim)
    texts.align()
    if last:
        texts.keep_last(head)
    else:
        texts.restore(head)


def _write_last(model: ir.Model, folder: Path, data: Mapping[str, ir.ExternalTensor]) -> str:
    """data: initializer → its tensor in the data file."""
    for name, value in model.graph.initializers.items():
        value.const_value = data.get(name, value.const_value)
    return write_model(model, folder, sys.maxsize, LAST)[0]


def _sizes(graph: ir.Graph, stored: Stored) -> dict[str, int]:
    sizes = {"indices": 0, "luts": 0, "kept": 0}
    for name, value in graph.initializers.items():
        if value.const_value is None or name in stored.same_bytes:
            continue
        kind = "indices" if name in stored.integers else "luts" if name in stored.scales else "kept"
        sizes[kind] += value.const_value.nbytes
    return sizes
