"""Parity of a bundle, from its files on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exporter.bundle import CompressionFacts, verify_bundle
from exporter.checkpoint import open_checkpoint
from exporter.errors import Diagnostic, InputError
from exporter.importers import import_checkpoint, reference_points
from exporter.parity import ParityOptions, ParityReport, Subjects, check_parity
from exporter.progress import Progress
from exporter.running import open_bundle


@dataclass(frozen=True)
class CheckRequest:
    """What `kogata check` was asked for. against: a checkpoint folder or hub id; without it, the artifacts are compared
    with each other, and each with itself."""

    bundle: Path
    against: str | None = None
    revision: str | None = None
    prompts: Path | None = None
    task: Path | None = None
    max_task_drop: float | None = None
    quick: bool = False


@dataclass(frozen=True)
class CheckResult:
    """What was found. notes: what a reader must know, such as that another checkpoint was compared with."""

    name: str
    parity: ParityReport
    compression: CompressionFacts
    notes: tuple[Diagnostic, ...]


def check_bundle(request: CheckRequest, progress: Progress) -> CheckResult:
    """Raises GateError when the bundle's files aren't the ones that were packed; those are not run."""
    verify_bundle(request.bundle, progress).require_ok()
    bundle = open_bundle(request.bundle)
    manifest = bundle.manifest
    checkpoint = open_checkpoint(request.against, revision=request.revision) if request.against else None
    hub = import_checkpoint(checkpoint) if checkpoint else None
    if hub is not None and hub.task != manifest.task:
        message = f"this checkpoint is for {hub.task}, and the bundle for {manifest.task}"
        raise InputError.of("check.task", message, where=request.against or "", hint="name the one it was made from")
    notes = []
    if checkpoint is not None and checkpoint.source.digest != manifest.source.digest:
        message = "this is not the checkpoint that the bundle was made from: its digest differs"
        notes.append(Diagnostic("check.source", message, where=request.against or "", level="warning"))
    subjects = Subjects(
        task=manifest.task,
        context=manifest.context,
        tokenizer=bundle.tokenizer,
        checkpoint=checkpoint.root if checkpoint else None,
        onnx=bundle.artifact("onnx"),
        coreml=bundle.artifact("coreml"),
        reference_points=reference_points(hub) if hub else {},
    )
    options = ParityOptions(
        depth="quick" if request.quick else "full",
        bits=manifest.compression.bits or 16,
        prompts=request.prompts,
        tasks=request.task,
        max_task_drop=request.max_task_drop,
    )
    return CheckResult(manifest.name, check_parity(subjects, options, progress), manifest.compression, tuple(notes))
