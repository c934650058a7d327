"""Checkpoint to bundle: import, compress, lower, check, pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from exporter.bundle import Manifest, Staging, bundle_name, finish_bundle
from exporter.bundle.facts import mean_bits
from exporter.compress.choices import UNCOMPRESSED
from exporter.errors import Diagnostic, UnsupportedError, UsageError
from exporter.formats import PORTABLE
from exporter.graph.model import Hub
from exporter.importers.routes import Imported, ImportOptions, import_model, require_runnable, serves_coreml
from exporter.lower.coreml import unsupported_nodes
from exporter.parity import ParityOptions, ParityReport
from exporter.parity.prompts import require_pairs
from exporter.parity.task import require_generation
from exporter.pipeline.app_notes import app_notes
from exporter.pipeline.bits import finished_plan, plan_notes
from exporter.pipeline.build import Built, build
from exporter.pipeline.compare import compare, merged
from exporter.pipeline.decide import Job, Workspace, decide
from exporter.pipeline.fit import Recovery
from exporter.pipeline.gates import failures, gate_findings, size_findings
from exporter.pipeline.opened import OpenModel, open_source
from exporter.pipeline.options import CalibrationOptions, OutputOptions
from exporter.pipeline.pack import PackingList, bundle_plan
from exporter.pipeline.parts import Part
from exporter.pipeline.settings import Settings, Widths, settle
from exporter.progress import Progress


@dataclass(frozen=True)
class ExportRequest:
    """What `kogata export` was asked for. skip_parity: exports without a check. force: replaces an older bundle."""

    checkpoint: str
    destination: Path
    outputs: OutputOptions = field(default_factory=OutputOptions)
    widths: Widths = field(default_factory=Widths)
    calibration: CalibrationOptions = field(default_factory=CalibrationOptions)
    parity: ParityOptions = field(default_factory=ParityOptions)
    skip_parity: bool = False
    revision: str | None = None
    name: str | None = None
    force: bool = False


@dataclass(frozen=True)
class ExportResult:
    """path: the bundle, or `DESTINATION.rejected` when a gate failed. parity: None when unchecked."""

    path: Path
    manifest: Manifest
    parity: ParityReport | None
    findings: tuple[Diagnostic, ...]

    @property
    def passed(self) -> bool:
        """Whether no gate failed."""
        return self.manifest.verdict != "failed"


def export_checkpoint(request: ExportRequest, progress: Progress) -> ExportResult:
    """The whole flow. Raises KogataError; whatever happens, DESTINATION is whole or untouched."""
    settings = settle(request.outputs, request.widths)
    request.calibration.require_valid()
    if settings.grids_only and request.calibration.recover:
        hint = "leave out --recover"
        raise UsageError.of("options.recover", "int4 weights have no LUTs to train", where="--recover", hint=hint)
    progress.stage("import", 1)
    model = open_source(request.checkpoint, request.revision)
    _read_texts(request.parity)  # now rather than after an hour's work
    name, source = bundle_name(request.name or model.checkpoint.name), model.checkpoint.source
    with Staging(request.destination, force=request.force, sources=(model.checkpoint.root,)) as staging:
        asked = ImportOptions(request.outputs.context, request.outputs.shapes, settings.bits == UNCOMPRESSED)
        imported = import_model(model.checkpoint, asked, staging.path, model.route)
        if request.calibration.recover:
            settings = replace(settings, luts=True)
        settings = settings.for_model(imported.hubs)
        _require_exportable(imported, settings, request.parity)
        source.begin_digest()  # reads what compression reads
        recovery = _recovery(request, model)
        job = Job(model, imported.hubs, settings, request.calibration, name, staging.path)
        workspace = Workspace(job, progress)
        built = build(workspace, decide(workspace), recovery)
        reports = _compared(request, settings, model, built, progress)
        parity = merged(reports) if reports else None
        progress.stage("pack", 1)
        parts = tuple(replace(part, parity=reports.get(part.component)) for part in built.parts)
        plan = finished_plan(built.mixed, parts, built.mixed.origin(name, source.digest)) if built.mixed else None
        packing = PackingList(name, model, imported.unused, parts, settings, parity, plan)
        manifest, sizes = _packed(packing, staging)
        findings = (
            *model.checkpoint.notes,
            *imported.notes,
            *built.notes,
            *app_notes(model, imported.hubs, settings.formats),
            *plan_notes(built.mixed, source.digest),
            *size_findings(manifest, settings),
            *sizes,
            *(parity.findings if parity else ()),
        )
        path = staging.reject() if manifest.verdict == "failed" else staging.commit()
        return ExportResult(path, manifest, parity, findings)


def _packed(packing: PackingList, staging: Staging) -> tuple[Manifest, tuple[Diagnostic, ...]]:
    """Writes the bundle. Returns its manifest, and what the size gates found, which the manifest's verdict follows."""
    found: list[Diagnostic] = []

    def failed(manifest: Manifest) -> tuple[str, ...]:
        found.extend(gate_findings(manifest, packing.settings))
        return failures(packing.parity, found)

    return finish_bundle(bundle_plan(packing), staging.path, failed), tuple(found)


def _read_texts(parity: ParityOptions) -> None:
    """Raises InputError for prompts and tasks that can't be read."""
    if parity.tasks is not None:
        _ = parity.tasks.items
    if parity.prompts is not None and parity.prompts.holds_text:
        _ = parity.prompts.prompts


def _require_exportable(imported: Imported, settings: Settings, parity: ParityOptions) -> None:
    """Raises KogataError where what was asked for doesn't fit the model, before anything is computed."""
    task, prompts = imported.hubs[0].task, parity.prompts
    if parity.tasks is not None:
        require_generation(task, parity.tasks.path)
    if prompts is not None and prompts.holds_text:
        require_pairs(task, prompts.prompts, prompts.path.name)
    require_runnable(imported)
    if "coreml" in settings.formats:
        _require_coreml(imported.hubs)


def _require_coreml(hubs: tuple[Hub, ...]) -> None:
    """Raises UnsupportedError with everything in any of the graphs that Core ML has no counterpart for."""
    reasons = [reason for hub in hubs if (reason := serves_coreml(hub)) is not None]
    UnsupportedError.raise_all(reasons or [problem for hub in hubs for problem in unsupported_nodes(hub)])


def _recovery(request: ExportRequest, model: OpenModel) -> Recovery | None:
    """The training of LUTs that was asked for. Raises InputError where its resume file would replace a foreign file."""
    from exporter.calibration.recovery_state import require_resume_file

    if not request.calibration.recover:
        return None
    destination = request.destination
    resume = destination.with_name(f"{destination.name}.recovery.safetensors")
    require_resume_file(resume)
    return Recovery(request.calibration.recover, resume, model.checkpoint.source.digest)


def _compared(
    request: ExportRequest, settings: Settings, model: OpenModel, built: Built, progress: Progress
) -> dict[str, ParityReport]:
    """Component → its report; empty where no check was asked for."""
    if request.skip_parity:
        return {}
    budget = request.widths.budget
    options = replace(
        request.parity,
        bits=_palette_bits(built.parts) if settings.bits is None else settings.bits,
        onnx_weights=settings.weights_of(PORTABLE),
        limits={"kl": budget.value} if budget is not None and budget.kind == "kl" else {},
        device_vectors=True,
    )
    return compare(model, built.parts, options, progress)


def _palette_bits(parts: Sequence[Part]) -> float:
    decisions = [decision for part in parts for decision in part.compression.decisions]
    return mean_bits((d.bits, d.parameters) for d in decisions)
