"""Hands an export's results to parity: texts for text models, inputs by kind for other graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.checkpoint import Checkpoint
from exporter.errors import InputError
from exporter.graph.model import EncoderSpec, GraphSpec, Hub, has_cache
from exporter.importers import reference_points
from exporter.importers.routes import Route
from exporter.parity import ParityOptions, ParityReport, Subjects, check_parity
from exporter.parity.fit_limits import FitCost
from exporter.pipeline.opened import OpenModel
from exporter.pipeline.parts import Part
from exporter.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.bundle import FitFacts
    from exporter.runners.reference_graph import TorchReference

LONGEST_TEXT = 2048  # tokens of the longest parity text of a decoder that states no length


def compare(
    model: OpenModel, parts: Sequence[Part], options: ParityOptions, progress: Progress
) -> dict[str, ParityReport]:
    """What was made of a model, compared with it: component → its report.

    Raises as `check_parity` and `check_graphs` do.
    """
    part = parts[0]
    options = replace(options, cost=fit_cost(part.fit if len(parts) == 1 else None, options))
    if not isinstance(part.hub.spec, GraphSpec) or has_cache(part.hub.spec):
        return {part.component: check_parity(_subjects(model, part), options, progress)}
    from exporter.parity.graphs.check import check_graphs
    from exporter.parity.graphs.subjects import GraphSubjects

    reference = torch_reference(model.checkpoint, model.route)
    components = [
        GraphSubjects(
            spec=part.hub.spec,
            hub=part.hub,
            compressed=part.compressed,
            artifacts=part.artifacts,
            reference=reference,
            tokenizer=model.tokenizer,
            preprocessor=model.checkpoint.preprocessor,
            source=model.checkpoint.root if model.route == "onnx" else None,
        )
        for part in parts
        if isinstance(part.hub.spec, GraphSpec)
    ]
    return check_graphs(components, options, progress)


def fit_cost(facts: FitFacts | None, options: ParityOptions) -> FitCost | None:
    """What fitting measured, as parity's limits need it; None where nothing was fitted."""
    if facts is None:
        return None
    own = options.prompts
    same = "built-in" in facts.texts if own is None else own.path.name in facts.texts
    return FitCost(facts.error, facts.shipped, facts.plain, same)


def merged(reports: Mapping[str, ParityReport]) -> ParityReport:
    """All components' reports as one."""
    from exporter.parity.graphs.merge import merged as merge

    return merge(reports)


def torch_reference(checkpoint: Checkpoint, route: Route) -> TorchReference | None:
    """The checkpoint in transformers; None for an `.onnx` file, whose reference is the file itself."""
    if route != "optimum":
        return None
    from exporter.importers.optimum_export import class_and_task, quiet
    from exporter.runners.reference_graph import TorchReference

    with quiet():
        return TorchReference(checkpoint.root, class_and_task(checkpoint)[0])


def _subjects(model: OpenModel, part: Part) -> Subjects:
    """What parity compares of a model that was imported natively, or of any text decoder with a cache."""
    if model.tokenizer is None:
        raise InputError.of(
            "parity.tokenizer",
            "a text model is compared on texts, and the checkpoint has no tokenizer",
            where="tokenizer.json",
            hint="--parity none exports without a check",
        )
    return Subjects(
        task=part.hub.task,
        context=part.hub.spec.context or LONGEST_TEXT,
        tokenizer=model.tokenizer,
        checkpoint=_folder(model.checkpoint),
        hub=part.hub,
        compressed=part.compressed,
        artifacts=part.artifacts,
        reference_points=_points(part.hub),
        rope_switch=None if isinstance(part.hub.spec, GraphSpec) else part.hub.spec.rope_switch,
        scores=part.hub.spec.scores if isinstance(part.hub.spec, EncoderSpec) else None,
    )


def _points(hub: Hub) -> dict[str, str]:
    return {} if isinstance(hub.spec, GraphSpec) else reference_points(hub)


def _folder(checkpoint: Checkpoint) -> Path | None:
    return checkpoint.root if checkpoint.root.is_dir() else None
