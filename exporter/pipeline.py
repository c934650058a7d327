"""Checkpoint to bundle: import, compress, lower, check, pack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from exporter.bundle import Manifest, Staging, bundle_name, finish_bundle
from exporter.checkpoint import Checkpoint
from exporter.compress import CompressOptions, compress
from exporter.errors import Diagnostic, UnsupportedError
from exporter.graph.hub import DecoderSpec, Hub
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
from exporter.packing import PackingList, Part, bundle_plan, candidates, kogata_metadata, size_findings
from exporter.parity import ParityOptions, ParityReport
from exporter.parity.prompts import read_prompts, require_pairs
from exporter.parity.task import read_tasks, require_generation
from exporter.progress import Progress
from exporter.proving import Proof, merged, open_tokenizer, prove
from exporter.settings import Settings, settle
from exporter.targets import Format, Target


@dataclass(frozen=True)
class ExportRequest:
    """What `kogata export` was asked for. None and empty: decided by the targets, else by `settings`.

    shapes: input of a graph that kogata doesn't draw → its sizes in the Core ML program and in parity.
    """

    checkpoint: str
    destination: Path
    formats: tuple[Format, ...] = ()
    targets: tuple[Target, ...] = ()
    bits: int = 4
    group_size: int | None = None
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


@dataclass(frozen=True)
class ExportResult:
    """What came of it. path: the bundle, or `DESTINATION.rejected` when a gate failed; parity: None when unchecked."""

    path: Path
    manifest: Manifest
    parity: ParityReport | None
    findings: tuple[Diagnostic, ...]

    @property
    def passed(self) -> bool:
        """Whether no gate failed."""
        return self.parity is None or self.parity.verdict != "failed"


def export_checkpoint(request: ExportRequest, progress: Progress) -> ExportResult:
    """The whole flow. Raises KogataError; whatever happens, DESTINATION is whole or untouched."""
    settings = settle(request.formats, request.targets, request.bits, request.group_size)
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
        parts = tuple(workshop.make(hub, spill) for hub in imported.hubs)
        reports = _check(request, Proof(checkpoint, imported.route, tokenizer, parts), progress)
        progress.stage("pack", 1)
        parts = tuple(replace(part, parity=reports.get(part.component)) for part in parts)
        parity = merged(reports) if reports else None
        packing = PackingList(name, checkpoint, parts, settings, parity, imported.route)
        manifest = finish_bundle(bundle_plan(packing), staging.path)
        notes = (*imported.notes, *(tokenizer.notes if tokenizer else ()))
        findings = (*notes, *size_findings(manifest, settings), *(parity.findings if parity else ()))
        failed = parity is not None and parity.verdict == "failed"
        return ExportResult(staging.reject() if failed else staging.commit(), manifest, parity, findings)


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

    def make(self, hub: Hub, spill: Spill) -> Part:
        """The graph's files, uncompared."""
        options = CompressOptions(self.settings.bits, self.settings.group_size)
        compression = compress(candidates(hub), options, self.progress, spill)
        part = Part(hub, apply_palettes(hub, compression.palettes), compression, {})
        artifacts = {kind: self._write(part, kind) for kind in self.settings.formats}
        return replace(part, artifacts=artifacts)

    def _write(self, part: Part, kind: Format) -> Path:
        self.progress.stage(f"write {kind}", 1)
        place = self.folder / kind
        place.mkdir(exist_ok=True)
        spec = part.compressed.spec
        metadata = kogata_metadata(self.name, self.checkpoint, () if isinstance(spec, DecoderSpec) else spec.labels)
        if kind == "onnx":
            return lower_onnx(part.compressed, place, OnnxOptions(self.request.onnx_weights, metadata)).path
        described = CoreMLOptions(metadata=metadata, license=self.checkpoint.source.license)
        stem = self.name if part.component == "model" else f"{self.name}-{part.component}"
        return lower_coreml(part.compressed, place / f"{stem}.mlpackage", described).path


def _check(request: ExportRequest, proof: Proof, progress: Progress) -> dict[str, ParityReport]:
    """Component → its report; empty where nothing was asked for."""
    if request.parity == "none":
        return {}
    options = ParityOptions(
        depth="quick" if request.parity == "quick" else "full",
        bits=request.bits,
        onnx_weights=request.onnx_weights,
        prompts=request.prompts,
        tasks=request.task,
        max_task_drop=request.max_task_drop,
    )
    return prove(proof, options, progress)
