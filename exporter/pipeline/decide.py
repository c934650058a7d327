"""Decides what an export makes before anything of the bundle is written: forms, and bits for every matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.compress import Choice, CompressOptions, compress
from exporter.compress.choices import UNCOMPRESSED
from exporter.compress.gridding import GridOptions
from exporter.compress.proxy import WeightError
from exporter.compress.search import Sensitivity
from exporter.errors import Diagnostic
from exporter.formats import Form
from exporter.graph.model import Hub
from exporter.graph.spill import Spill
from exporter.pipeline.bits import KL_MARGIN, Mixed, planned, replayed, require_kl, require_reachable
from exporter.pipeline.fit import Fitted, answer_kind, fitted_compression, open_session
from exporter.pipeline.grids import fitted_grids
from exporter.pipeline.opened import OpenModel
from exporter.pipeline.options import CalibrationOptions
from exporter.pipeline.parts import candidates
from exporter.pipeline.sensitivity import TextSensitivity
from exporter.pipeline.settings import INT4, Settings
from exporter.pipeline.sizes import FileSizes
from exporter.progress import Progress

if TYPE_CHECKING:
    from exporter.calibration.session import Session

FIT_BELOW_BITS = 8  # from so many bits on palettes are fitted to text only where that was asked for: it gains nothing
KL_ATTEMPTS = 4  # allocations for a limit on KL: what they cost together is known only when they are fitted
KL_TOO_LOW = 0.85  # share of the limit: an allocation whose KL is below that could be smaller
KL_AIM = 0.95  # share of the limit that the next attempt aims at


@dataclass(frozen=True)
class Job:
    """What to build, and from what. hubs: the model's graphs. name: of the bundle. folder: the work area."""

    model: OpenModel
    hubs: tuple[Hub, ...]
    settings: Settings
    calibration: CalibrationOptions
    name: str
    folder: Path


@dataclass(frozen=True)
class BuildPlan:
    """What was decided.

    mixed: bits for every matrix; None where all get the same. fitted: of each graph, where deciding had to
    fit it: whether a limit on KL is kept shows only then.
    """

    forms: tuple[Form, ...]
    mixed: Mixed | None = None
    fitted: tuple[Fitted, ...] | None = None


@dataclass(frozen=True)
class Workspace:
    """What deciding and building share: calibration sessions and temporary files, each opened when first used."""

    job: Job
    progress: Progress
    notes: list[Diagnostic] = field(default_factory=list)

    @cached_property
    def spill(self) -> Spill:
        """Holds palettes and grids on disk until they are written."""
        return Spill(self.job.folder)

    @cached_property
    def sizes(self) -> FileSizes:
        """How large files become."""
        job = self.job
        return FileSizes(job.model, job.hubs, job.settings, job.name, job.folder)

    @cached_property
    def sessions(self) -> tuple[Session | None, ...]:
        """Each graph with its calibration texts; None for one that is compressed without."""
        job, wanted = self.job, self.job.calibration.wanted
        bits = job.settings.bits
        fits = bits is None or bits < FIT_BELOW_BITS or wanted is not None
        if wanted == "none" or bits == UNCOMPRESSED or not fits:
            return (None,) * len(job.hubs)
        sessions: list[Session | None] = []
        for hub in job.hubs:
            opened = open_session(hub, job.model.tokenizer, wanted, self.progress, job.calibration.device)
            if isinstance(opened, Diagnostic):
                self.notes.append(opened)
            sessions.append(None if isinstance(opened, Diagnostic) else opened)
        return tuple(sessions)

    def compressed(self, index: int, mixed: Mixed | None) -> Fitted:
        """Compresses one of the graphs for all forms that are written. Raises as `compress` does."""
        settings = self.job.settings
        if settings.grids_only:
            return self._grids(index, mixed)
        fitted = self._palettes(index, mixed)
        if not settings.grid_forms:
            return fitted
        return replace(fitted, grids=self._grids(index, None).grids)

    def _grids(self, index: int, mixed: Mixed | None) -> Fitted:
        job, hub = self.job, self.job.hubs[index]
        options = GridOptions(INT4, mixed.of(hub, job.hubs) if mixed else {})
        return fitted_grids(self.sessions[index], candidates(hub), options, self.progress, self.spill)

    def _palettes(self, index: int, mixed: Mixed | None) -> Fitted:
        job, hub, session = self.job, self.job.hubs[index], self.sessions[index]
        bits = UNCOMPRESSED if job.settings.bits is None else job.settings.bits
        choices: Mapping[str, Choice] = mixed.of(hub, job.hubs) if mixed else {}
        rows, tensors = job.settings.group_size, candidates(hub)
        options = CompressOptions(bits, rows, choices, widen=job.settings.widths.group_size is None)
        if session is None:
            return Fitted(compress(tensors, options, self.progress, self.spill))
        return fitted_compression(session, tensors, options, self.progress, self.spill)


def decide(work: Workspace) -> BuildPlan:
    """Raises UsageError for a budget that can't be met, UnsupportedError for bits that a target can't take."""
    job = work.job
    settings, budget = job.settings, job.settings.widths.budget
    if settings.widths.plan is not None:
        return BuildPlan(settings.forms, replayed(job.hubs, settings))
    if budget is None:
        return BuildPlan(settings.forms)
    if budget.kind == "kl":  # before any text is read
        require_kl(budget, answer_kind(job.hubs))
    require_reachable(job.hubs, settings, work.sizes)
    sensitivity = _sensitivity(work)
    if budget.kind == "kl" and work.sessions[0] is not None:
        return _within_kl(work, work.sessions[0], sensitivity, KL_MARGIN * budget.value)
    return BuildPlan(settings.forms, planned(job.hubs, settings, sensitivity, work.sizes, work.progress))


def _sensitivity(work: Workspace) -> Sensitivity:
    """What errors in a matrix cost: measured on text, or, for several graphs or without text, taken from weights."""
    budget, session = work.job.settings.widths.budget, work.sessions[0]
    if len(work.job.hubs) > 1 or session is None:
        return WeightError()
    return TextSensitivity(session, work.spill, bound=budget is not None and budget.kind == "kl")


def _within_kl(work: Workspace, session: Session, sensitivity: Sensitivity, limit: float) -> BuildPlan:
    """The smallest allocation whose fitted palettes keep the limit: chosen, fitted, judged, and chosen anew."""
    job, aim = work.job, KL_MARGIN
    best: tuple[Mixed, list[Fitted]] | None = None
    for _ in range(KL_ATTEMPTS):
        mixed = planned(job.hubs, job.settings, sensitivity, work.sizes, work.progress, aim)
        fitted = [work.compressed(index, mixed) for index in range(len(job.hubs))]
        error = session.distance(fitted[0].decoded, bound=True)
        if error <= limit and (best is None or _stored_bytes(fitted) < _stored_bytes(best[1])):
            best = mixed, fitted
        measured = mixed.found.chosen.measured if mixed.found is not None else None
        if not measured or not error or KL_TOO_LOW * limit <= error <= limit:
            break
        aim = KL_AIM * KL_MARGIN * measured / error  # the search's palettes are fitted less thoroughly
    mixed, fitted = best or (mixed, fitted)
    return BuildPlan(job.settings.forms, mixed, tuple(fitted))


def _stored_bytes(fitted: Sequence[Fitted]) -> int:
    return sum(part.compression.stored_bytes for part in fitted)
