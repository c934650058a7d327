"""Turns the results of an export into the facts of a bundle."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from exporter.bundle import (
    ArtifactPlan,
    Bound,
    BundlePlan,
    ChatFacts,
    CompressionFacts,
    Example,
    Interface,
    ParityFacts,
    SourceFacts,
    TaskFacts,
    onnx_interface,
    ports,
)
from exporter.bundle.canonical import canonical_json
from exporter.bundle.encoders import sentence_facts
from exporter.checkpoint.tokens.chat_pieces import CHAT_PIECES, ChatPieces, NotReducible
from exporter.compress import TensorDecision
from exporter.compress.plan import Plan
from exporter.compress.search import Point
from exporter.formats import FORMS, Form, Format, artifact_path
from exporter.graph.model import DecoderSpec, EncoderSpec, GraphSpec
from exporter.importers.routes import Route
from exporter.machine import tool_versions
from exporter.parity import ParityReport
from exporter.parity.metrics import METRICS
from exporter.pipeline.example import example_of
from exporter.pipeline.opened import OpenModel
from exporter.pipeline.parts import Part
from exporter.pipeline.sentence import sentence_modules
from exporter.pipeline.settings import Settings
from exporter.report import render_parity_html
from exporter.strict_json import compact_json
from exporter.targets import load_target


@dataclass(frozen=True)
class PackingList:
    """Everything that a bundle is made of.

    unused: tensors of the checkpoint that the graphs do without → why. parts: in the order in which they run. parity:
    of all parts. plan: of mixed bits; None where all matrices get the same.
    """

    name: str
    model: OpenModel
    unused: Mapping[str, str]
    parts: tuple[Part, ...]
    settings: Settings
    parity: ParityReport | None
    plan: Plan | None = None


def bundle_plan(packing: PackingList) -> BundlePlan:
    """The bundle's facts."""
    checkpoint, hub, parity = packing.model.checkpoint, packing.parts[0].compressed, packing.parity
    source, tokenizer = checkpoint.source, packing.model.shipped_tokenizer
    ends = tokenizer.ends if hub.task == "text-generation" else ()
    chat = packing.model.chat if hub.task == "text-generation" else None
    compression = compression_facts(packing)
    report = None if parity is None else parity.as_json()
    context = max((part.hub.spec.context or 0 for part in packing.parts), default=0) or None
    artifacts = tuple(
        _artifact(packing, part, form, path) for part in packing.parts for form, path in part.artifacts.items()
    )
    return BundlePlan(
        name=packing.name,
        task=hub.task,
        family=hub.family,
        spec=_spec(packing.parts),
        context=context,
        source=SourceFacts(
            source.repo, source.revision, source.license, source.digest, source.license_link, tokenizer.origin
        ),
        languages=source.languages,
        compression=compression,
        artifacts=artifacts,
        config=_with_ends(checkpoint.config, ends if not checkpoint.generation_config else ()),
        generation_config=_with_ends(checkpoint.generation_config, ends if checkpoint.generation_config else ()),
        tokenizer_files={**tokenizer.files, **({CHAT_PIECES: canonical_json(chat.as_json())} if chat else {})},
        chat_template=checkpoint.chat_template,
        tools=tool_versions() | _optimum_version(packing.model.route),
        parity_report=report,
        parity_html=None if report is None else parity_page(packing.name, report, compression, packing.plan),
        license_files=packing.model.license_files,
        preprocessor=checkpoint.preprocessor,
        scoring=_scoring(packing),
        sentence=sentence_facts(checkpoint.sentence) if hub.task == "feature-extraction" else {},
        client_files=sentence_modules(packing.model.checkpoint, hub.task, artifacts, context),
        bits_plan=packing.plan.to_bytes() if packing.plan else None,
        chat=None
        if chat is None
        else ChatFacts(*((False, chat.reason) if isinstance(chat, NotReducible) else (True,))),
        example=_example(packing),
        device_vectors=_device_vectors(packing, reduced=isinstance(chat, ChatPieces)),
    )


def _device_vectors(packing: PackingList, *, reduced: bool) -> bytes | None:
    """device.json of a text model that was compared, which is the only part of its export. reduced: chat.json has the
    pieces of the template; without them no app can build the prompts of conversations.
    """
    part = packing.parts[0]
    vectors = part.parity.vectors if part.parity is not None else None
    if vectors is None:
        return None
    vectors = vectors if reduced else replace(vectors, chat=())
    paths = {str(form): artifact_path(form, packing.name, part.component, part.artifacts) for form in part.artifacts}
    return compact_json(vectors.named(packing.name, paths).as_json())


def _example(packing: PackingList) -> Example | None:
    part, tokenizer = packing.parts[0], packing.model.tokenizer
    vectors = part.parity.vectors if part.parity is not None else None
    if vectors is None or tokenizer is None:
        return None
    labels = part.hub.spec.labels if isinstance(part.hub.spec, EncoderSpec) else ()
    return example_of(vectors, tokenizer, labels)


def _spec(parts: tuple[Part, ...]) -> DecoderSpec | EncoderSpec | tuple[GraphSpec, ...]:
    specs = tuple(part.hub.spec for part in parts)
    graphs = tuple(spec for spec in specs if isinstance(spec, GraphSpec))
    return graphs or next(spec for spec in specs if not isinstance(spec, GraphSpec))


def _optimum_version(route: Route) -> dict[str, str]:
    if route != "optimum":
        return {}
    from exporter.importers.optimum_export import VERSION

    return {"optimum-onnx": VERSION}


