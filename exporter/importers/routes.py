"""Which way a model goes: drawn from its configuration, exported by optimum, or taken from an `.onnx` file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from exporter.checkpoint import Checkpoint, open_checkpoint
from exporter.errors import Diagnostic, InputError, UnsupportedError, UsageError
from exporter.graph.model import GraphSpec, Hub
from exporter.graph.passes.simplify import simplify
from exporter.importers.families import FAMILIES, NOT_DRAWN
from exporter.importers.onnx_file import import_onnx, is_onnx_file, open_onnx

CACHED_TOKENS = 4096  # a decoder's context unless asked for: phones allocate the KV cache in full, 0.1 GB and more
Route = Literal["native", "optimum", "onnx"]


@dataclass(frozen=True)
class Asked:
    """context: longest text, in tokens. shapes: input of a graph that isn't drawn, or `component.input` → its sizes."""

    context: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """A model as graphs.

    hubs: one, or each component of a model in the order in which they run. unused: tensors of the checkpoint that
    the graphs do without → why. notes: sizes that were chosen.
    """

    route: Route
    hubs: tuple[Hub, ...]
    unused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Diagnostic, ...] = ()


def open_model(reference: str, *, revision: str | None = None) -> Checkpoint:
    """A checkpoint, as `open_checkpoint` says, or an `.onnx` file."""
    if not is_onnx_file(reference):
        return open_checkpoint(reference, revision=revision)
    if revision is not None:
        raise InputError.of("checkpoint.revision", "a revision belongs to a hub id; this is a file", where="--revision")
    return open_onnx(reference)


def route_of(checkpoint: Checkpoint) -> Route:
    """How the model will be imported. Loads transformers where kogata doesn't draw the architecture itself.

    Raises UnsupportedError with what there is, and the nearest name, for a `model_type` that nobody knows.
    """
    if checkpoint.root.is_file():
        return "onnx"
    model_type = checkpoint.config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        return "native"  # which says what is wrong with it, or finds the family by other means
    stated = checkpoint.config.get("architectures")
    named = isinstance(stated, list) and bool(stated) and all(isinstance(name, str) for name in stated)
    family = FAMILIES.get(model_type)
    if family is not None and (not named or any(name in family.architectures for name in stated or ())):
        return "native"
    from exporter.importers.optimum import is_model_class, optimum_types

    if family is not None and not any(is_model_class(name) for name in stated or ()):
        return "native"  # which names the architectures that it draws
    others = optimum_types()
    if model_type in others:
        return "optimum"
    if family is not None:
        return "native"  # which names the architectures that it draws
    if model_type in NOT_DRAWN:
        message = f"model type {model_type!r} has {NOT_DRAWN[model_type]}, which is not supported"
        raise UnsupportedError.of("model.unknown", message, where="config.json: model_type")
    shown = model_type if len(model_type) <= 60 else f"{model_type[:57]}..."
    near = difflib.get_close_matches(shown.lower(), sorted({*FAMILIES, *others}), n=1)
    ways = {**dict.fromkeys(others, "through optimum"), **dict.fromkeys(FAMILIES, "natively")}
    nearest = f"; the nearest name is {near[0]!r}, exported {ways[near[0]]}" if near else ""
    raise UnsupportedError.of(
        "model.unknown",
        f"model type {shown!r} is known neither to kogata nor to optimum's ONNX exporter{nearest}",
        where="config.json: model_type",
        hint=f"natively supported: {', '.join(sorted(FAMILIES))}; through optimum: {len(others)} more types; "
        "a file that another exporter made can be given as it is: kogata export model.onnx",
    )


def import_model(checkpoint: Checkpoint, asked: Asked, work: Path, route: Route | None = None) -> Imported:
    """The model as graphs. work: a folder for temporary files. route: where the caller knows it already.

    Raises UsageError for shapes of a graph that is imported natively, else as the importers say.
    """
    route = route or route_of(checkpoint)
    if route == "native":
        if asked.shapes:
            message = "shapes are given for models that come as ONNX; this one is drawn, for any length"
            raise UsageError.of("options.shape", message, where="--shape", hint="--context says the longest text")
        from exporter.importers import build_graph
        from exporter.importers.drawing import plan_import

        plan = plan_import(checkpoint, asked.context, CACHED_TOKENS)
        return Imported(route, (build_graph(plan),), plan.binding.unused)
    if route == "onnx":
        if asked.context is not None:
            message = "an .onnx file has no context of its own"
            raise UsageError.of("options.context", message, where="--context", hint="--shape input_ids=1,128")
        hub, assumed = import_onnx(checkpoint.root, asked.shapes)
        return Imported(route, (hub,), notes=_chosen(assumed))
    from exporter.importers.optimum import import_through_optimum

    hubs, assumed = import_through_optimum(checkpoint, asked.shapes, asked.context, work)
    return Imported(route, hubs, notes=_chosen(assumed))


def require_runnable(imported: Imported) -> None:
    """Raises InputError where the sizes of a graph that isn't drawn don't fit together, those that were chosen too."""
    for hub in imported.hubs:
        if not isinstance(hub.spec, GraphSpec) or serves_coreml(hub) is not None:
            continue
        try:
            simplify(hub.model, hub.spec.shapes)
        except InputError as error:
            shown = "; ".join(f"{port.name} [{', '.join(map(str, port.shape))}]" for port in hub.spec.inputs)
            chosen = "were chosen" if imported.notes else "are given"
            hint = f"for its inputs these sizes {chosen}: {shown}; give those that fit: --shape NAME=1,…"
            InputError.raise_all([replace(d, hint=d.hint or hint) for d in error.diagnostics])


def serves_coreml(hub: Hub) -> Diagnostic | None:
    """Why no Core ML program is written of this graph, whatever its ops; None where one can be."""
    if isinstance(hub.spec, GraphSpec) and any(port.kind == "past" for port in hub.spec.inputs):
        return Diagnostic(
            "coreml.cache",
            f"a {hub.family} decoder comes through optimum with a cache that grows with each token; "
            "Core ML programs with a cache are written for the natively supported families",
            where="config.json: model_type",
            hint="export with --to onnx",
        )
    return None


def _chosen(assumed: tuple[str, ...]) -> tuple[Diagnostic, ...]:
    if not assumed:
        return ()
    message = f"sizes that the model leaves open were chosen: {'; '.join(assumed)}"
    hint = "other sizes: --shape NAME=1,…; the ONNX file takes any"
    return (Diagnostic("onnx.shape-chosen", message, where="--shape", hint=hint, level="note"),)
