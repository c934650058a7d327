"""Checkpoint to bundle: import, compress, lower, check, pack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from exporter.bundle import Manifest, Staging, bundle_name, finish_bundle
from exporter.bundle.facts import mean_bits
from exporter.checkpoint import Checkpoint
from exporter.checkpoint.prompts import read_prompts
from exporter.compress import Choice, CompressOptions, compress
from exporter.compress.choices import UNCOMPRESSED
from exporter.compress.proxy import WeightError
from exporter.compress.search import Choices
from exporter.errors import Diagnostic, UnsupportedError, UsageError
from exporter.graph.hub import DecoderSpec, GraphSpec, Hub
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.graph.spill import Spill
from exporter.importers.routes import (
    Asked,
    import_model,
    open_model,
    require_runnable,
    route_of,
    serves_coreml,
)
from exporter.lower.coreml import CoreMLOptions, lower_coreml, unsupported_nodes
from exporter.lower.onnx import OnnxOptions, OnnxWeights, lower_onnx
from exporter.packing import PackingList, Part, bundle_plan, candidates, kogata_metadata
from exporter.parity import ParityOptions, ParityReport
from exporter.parity.prompts import require_pairs
from exporter.parity.task import read_tasks, require_generation
from exporter.planning import (
    Mixed,
    budget_findings,
    finished_plan,
    plan_notes,
    planned,
    replayed,
    size_findings,
)
from exporter.progress import NoProgress, Progress
from exporter.proving import Proof, merged, open_tokenizer, prove
from exporter.settings import Budget, Settings, Widths, require_calibration, settle
from exporter.targets import Format, Target
from exporter.weighing import beside_onnx, weighed


@dataclass(frozen=True)
class ExportRequest:
    """What `kogata export` was asked for. None and empty: decided by the targets, else by `settings`.

    bits, budget, plan: at most one of them. calibrate: "builtin", "none", or a file of texts.
    shapes: input of a graph that kogata doesn't draw → its sizes in the Core ML program and in parity.
    """

    checkpoint: str
    destination: Path
    formats: tuple[Format, ...] = ()
    targets: tuple[Target, ...] = ()
    bits: int | None = None
    budget: Budget | None = None
    plan: Path | None = None
    group_size: int | None = None
    calibrate: str = "none"
    onnx_weights: OnnxWeights = "palette"
    context: int | None = None
    parity: Literal["full", "quick", "none"] = "full"
    prompts: Path | None = None
    task: Path | None = None
    max_task_drop: float | None = None
    revision: str | None = None
    name: str | None = None
    force: bool = False
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def widths(self) -> Widths:
        """How weights are to be stored."""
        return Widths(self.bits, self.budget, self.plan, self.group_size)


@dataclass(frozen=True)
class ExportResult:
    """What came of it. path: the bundle, or `DESTINATION.rejected` when a gate failed; parity: None when unchecked.

    over_budget: whether something became larger than was asked for; `findings` say what.
    """

    path: Path
    manifest: Manifest
    parity: ParityReport | None
    findings: tuple[Diagnostic, ...]
    over_budget: bool = False

    @property
    def passed(self) -> bool:
        """Whether no gate failed."""
        return not self.over_budget and (self.parity is None or self.parity.verdict != "failed")


def export_checkpoint(request: ExportRequest, progress: Progress) -> ExportResult:
    """The whole flow. Raises KogataError; whatever happens, DESTINATION is whole or untouched."""
    settings = settle(request.formats, request.targets, request.widths)
    _require_uncalibrated(request)
    progress.stage("import", 1)
    checkpoint = open_model(request.checkpoint, revision=request.revision)
    tokenizer = open_tokenizer(checkpoint, route_of(checkpoint))  # this and the texts early: not after an hour's work
    if request.task is not None:
        read_tasks(request.task)
    texts = request.prompts if request.prompts is not None and request.prompts.suffix != ".npz" else None
    prompts = read_prompts(texts) if texts is not None else ()
    name = bundle_name(request.name or checkpoint.name)
    with Staging(request.destination, force=request.force, sources=(checkpoint.root,)) as staging:
        imported = import_model(checkpoint, Asked(request.context, request.shapes), staging.path)
        if request.task is not None:
            require_generation(imported.hubs[0].task, request.task)
        require_pairs(imported.hubs[0].task, prompts, texts.name if texts is not None else "")
        require_runnable(imported)
        if "coreml" in settings.formats:
            _require_coreml(imported.hubs)
        checkpoint.source.begin_digest()  # reads what compression reads
        workshop = _Workshop(request, settings, staging.path, name, checkpoint, progress)
        spill = Spill(staging.path)
        mixed = workshop.mix(imported.hubs)
        parts = tuple(
            workshop.make(hub, spill, mixed.of(hub, imported.hubs) if mixed else None) for hub in imported.hubs
        )
        reports = _check(request, settings, Proof(checkpoint, imported.route, tokenizer, parts), progress)
        progress.stage("pack", 1)
        parts = tuple(replace(part, parity=reports.get(part.component)) for part in parts)
        parity = merged(reports) if reports else None
        digest = checkpoint.source.digest
        plan = finished_plan(mixed, parts, mixed.origin(name, digest)) if mixed else None
        packing = PackingList(name, checkpoint, parts, settings, parity, imported.route, plan)
        manifest = finish_bundle(bundle_plan(packing), staging.path)
        notes = (*imported.notes, *(tokenizer.notes if tokenizer else ()), *plan_notes(mixed, digest))
        over = budget_findings(manifest, settings)
        findings = (*notes, *size_findings(manifest, settings), *over, *(parity.findings if parity else ()))
        failed = bool(over) or (parity is not None and parity.verdict == "failed")
        path = staging.reject() if failed else staging.commit()
        return ExportResult(path, manifest, parity, findings, bool(over))


def _require_coreml(hubs: tuple[Hub, ...]) -> None:
    """Raises UnsupportedError with everything in any of the graphs that Core ML has no counterpart for."""
    reasons = [reason for hub in hubs if (reason := serves_coreml(hub)) is not None]
    UnsupportedError.raise_all(reasons or [problem for hub in hubs for problem in unsupported_nodes(hub)])


@dataclass(frozen=True)
class _Workshop:
    """Compresses and writes one graph after the other. folder: the bundle to be; name: the bundle's."""

    request: ExportRequest
    settings: Settings
    folder: Path
    name: str
    checkpoint: Checkpoint
    progress: Progress

    def mix(self, hubs: tuple[Hub, ...]) -> Mixed | None:
        """Bits for every matrix of all graphs; None where all get the same."""
        if self.settings.widths.plan is not None:
            return replayed(hubs, self.settings)
        if self.settings.widths.budget is None:
            return None

        def weigh(choices: Choices) -> int:
            mixed, sizes = Mixed(choices, ""), dict.fromkeys(self.settings.formats, 0)
            for hub in hubs:
                own = weighed(hub, mixed.of(hub, hubs), self.settings.formats, self.folder, quiet.write)
                sizes = {kind: size + own[kind] for kind, size in sizes.items()}
            return max(size + (beside if kind == "onnx" else 0) for kind, size in sizes.items())

        quiet, beside = replace(self, progress=NoProgress()), beside_onnx(self.checkpoint)
        return planned(hubs, self.settings, WeightError(), weigh, self.progress)

    def make(self, hub: Hub, spill: Spill, choices: Mapping[str, Choice] | None) -> Part:
        """The graph's files, uncompared. choices: of mixed bits."""
        bits = UNCOMPRESSED if self.settings.bits is None else self.settings.bits
        options = CompressOptions(bits, self.settings.group_size, choices or {})
        compression = compress(candidates(hub), options, self.progress, spill)
        part = Part(hub, apply_palettes(hub, compression.palettes), compression, {})
        artifacts = {kind: self.write(part.compressed, self.folder / kind, kind) for kind in self.settings.formats}
        return replace(part, artifacts=artifacts)

    def write(self, hub: Hub, place: Path, kind: Format) -> Path:
        """One format's files of a compressed graph, in the folder `place`; what an app opens."""
        self.progress.stage(f"write {kind}", 1)
        place.mkdir(exist_ok=True)
        spec = hub.spec
        metadata = kogata_metadata(self.name, self.checkpoint, () if isinstance(spec, DecoderSpec) else spec.labels)
        if kind == "onnx":
            return lower_onnx(hub, place, OnnxOptions(self.request.onnx_weights, metadata)).path
        described = CoreMLOptions(metadata=metadata, license=self.checkpoint.source.license)
        component = spec.component if isinstance(spec, GraphSpec) else "model"
        stem = self.name if component == "model" else f"{self.name}-{component}"
        return lower_coreml(hub, place / f"{stem}.mlpackage", described).path


def _require_uncalibrated(request: ExportRequest) -> None:
    """Raises UsageError for calibration texts that can't be read, and for all others: nothing reads them yet."""
    require_calibration(request.calibrate)
    if request.calibrate != "none":
        message = "this version compresses without calibration text only"
        raise UsageError.of("options.calibrate", message, where=f"--calibrate {request.calibrate}")


def _check(request: ExportRequest, settings: Settings, proof: Proof, progress: Progress) -> dict[str, ParityReport]:
    """Component → its report; empty where nothing was asked for."""
    if request.parity == "none":
        return {}
    decisions = [decision for part in proof.parts for decision in part.compression.decisions]
    asked = request.budget
    options = ParityOptions(
        depth="quick" if request.parity == "quick" else "full",
        bits=mean_bits((d.bits, d.parameters) for d in decisions) if settings.bits is None else settings.bits,
        onnx_weights=request.onnx_weights,
        prompts=request.prompts,
        tasks=request.task,
        max_task_drop=request.max_task_drop,
        limits={"kl": asked.value} if asked is not None and asked.kind == "kl" else {},
    )
    return prove(proof, options, progress)