def _scoring(packing: PackingList) -> dict[str, float]:
    """The scale and bias that turn the product of two towers' embeddings into a score; neither tower holds them."""
    tensors = packing.model.checkpoint.tensors
    if not any(part.component == "text_model" for part in packing.parts):
        return {}
    scalars = {
        name: tensors[name] for name in ("logit_scale", "logit_bias") if name in tensors and tensors[name].size == 1
    }
    values = {name: float(tensor.numpy().astype(np.float64).reshape(())) for name, tensor in scalars.items()}
    scoring = {
        name: math.exp(value) if name == "logit_scale" else value for name, value in values.items() if value < 100
    }
    return {name: value for name, value in scoring.items() if math.isfinite(value)}


def _with_ends(config: Mapping[str, Any], ends: tuple[int, ...]) -> Mapping[str, Any]:
    """The configuration with the end tokens that only the tokenizer names; clients look for them here."""
    return {**config, "eos_token_id": ends[0] if len(ends) == 1 else list(ends)} if ends else config


def parity_page(name: str, report: Mapping[str, Any], compression: CompressionFacts, plan: Plan | None = None) -> bytes:
    """The HTML report. plan: of mixed bits, for the curve that they were chosen from."""
    facts: dict[str, Any] = {"bits": compression.bits, "bpw": compression.bpw, "group_size": compression.group_size}
    facts |= {"mixed": compression.mixed, "palette_bits": compression.palette_bits, "grids": compression.grids}
    facts |= {"curve": curve_facts(plan)}
    facts |= {"calibration": [asdict(fit) for fit in compression.calibration]}
    facts |= {"parameters": compression.parameters, "stored_bytes": compression.stored_bytes}
    return render_parity_html(name, report, {**facts, "tensors": [dict(t) for t in compression.tensors]})


def compression_facts(packing: PackingList) -> CompressionFacts:
    """Every tensor of the checkpoint: palettized, kept, or not part of the graph, and why."""
    settings = packing.settings
    uniform = settings.bits is not None and settings.bits < 16
    several = len(packing.parts) > 1
    decisions = [
        replace(decision, name=f"{part.component}/{decision.name}") if several else decision
        for part in packing.parts
        for decision in part.compression.decisions
    ]
    tensors = packing.model.checkpoint.tensors
    left_out = [
        {
            "name": name,
            "shape": [int(n) for n in tensors[name].shape.numpy()],
            "bits": None,
            "group_size": None,
            "stored_bytes": 0,
            "reason": f"not stored: {reason}",
        }
        for name, reason in packing.unused.items()
    ]
    return CompressionFacts(
        bits=settings.bits if uniform else None,
        group_size=settings.group_size if uniform and not settings.grids_only else None,
        parameters=sum(part.compression.parameters for part in packing.parts),
        stored_bytes=sum(part.compression.stored_bytes for part in packing.parts),
        tensors=(*map(_told, decisions), *left_out),
        mixed=packing.plan.asked if packing.plan else None,
        calibration=tuple(part.fit for part in packing.parts if part.fit is not None),
    )


def _told(decision: TensorDecision) -> dict[str, Any]:
    """A tensor as the manifest states it."""
    told = asdict(decision)
    return told if decision.block is not None else {key: value for key, value in told.items() if key != "block"}


def curve_facts(plan: Plan | None) -> dict[str, Any] | None:
    """The sizes and errors that bits were chosen from, for the HTML report; None where nothing was measured."""
    if plan is None or plan.chosen is None or not plan.curve or not plan.parameters:
        return None

    def facts(point: Point) -> dict[str, float | None]:
        return {"bpw": point.stored_bytes * 8 / plan.parameters, **asdict(point)}

    return {
        "kind": plan.error,
        "words": plan.words,
        "chosen": facts(plan.chosen),
        "points": [facts(point) for point in plan.curve],
    }


def _artifact(packing: PackingList, part: Part, form: Form, path: Path) -> ArtifactPlan:
    targets = packing.settings.targets_of(form.format)
    facts = {} if part.parity is None else {"parity": replace(parity_facts(part.parity, form), note=part.parity.note)}
    return ArtifactPlan(
        form=form,
        path=path,
        interface=_INTERFACES[form.format](path),
        target=tuple(target.name for target in targets),
        min_os=(targets[0] if targets else load_target(FORMS[form].baseline)).min_os,
        component=part.component,
        **facts,
    )


def _coreml_interface(path: Path) -> Interface:
    from exporter.runners.mil import load_mlpackage

    model = load_mlpackage(path)
    return Interface(ports(model.inputs), ports(model.outputs), ports(model.states))


_INTERFACES: Mapping[Format, Callable[[Path], Interface]] = {"onnx": onnx_interface, "coreml": _coreml_interface}


def parity_facts(report: ParityReport, form: Form) -> ParityFacts:
    """The end-to-end row of one artifact: checkpoint against shipped file."""
    row = report.row(form)
    tasks = tuple(
        TaskFacts(task.correct, task.total, task.reference_correct, task.allowed_drop, task.verdict)
        for task in report.tasks
        if form in task.artifacts
    )
    if row is None:
        return ParityFacts(report.artifact_verdict(form), tasks=tasks)
    facts = row.as_json()
    return ParityFacts(
        verdict=report.artifact_verdict(form),
        runner=row.runners[1],
        metrics=facts["metrics"],
        thresholds={check["metric"]: _bound(check) for check in facts["thresholds"]},
        tasks=tasks,
    )


def _bound(check: Mapping[str, Any]) -> Bound:
    side = "min" if METRICS[check["metric"]].higher_is_better else "max"
    return Bound(**{side: check["limit"]}, reason=check["reason"])
