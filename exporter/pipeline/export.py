"""Checkpoint to bundle: import, compress, lower, check, pack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from exporter.bundle import Manifest, Staging, bundle_name, finish_bundle
from exporter.bundle.facts import mean_bits
from exporter.errors import Diagnostic, UnsupportedError
from exporter.formats import Format
from exporter.graph.model import Hub
from exporter.importers.routes import (
    Asked,
    import_model,
    open_model,
    require_runnable,
    route_of,
    serves_coreml,
)
from exporter.lower.coreml import unsupported_nodes
from exporter.lower.onnx import OnnxWeights
from exporter.parity import ParityOptions, ParityReport
from exporter.parity.prompts import require_pairs
from exporter.parity.task import read_tasks, require_generation
from exporter.pipeline.bits import (
    finished_plan,
    plan_notes,
)
from exporter.pipeline.build import Order, Workshop
from exporter.pipeline.compare import Proof, merged, open_tokenizer, prove
from exporter.pipeline.fit import Recovery
from exporter.pipeline.gates import budget_findings, size_findings
from exporter.pipeline.pack import PackingList, bundle_plan
from exporter.pipeline.settings import Budget, Settings, Widths, require_calibration, settle
from exporter.progress import Progress
from exporter.targets import Target
from exporter.texts import read_prompts


@dataclass(frozen=True)
class ExportRequest:
    """What `kogata export` was asked for. None and empty: decided by the targets, else by `settings`.

    bits, budget, plan: at most one of them. calibrate: "builtin", "none", or a file of texts; None: built-in texts
        where the model takes text. recover: steps of training LUTs. device: of calibration and training.
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
    cluster_dim: int | None = None
    calibrate: str | None = None
    recover: int = 0
    device: str = "cpu"
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
        return Widths(self.bits, self.budget, self.plan, self.group_size, self.cluster_dim)


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
    require_calibration(request.calibrate, request.recover, request.device)
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
        recovery = None
        if request.recover:
            recovery = Recovery(request.recover, _resume(request.destination), checkpoint.source.digest)
        order = Order(settings, request.onnx_weights, request.calibrate, recovery, request.device)
        built = Workshop(order, staging.path, name, checkpoint, tokenizer, imported.hubs, progress).build()
        parts, mixed = built.parts, built.mixed
        reports = _check(request, settings, Proof(checkpoint, imported.route, tokenizer, parts), progress)
        progress.stage("pack", 1)
        parts = tuple(replace(part, parity=reports.get(part.component)) for part in parts)
        parity = merged(reports) if reports else None
        digest = checkpoint.source.digest
        plan = finished_plan(mixed, parts, mixed.origin(name, digest)) if mixed else None
        packing = PackingList(name, checkpoint, parts, settings, parity, imported.route, plan)
        manifest = finish_bundle(bundle_plan(packing), staging.path)
        notes = (*imported.notes, *built.notes, *(tokenizer.notes if tokenizer else ()), *plan_notes(mixed, digest))
        over = budget_findings(manifest, settings)
        findings = (*notes, *size_findings(manifest, settings), *over, *(parity.findings if parity else ()))
        failed = bool(over) or (parity is not None and parity.verdict == "failed")
        path = staging.reject() if failed else staging.commit()
        return ExportResult(path, manifest, parity, findings, bool(over))


def _require_coreml(hubs: tuple[Hub, ...]) -> None:
    """Raises UnsupportedError with everything in any of the graphs that Core ML has no counterpart for."""
    reasons = [reason for hub in hubs if (reason := serves_coreml(hub)) is not None]
    UnsupportedError.raise_all(reasons or [problem for hub in hubs for problem in unsupported_nodes(hub)])


def _resume(destination: Path) -> Path:
    """What an interrupted training goes on from. Raises InputError where something else lies there."""
    from exporter.calibration.recovery_state import require_own

    path = destination.with_name(f"{destination.name}.recovery.safetensors")
    require_own(path)
    return path


def _check(request: ExportRequest, settings: Settings, proof: Proof, progress: Progress) -> dict[str, ParityReport]:
    """Component → its report; empty where nothing was asked for."""
    if request.parity == "none":
        return {}
    decisions = [decision for part in proof.parts for decision in part.compression.decisions]
    asked = request.budget
    options = ParityOptions(
        depth="quick" if request.parity == "quick" else "full",
        bits=mean_bits((d.weight_bits, d.parameters) for d in decisions) if settings.bits is None else settings.bits,
        onnx_weights=request.onnx_weights,
        prompts=request.prompts,
        tasks=request.task,
        max_task_drop=request.max_task_drop,
        limits={"kl": asked.value} if asked is not None and asked.kind == "kl" else {},
    )
    return prove(proof, options, progress)
