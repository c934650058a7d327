"""Imports any model that optimum can export to ONNX. optimum traces it in torch; no code of the checkpoint is run.

Source: optimum's exporter, https://huggingface.co/docs/optimum-onnx/onnx/usage_guides/export_a_model.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from exporter.checkpoint import Checkpoint
from exporter.errors import UnsupportedError, UsageError
from exporter.graph.model import Hub
from exporter.importers.graph_file import read_graph
from exporter.importers.graph_inputs import Sizes
from exporter.importers.model_sizes import ModelSizes, read_sizes
from exporter.importers.onnx_file import GraphFacts, graph_hub
from exporter.importers.optimum_export import WITH_PAST, class_and_task, quiet, trace
from exporter.importers.sentence_graph import append_sentence, stated_sentence, stated_width
from exporter.importers.towers import split_towers

_COMPONENTS = ({"model"}, {"encoder_model", "decoder_model"}, {"text_model", "vision_model"})


@dataclass(frozen=True)
class Exported:
    """optimum's export. graphs: component → its graph. architecture: the transformers class. task: as the Hugging Face
    hub calls it."""

    graphs: Mapping[str, ir.Model]
    architecture: str
    task: str


def import_through_optimum(
    checkpoint: Checkpoint, given: Mapping[str, tuple[int, ...]], context: int | None, work: Path
) -> tuple[tuple[Hub, ...], tuple[str, ...]]:
    """The graphs of the model's components, and the inputs whose sizes were guessed (`DescribedInputs.assumed`).

    given: input, or `component.input` → its shape. context: longest text, in tokens. work: a folder for temporary
    files. Raises UnsupportedError with optimum's message if it can't export the model, InputError for a checkpoint that
    transformers can't load.
    """
    sentence = stated_sentence(checkpoint)
    sizes = read_sizes(checkpoint, context)
    if sentence is not None and context is None and checkpoint.sentence and checkpoint.sentence.max_seq_length:
        sizes = replace(sizes, context=min(sizes.context, checkpoint.sentence.max_seq_length))
    with tempfile.TemporaryDirectory(dir=work) as folder:
        exported = _export(checkpoint, sizes, Path(folder))
    if context is not None and not any(_reads_text(model.graph) for model in exported.graphs.values()):
        message = f"this {exported.task} model has no text input, so --context doesn't apply"
        raise UsageError.of(
            "options.context", message, where="--context", hint="use --shape to set sizes of its inputs"
        )
    if sentence is not None and len(exported.graphs) > 1:
        message = "the modules are not supported for a model of several graphs"
        raise UnsupportedError.of("sentence.graph", message, where="modules.json")
    hubs: list[Hub] = []
    assumed: list[str] = []
    for name, model in exported.graphs.items():
        facts = GraphFacts(
            family=str(checkpoint.config["model_type"]),
            task=exported.task,
            component=name,
            context=sizes.context if _reads_text(model.graph) else None,
            labels=_labels(checkpoint.config, exported.task),
            vocabulary=sizes.vocabulary,
            sources=_sources(name, model.graph),
        )
        own = Sizes(_component_shapes(given, name, model.graph, exported.graphs), sizes.axes(model.graph), guess=True)
        hub, guessed = graph_hub(model, facts, own)
        if sentence is not None:
            hub = append_sentence(hub, sentence, _most_places(checkpoint, sizes), stated_width(checkpoint))
        hubs.append(hub)
        assumed += guessed
    return tuple(hubs), tuple(assumed)


def _export(checkpoint: Checkpoint, sizes: ModelSizes, folder: Path) -> Exported:
    with quiet():
        architecture, task = class_and_task(checkpoint)
        trace(checkpoint, architecture, task, sizes, folder)
    gc.collect()  # torch's copy of the weights is no longer needed
    graphs = {path.stem: read_graph(path) for path in sorted(folder.glob("*.onnx"))}
    if set(graphs) == {"model"}:
        graphs = split_towers(graphs["model"]) or graphs
    if set(graphs) not in _COMPONENTS:
        raise UnsupportedError.of(
            "optimum.components",
            f"optimum exports this model as {', '.join(graphs) or 'nothing'}; Kogata packs a model, an encoder with "
            "its decoder, or two towers",
            where=f"config.json: {architecture}",
        )
    order = {"encoder_model": 0, "text_model": 0}
    graphs = dict(sorted(graphs.items(), key=lambda item: order.get(item[0], 1)))
    return Exported(graphs, architecture, task.removesuffix(WITH_PAST))


def _most_places(checkpoint: Checkpoint, sizes: ModelSizes) -> int:
    """The longest text, in tokens: the ONNX file takes more than the sizes that were chosen for Core ML."""
    stated = checkpoint.config.get("max_position_embeddings")
    return max(sizes.context, stated) if type(stated) is int else sizes.context


def _component_shapes(
    given: Mapping[str, tuple[int, ...]], component: str, graph: ir.Graph, graphs: Mapping[str, ir.Model]
) -> dict[str, tuple[int, ...]]:
    """The user's shapes for this component: those of `component.input`, and of `input` if it has an input of that name.

    The first component also gets names that no component has, and reports them as a problem.
    """
    everywhere = {str(value.name) for model in graphs.values() for value in model.graph.inputs}
    here = {str(value.name) for value in graph.inputs}
    own: dict[str, tuple[int, ...]] = {}
    for name, shape in given.items():
        prefix, _, rest = name.partition(".")
        if prefix == component:
            own[rest] = shape
        elif name in here or (name not in everywhere and prefix not in graphs and component == next(iter(graphs))):
            own.setdefault(name, shape)
    return own


def _sources(component: str, graph: ir.Graph) -> dict[str, tuple[str, str]]:
    """A decoder's inputs that come from its encoder: hidden states, and the mask that hides padding."""
    if component != "decoder_model":
        return {}
    known = {"encoder_hidden_states": "last_hidden_state", "encoder_attention_mask": "attention_mask"}
    names = [str(value.name) for value in graph.inputs]
    return {name: ("encoder_model", known[name]) for name in names if name in known}


def _reads_text(graph: ir.Graph) -> bool:
    return any(str(value.name).endswith("input_ids") for value in graph.inputs)


def _labels(config: Mapping[str, Any], task: str) -> tuple[str, ...]:
    """A classifier's labels in order; empty if they are only transformers' placeholders LABEL_0, LABEL_1, …"""
    stated = config.get("id2label")
    if not task.endswith("classification") or task.startswith("zero-shot") or not isinstance(stated, dict):
        return ()
    labels = [stated.get(str(i)) for i in range(len(stated))]
    named = tuple(label for label in labels if isinstance(label, str) and label)
    placeholders = all(label == f"LABEL_{i}" for i, label in enumerate(named))
    return () if placeholders or len(named) != len(labels) else named
