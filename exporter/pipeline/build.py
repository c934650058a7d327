"""Does what was decided: palettes, and the files of every form, one graph after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from exporter.compress.decisions import as_integers
from exporter.errors import Diagnostic
from exporter.formats import MOBILE, artifact_path
from exporter.graph.model import GraphSpec
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.lower.forms import write_form
from exporter.pipeline.bits import Mixed
from exporter.pipeline.decide import BuildPlan, Workspace
from exporter.pipeline.fit import Fitted, Recovery, recovered
from exporter.pipeline.parts import Part, component_of, write_options
from exporter.runners.ort import require_loadable


@dataclass(frozen=True)
class Built:
    """parts: with their files, not yet compared. mixed: None where all matrices get the same bits. notes: for the
    report."""

    parts: tuple[Part, ...]
    mixed: Mixed | None
    notes: tuple[Diagnostic, ...]


def build(work: Workspace, plan: BuildPlan, recovery: Recovery | None) -> Built:
    """recovery: of LUTs after fitting. Raises KogataError, as the stages do."""
    parts = tuple(_part(work, plan, index, recovery) for index in range(len(work.job.hubs)))
    return Built(parts, plan.mixed, tuple(work.notes))


def _part(work: Workspace, plan: BuildPlan, index: int, recovery: Recovery | None) -> Part:
    job, hub = work.job, work.job.hubs[index]
    fitted = _fitted(work, plan, index, recovery)
    work.notes.extend(fitted.notes)
    component = component_of(hub)
    facts = fitted.facts and replace(fitted.facts, component=component)
    compressed = apply_palettes(hub, fitted.compression.palettes)
    artifacts = {}
    for form in plan.forms:
        work.progress.stage(f"write {form.format}", 1)
        path = job.folder / artifact_path(form, job.name, component, plan.forms)
        options = write_options(job.name, job.model.checkpoint, hub, job.settings.weights_of(form))
        options = replace(options, grids=fitted.grids if form in job.settings.grid_forms else {})
        write_form(form, compressed, path, options)
        if form.format == "onnx" and isinstance(hub.spec, GraphSpec):  # the ops of other graphs are known to run
            require_loadable(path)
        artifacts[form] = path
    compression = fitted.compression
    if set(plan.forms) == {MOBILE} and not job.settings.grids_only:
        compression = replace(compression, decisions=tuple(as_integers(d) for d in compression.decisions))
    return Part(hub, compressed, compression, artifacts, fit=facts)


def _fitted(work: Workspace, plan: BuildPlan, index: int, recovery: Recovery | None) -> Fitted:
    fitted = work.compressed(index, plan.mixed) if plan.fitted is None else plan.fitted[index]
    session = work.sessions[index]
    if session is None or recovery is None:
        return fitted
    return recovered(session, fitted, recovery, work.progress, work.spill)
