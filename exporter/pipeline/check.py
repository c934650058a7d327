"""Parity of a bundle, from its files on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from exporter.bundle import Manifest, Verdict, verify_bundle
from exporter.bundle.graphs import graph_specs
from exporter.bundle.opened import OpenBundle, open_bundle, stated_scores
from exporter.checkpoint import Checkpoint
from exporter.errors import Diagnostic, InputError, KogataError
from exporter.graph.model import GraphSpec, has_cache
from exporter.importers import import_checkpoint, reference_points
from exporter.importers.onnx_file import FAMILY, import_onnx
from exporter.importers.routes import Route, open_model, route_of
from exporter.parity import ParityOptions, ParityReport, Subjects, check_parity
from exporter.pipeline.compare import LONGEST_TEXT, fit_cost, torch_reference
from exporter.pipeline.device import DeviceCheck, check_device
from exporter.progress import Progress

_MADE_FROM = "name the one it was made from"


@dataclass(frozen=True)
class CheckRequest:
    """What `kogata check` was asked for.

    against: a checkpoint folder or hub id; without it, the artifacts are compared with each other, and each with
    itself. device_report: what an app wrote after running the bundle's test vectors; without `against`, it alone is
    judged, and no model is run.
    """

    bundle: Path
    against: str | None = None
    revision: str | None = None
    device_report: Path | None = None
    parity: ParityOptions = field(default_factory=ParityOptions)


@dataclass(frozen=True)
class CheckResult:
    """manifest: the bundle's, with the verdict of its export. compared: whether a checkpoint was given. notes: what a
    reader must know, such as that another checkpoint was compared with. device: of a device's report, whose rows are
    among those of `parity`.
    """

    manifest: Manifest
    parity: ParityReport
    compared: bool
    notes: tuple[Diagnostic, ...]
    device: DeviceCheck | None = None

    @property
    def verdict(self) -> Verdict:
        """A bundle that failed when it was exported stays failed, and one that was never compared with a checkpoint
        stays unchecked without one: a check adds faults, it doesn't take any back.
        """
        if "failed" in (self.manifest.verdict, self.parity.verdict):
            return "failed"
        if self.device is not None and not self.device.judged:
            return "unchecked"
        return self.parity.verdict if self.compared else self.manifest.verdict


def check_bundle(request: CheckRequest, progress: Progress) -> CheckResult:
    """Compares a bundle's files. Raises GateError where they aren't those that were packed: these are not run."""
    verify_bundle(request.bundle, progress).require_ok()
    bundle = open_bundle(request.bundle)
    device = check_device(bundle, request.device_report) if request.device_report else None
    if device is not None and request.against is None:
        return CheckResult(bundle.manifest, device.parity, False, (_measured(device),), device)
    compared = _compared(bundle, request, progress)
    if device is None:
        return compared
    own, theirs = compared.parity, device.parity
    parity = replace(own, rows=(*own.rows, *theirs.rows), findings=(*own.findings, *theirs.findings))
    return replace(compared, parity=parity, notes=(_measured(device), *compared.notes), device=device)


def _measured(device: DeviceCheck) -> Diagnostic:
    message = f"measured on {device.measured_on}: {device.parity.verdict}"
    return Diagnostic("check.device", message, device.report.runtime.artifact, level="note")


def _compared(bundle: OpenBundle, request: CheckRequest, progress: Progress) -> CheckResult:
    """The files on disk, run on this machine."""
    manifest = bundle.manifest
    checkpoint = open_model(request.against, revision=request.revision) if request.against else None
    notes = []
    if checkpoint is None:
        message = "no checkpoint was given, so nothing was compared with it: the files were compared with each other"
        notes.append(Diagnostic("check.unreferenced", message, hint="give it with --against", level="warning"))
    elif checkpoint.source.digest != manifest.source.digest:
        message = "this is not the checkpoint that the bundle was made from: its digest differs"
        notes.append(Diagnostic("check.source", message, where=request.against or "", level="warning"))
    fits = manifest.compression.calibration
    cost = fit_cost(fits[0] if len(fits) == 1 else None, request.parity)
    options = replace(request.parity, bits=manifest.compression.palette_bits, cost=cost)
    specs = graph_specs(manifest)
    route = None if checkpoint is None else _checked_route(checkpoint, manifest, specs)
    if specs and not has_cache(specs[0]):
        parity = _graphs(bundle, specs, checkpoint, route, options, progress)
    else:
        parity = check_parity(_subjects(bundle, checkpoint, native=not specs), options, progress)
    return CheckResult(manifest, parity, checkpoint is not None, tuple(notes))


_MADE_OF: Mapping[Route, str] = {
    "native": "a checkpoint that Kogata imports natively",
    "optimum": "a checkpoint that optimum exports",
    "onnx": "an .onnx file",
}


def _checked_route(checkpoint: Checkpoint, manifest: Manifest, specs: Sequence[GraphSpec]) -> Route:
    """How the checkpoint is imported. Raises InputError for one of another kind than the bundle's own, or for another
    task.
    """
    expected: Route = "native" if not specs else "onnx" if manifest.model["family"] == FAMILY else "optimum"
    route = route_of(checkpoint)
    if route != expected:
        message = f"the bundle was made from {_MADE_OF[expected]}, and this is {_MADE_OF[route]}"
        raise InputError.of("check.task", message, where=str(checkpoint.root), hint=_MADE_FROM)
    if specs and has_cache(specs[0]):
        from exporter.importers.optimum_export import optimum_task

        _, task = optimum_task(checkpoint)
        if task != manifest.task:
            raise _other_task(checkpoint, manifest, task)
    return route


def _other_task(checkpoint: Checkpoint, manifest: Manifest, task: str) -> KogataError:
    message = f"this checkpoint is for {task}, and the bundle for {manifest.task}"
    return InputError.of("check.task", message, where=str(checkpoint.root), hint=_MADE_FROM)


def _subjects(bundle: OpenBundle, checkpoint: Checkpoint | None, *, native: bool) -> Subjects:
    """What parity compares of a text model. native: whether Kogata imported it natively.

    Raises InputError for a checkpoint of another task.
    """
    manifest = bundle.manifest
    hub = import_checkpoint(checkpoint) if checkpoint and native else None
    if checkpoint is not None and hub is not None and hub.task != manifest.task:
        raise _other_task(checkpoint, manifest, hub.task)
    return Subjects(
        task=manifest.task,
        context=manifest.context or LONGEST_TEXT,
        tokenizer=bundle.require_tokenizer(),
        checkpoint=checkpoint.root if checkpoint else None,
        artifacts=bundle.artifacts(),
        reference_points=reference_points(hub) if hub else {},
        rope_switch=_whole_number(manifest.model.get("rope_switch")),
        scores=stated_scores(manifest.model.get("scores")),
    )


def _whole_number(stated: object) -> int | None:
    return stated if type(stated) is int and stated > 0 else None


def _graphs(
    bundle: OpenBundle,
    specs: tuple[GraphSpec, ...],
    checkpoint: Checkpoint | None,
    route: Route | None,
    options: ParityOptions,
    progress: Progress,
) -> ParityReport:
    """Parity of a model that came as ONNX. The reference is the checkpoint in transformers, or the `.onnx` file."""
    from exporter.parity.graphs.check import check_graphs
    from exporter.parity.graphs.merge import merged
    from exporter.parity.graphs.subjects import GraphSubjects

    original = import_onnx(checkpoint.root, specs[0].shapes)[0] if checkpoint and route == "onnx" else None
    reference = torch_reference(checkpoint, "optimum") if checkpoint and route == "optimum" else None
    components = [
        GraphSubjects(
            spec=spec,
            hub=original,
            artifacts=bundle.artifacts(spec.component),
            reference=reference,
            tokenizer=bundle.tokenizer,
            preprocessor=bundle.preprocessor,
            source=checkpoint.root if checkpoint and route == "onnx" else None,
        )
        for spec in specs
    ]
    return merged(check_graphs(components, options, progress))
