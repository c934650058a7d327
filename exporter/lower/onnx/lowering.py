"""Lowers a graph to ONNX files, with indices packed to their number of bits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    RemoveUnusedFunctionsPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
)

from exporter import __version__
from exporter.graph.model import GraphSpec, Hub
from exporter.lower.onnx.artifact import OnnxArtifact, OnnxBytes, OnnxOptions
from exporter.lower.onnx.store import StoredNames, pack_palettes, store_dense
from exporter.lower.onnx.write import MODEL, stored_sizes, write_model

# Output → its name in optimum and sentence-transformers (transformers.js accepts both).
CLIENT_NAMES = {"token_embeddings": "last_hidden_state"}


def lower_onnx(hub: Hub, folder: Path, options: OnnxOptions) -> OnnxArtifact:
    """Writes `folder/COMPONENT.onnx`, and `COMPONENT.onnx.data` for a large model. `hub` isn't changed. The component's
    name is `model` if the model is a single graph.

    Inputs and outputs keep their names, except `token_embeddings`, which ONNX clients call `last_hidden_state`.
    The same graph and options give the same bytes. Existing files with these names are replaced. Raises
    UnsupportedError if `options.weights` can't represent the weights, InputError if files can't be written.
    """
    model = hub.model.clone()
    names = StoredNames()
    if options.weights == "palette":
        names = pack_palettes(model, hub.palettes)
    else:
        dtype = ir.DataType.FLOAT16 if options.weights == "fp16" else ir.DataType.FLOAT
        store_dense(model, tuple(weight.name for weight in hub.weights), hub.palettes, dtype)
    tidy(model, options.metadata, hub.palettes)
    sizes = _sizes(model, names)
    component = hub.spec.component if isinstance(hub.spec, GraphSpec) else MODEL
    files = write_model(model, folder, options.external_data_above, component)
    total = stored_sizes(folder, files)
    accounting = OnnxBytes(
        indices=sizes["indices"], luts=sizes["luts"], kept=sizes["kept"], overhead=total - sum(sizes.values())
    )
    return OnnxArtifact(folder / files[0], files, total, accounting)


def tidy(model: ir.Model, metadata: Mapping[str, str], decoded: Collection[str]) -> None:
    """Removes unused items and traces of this machine; sets the model's metadata.

    decoded: names of values that are decoded weights.
    """
    for step in (
        RemoveUnusedNodesPass(),
        RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        RemoveUnusedOpsetsPass(),
        ClearMetadataAndDocStringPass(),
    ):
        step(model)
    model.doc_string = None  # the pass above clears only those of nodes and functions
    _trim(model.graph, decoded)
    model.producer_name, model.producer_version = "kogata", __version__
    for value in model.graph.outputs:
        value.name = CLIENT_NAMES.get(value.name or "", value.name)
    model.metadata_props.clear()
    model.metadata_props.update(sorted(metadata.items()))


def _trim(graph: ir.Graph, decoded: Collection[str]) -> None:
    """Removes types of inner values, which runtimes infer, and names of nodes that decode weights.

    In a model of a few million weights this saves one or two percent of the file. Values keep their names, and so do
    all other nodes, because profilers show them. Decoded weights keep their shapes: without them onnxruntime at first
    infers a width of 0 for the output of attention and logs a warning for every layer.
    """
    outputs = set(graph.outputs)
    constants: set[ir.Value | None] = {None, *graph.initializers.values()}
    for node in graph:
        if constants.issuperset(node.inputs):
            constants.update(node.outputs)
            node.name = None
    made = (value for node in graph for value in node.outputs if value not in outputs and value.name not in decoded)
    for value in (*graph.initializers.values(), *made):
        value.type = value.shape = None


def _sizes(model: ir.Model, names: StoredNames) -> dict[str, int]:
    sizes = {"indices": 0, "luts": 0, "kept": 0}
    for name, value in model.graph.initializers.items():
        if value.const_value is None or name in names.constants:
            continue
        kind = "indices" if name in names.indices else "luts" if name in names.luts else "kept"
        sizes[kind] += value.const_value.nbytes
    return sizes
