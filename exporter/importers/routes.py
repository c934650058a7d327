"""Chooses how a model is imported: natively from its configuration, through optimum, or from an `.onnx` file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from exporter.checkpoint import Checkpoint, open_checkpoint
from exporter.errors import Diagnostic, InputError, KogataError, UnsupportedError, UsageError
from exporter.graph.model import GraphSpec, Hub
from exporter.graph.passes.simplify import simplify
from exporter.importers.families import FAMILIES, UNSUPPORTED_TYPES
from exporter.importers.missing_parts import missing_parts
from exporter.importers.native import embeds, has_class
from exporter.importers.onnx_file import import_onnx, is_onnx_file, open_onnx

CACHED_TOKENS = 4096  # a decoder's default context: phones allocate the whole KV cache, 0.1 GB and more at this length
Route = Literal["native", "optimum", "onnx"]


@dataclass(frozen=True)
class ImportOptions:
    """The user's settings. context: longest text, in tokens; None: the default. shapes: input, or `component.input` →
    its sizes, for models that aren't imported natively. keep_integers: weights of an ONNX file that are stored as
    integers stay so, because nothing is compressed."""

    context: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    keep_integers: bool = False


@dataclass(frozen=True)
class Imported:
    """An imported model.

    hubs: its graphs, one for each component, in the order in which they run. unused: checkpoint tensors that the graphs
    don't use → the reason. notes: which sizes were chosen by default.
    """

    route: Route
    hubs: tuple[Hub, ...]
    unused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Diagnostic, ...] = ()


def open_model(reference: str, *, revision: str | None = None) -> Checkpoint:
    """Opens a checkpoint (see `open_checkpoint`) or an `.onnx` file. Raises InputError if that fails."""
    if not is_onnx_file(reference):
        return open_checkpoint(reference, revision=revision)
    if revision is not None:
        raise InputError.of(
            "checkpoint.revision", "a revision needs a Hugging Face id; this is a file", where="--revision"
        )
    return open_onnx(reference)


def route_of(checkpoint: Checkpoint) -> Route:
    """How the model will be imported. Loads transformers if the architecture isn't supported natively.

    Raises UnsupportedError for an unknown `model_type`, with what it has that is missing here, or the supported types.
    """
    if checkpoint.root.is_file():
        return "onnx"
    model_type = checkpoint.config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        return "native"  # the native importer finds the family from the class, or reports the problem
    stated = checkpoint.config.get("architectures")
    named = isinstance(stated, list) and bool(stated) and all(isinstance(name, str) for name in stated)
    family = FAMILIES.get(model_type)
    names = tuple(stated or ()) if named else ()
    if family is not None and (not names or has_class(family, names, embeds=embeds(checkpoint))):
        return "native"
    from exporter.importers.optimum_export import is_model_class, optimum_types

    if family is not None and not any(is_model_class(name) for name in names):
        return "native"  # its error lists the supported architectures
    others = optimum_types()
    if model_type in others:
        return "optimum"
    if family is not None:
        return "native"  # its error lists the supported architectures
    raise _unknown(model_type, checkpoint.config, others)


def _unknown(model_type: str, config: Mapping[str, Any], others: frozenset[str]) -> KogataError:
    """The error for a model type that no route imports: what it has that is missing here, or a name that is near."""
    from exporter.importers.optimum_export import is_model_type

    shown = model_type if len(model_type) <= 60 else f"{model_type[:57]}..."
    where = "config.json: model_type"
    other = "if another exporter can make an ONNX file of it: kogata export model.onnx"
    parts = missing_parts(config) or tuple(filter(None, [UNSUPPORTED_TYPES.get(model_type)]))
    if parts:
        message = f"model type {shown!r} has {' and '.join(parts)}, which Kogata doesn't support"
        return UnsupportedError.of("model.unknown", message, where=where, hint=other)
    # The name of another model explains nothing where transformers knows this one: it isn't misspelt.
    known = is_model_type(model_type)
    near = [] if known else difflib.get_close_matches(shown.lower(), sorted({*FAMILIES, *others}), n=1)
    ways = {**dict.fromkeys(others, "through optimum"), **dict.fromkeys(FAMILIES, "natively")}
    nearest = f"; the nearest name is {near[0]!r}, exported {ways[near[0]]}" if near else ""
    return UnsupportedError.of(
        "model.unknown",
        f"neither Kogata nor optimum's ONNX exporter supports the model type {shown!r}{nearest}",
        where=where,
        hint=f"natively supported: {', '.join(sorted(FAMILIES))}; through optimum: {len(others)} more types; {other}",
    )


def import_model(checkpoint: Checkpoint, options: ImportOptions, work: Path, route: Route | None = None) -> Imported:
    """Imports a model. work: a folder for temporary files. route: None finds it with `route_of`.

    Raises UsageError for options that don't apply to the route, and the errors of the importers.
    """
    route = route or route_of(checkpoint)
    if route == "native":
        if options.shapes:
            message = "--shape applies to ONNX files and to models imported through optimum; this one takes any length"
            raise UsageError.of("options.shape", message, where="--shape", hint="set the longest text with --context")
        from exporter.importers import build_graph
        from exporter.importers.native import plan_import

        plan = plan_import(checkpoint, options.context, CACHED_TOKENS)
        return Imported(route, (build_graph(plan),), plan.binding.unused)
    if route == "onnx":
        if options.context is not None:
            message = "--context doesn't apply to an .onnx file"
            raise UsageError.of("options.context", message, where="--context", hint="use --shape input_ids=1,128")
        hub, assumed = import_onnx(checkpoint.root, options.shapes, keep_integers=options.keep_integers)
        return Imported(route, (hub,), notes=_guess_note(assumed))
    from exporter.importers.optimum import import_through_optimum

    hubs, assumed = import_through_optimum(checkpoint, options.shapes, options.context, work)
    return Imported(route, hubs, notes=_guess_note(assumed))


def require_runnable(imported: Imported) -> None:
    """Raises InputError if the given and the chosen sizes of an ONNX graph don't fit together."""
    for hub in imported.hubs:
        if not isinstance(hub.spec, GraphSpec) or serves_coreml(hub) is not None:
            continue
        try:
            simplify(hub.model, hub.spec.shapes)
        except InputError as error:
            shown = "; ".join(f"{port.name} [{', '.join(map(str, port.shape))}]" for port in hub.spec.inputs)
            chosen = "chosen" if imported.notes else "given"
            hint = f"sizes {chosen} for its inputs: {shown}; state sizes that fit with --shape NAME=1,…"
            InputError.raise_all([replace(d, hint=d.hint or hint) for d in error.diagnostics])


def serves_coreml(hub: Hub) -> Diagnostic | None:
    """The reason why no Core ML program can be written for this graph, whatever its ops; None if one can be."""
    if isinstance(hub.spec, GraphSpec) and any(port.kind == "past" for port in hub.spec.inputs):
        return Diagnostic(
            "coreml.cache",
            f"optimum exports a {hub.family} decoder with a cache that grows with each token; Core ML programs with a "
            "cache are supported only for natively imported families",
            where="config.json: model_type",
            hint="export with --to onnx",
        )
    return None


def _guess_note(assumed: tuple[str, ...]) -> tuple[Diagnostic, ...]:
    if not assumed:
        return ()
    message = f"the model leaves sizes open; these were chosen: {'; '.join(assumed)}"
    hint = "choose other sizes with --shape NAME=1,…; the ONNX file takes any size"
    return (Diagnostic("onnx.shape-chosen", message, where="--shape", hint=hint, level="note"),)
