"""Checkpoint to bundle: import, compress, lower, check, pack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exporter.bundle import Manifest, Staging, bundle_name, finish_bundle
from exporter.checkpoint import Checkpoint, open_checkpoint
from exporter.checkpoint.tokenizer import load_tokenizer
from exporter.compress import CompressOptions, compress
from exporter.errors import Diagnostic
from exporter.graph.hub import DecoderSpec, Hub
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.importers import import_checkpoint, reference_points
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.lower.onnx import OnnxOptions, OnnxWeights, lower_onnx
from exporter.packing import PackingList, bundle_plan, candidates, kogata_metadata, size_findings
from exporter.parity import ParityOptions, ParityReport, Subjects, check_parity
from exporter.parity.prompts import read_prompts
from exporter.parity.task import read_tasks, require_generation
from exporter.progress import Progress
from exporter.settings import CACHED_TOKENS, settle
from exporter.targets import Format, Target


@dataclass(frozen=True)
class ExportRequest:
    """What `kogata export` was asked for. None and empty: decided by the targets, else by `settings`."""

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
    checkpoint = open_checkpoint(request.checkpoint, revision=request.revision)
    tokenizer = load_tokenizer(checkpoint)  # this and the texts early: not after an hour's work
    if request.task is not None:
        read_tasks(request.task)
    if request.prompts is not None:
        read_prompts(request.prompts)
    name = bundle_name(request.name or checkpoint.name)
    with Staging(request.destination, force=request.force, sources=(checkpoint.root,)) as staging:
        hub = _import(checkpoint, request.context)
        if request.task is not None:
            require_generation(hub.task, request.task)
        options = CompressOptions(settings.bits, settings.group_size)
        compression = compress(candidates(hub, checkpoint), options, progress)
        compressed = apply_palettes(hub, compression.palettes)
        metadata = kogata_metadata(name, checkpoint)
        artifacts: dict[Format, Path] = {}
        for kind in settings.formats:
            progress.stage(f"write {kind}", 1)
            place = staging.path / kind
            place.mkdir()
            if kind == "onnx":
                artifacts[kind] = lower_onnx(compressed, place, OnnxOptions(request.onnx_weights, metadata)).path
            else:
                described = CoreMLOptions(metadata=metadata, license=checkpoint.source.license)
                artifacts[kind] = lower_coreml(compressed, place / f"{name}.mlpackage", described).path
        subjects = Subjects(
            task=hub.task,
            context=hub.spec.context,
            tokenizer=tokenizer,
            checkpoint=checkpoint.root,
            hub=hub,
            compressed=compressed,
            onnx=artifacts.get("onnx"),
            coreml=artifacts.get("coreml"),
            reference_points=reference_points(hub),
        )
        parity = _check(request, subjects, progress)
        progress.stage("pack", 1)
        packing = PackingList(name, checkpoint, compressed, compression, settings, artifacts, parity)
        manifest = finish_bundle(bundle_plan(packing), staging.path)
        findings = (*size_findings(manifest, settings), *(parity.findings if parity else ()))
        failed = parity is not None and parity.verdict == "failed"
        return ExportResult(staging.reject() if failed else staging.commit(), manifest, parity, findings)


def _import(checkpoint: Checkpoint, context: int | None) -> Hub:
    hub = import_checkpoint(checkpoint, context=context)
    if context is None and isinstance(hub.spec, DecoderSpec) and hub.spec.context > CACHED_TOKENS:
        return import_checkpoint(checkpoint, context=CACHED_TOKENS)
    return hub


def _check(request: ExportRequest, subjects: Subjects, progress: Progress) -> ParityReport | None:
    """The shipped files, the graphs before and after compression, and the checkpoint, side by side; None: not asked."""
    if request.parity == "none":
        return None
    options = ParityOptions(
        depth="quick" if request.parity == "quick" else "full",
        bits=request.bits,
        onnx_weights=request.onnx_weights,
        prompts=request.prompts,
        tasks=request.task,
        max_task_drop=request.max_task_drop,
    )
    return check_parity(subjects, options, progress)
