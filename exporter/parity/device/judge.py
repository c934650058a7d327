"""Judges a device's report by the limits in device.json: rows of a parity report, and findings that name vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.errors import Diagnostic
from exporter.formats import Form
from exporter.parity.device.compare import compare_decode, compare_values, reasons
from exporter.parity.device.gates import beyond
from exporter.parity.device.report import DeviceReport
from exporter.parity.device.vectors import ChatVector, DeviceVectors
from exporter.parity.engine import worst
from exporter.parity.findings import failure
from exporter.parity.results import Check, ParityReport, PromptScore, Row
from exporter.parity.thresholds import SHAPES
from exporter.texts import one_line

SOURCE = "parity/device.json"
_TITLES = {
    "tokenizer": "token ids of texts",
    "chat": "token ids of conversations",
    "decode": "log-probabilities and greedy continuations",
    "embed": "embeddings",
    "scores": "outputs of the head",
}
_IDS = ("tokenizer", "chat")
_NAMED = 5  # failing vectors that a message names
_WORST = 3  # vectors that the report shows of each row
_SHOWN = 60  # characters of a vector's text
_IDS_SHOWN = 8  # ids from the first that differs


@dataclass(frozen=True)
class _Section:
    """One section's comparison: vector → its error, and vector → why it fails by itself, the gravest first."""

    metrics: Mapping[str, float]
    losses: Mapping[str, float]
    leading: str
    failing: Mapping[str, str]


def judge_device(vectors: DeviceVectors, report: DeviceReport, form: Form, bits: float) -> ParityReport:
    """A row for each section that has vectors. form: of the artifact that ran; bits: as in `ParityReport`."""
    rows, findings = [], []
    for section in _TITLES:
        if not getattr(vectors, section):
            continue
        judged = _ids(section, vectors, report) if section in _IDS else _outputs(section, vectors, report)
        row = _row(section, judged, vectors, report, form)
        rows.append(row)
        if row.verdict == "failed":
            named = [*judged.failing, *(score.text.split(":")[0] for score in row.worst)]
            findings.append(failure(row, named[0] if named else "", row.note))
    if not has_outputs(vectors):
        message = "device.json has no outputs of this model, so only its token ids were judged"
        findings.append(Diagnostic("device.outputs", message, SOURCE, level="warning"))
    count = sum(len(getattr(vectors, section)) for section in _TITLES)
    return ParityReport("full", bits, count, SOURCE, tuple(rows), findings=tuple(findings))


def has_outputs(vectors: DeviceVectors) -> bool:
    """Whether the vectors hold more than token ids."""
    return bool(vectors.decode or vectors.embed or vectors.scores)


def _absent(section: str, vectors: DeviceVectors, report: DeviceReport) -> dict[str, str]:
    errors = {failed.id: failed.message for failed in report.results.errors}
    present = {result.id for result in getattr(report.results, section)}
    return {
        vector.id: f"was not run: {errors[vector.id]}" if vector.id in errors else "is missing from the report"
        for vector in getattr(vectors, section)
        if vector.id not in present
    }


def _pairs(section: str, vectors: DeviceVectors, report: DeviceReport) -> list[tuple[Any, Any]]:
    results = {result.id: result for result in getattr(report.results, section)}
    return [(vector, results[vector.id]) for vector in getattr(vectors, section) if vector.id in results]


def _ids(section: str, vectors: DeviceVectors, report: DeviceReport) -> _Section:
    pairs, absent = _pairs(section, vectors, report), _absent(section, vectors, report)
    unlike = {vector.id: _difference(vector.ids, own.ids) for vector, own in pairs if vector.ids != own.ids}
    losses = {vector.id: float(vector.id in unlike) for vector, _ in pairs}
    metrics = {"ids_differ": float(len(unlike)), "missing": float(len(absent)), "texts": float(len(pairs))}
    return _Section(metrics, losses, "ids_differ", unlike | absent)


def _difference(expected: Sequence[int], ids: Sequence[int]) -> str:
    first = next((i for i, pair in enumerate(zip(expected, ids, strict=False)) if pair[0] != pair[1]), None)
    first = min(len(expected), len(ids)) if first is None else first
    here, there = (list(side[first : first + _IDS_SHOWN]) for side in (expected, ids))
    return f"has other ids from token {first} on: {here} in the vectors, {there} on the device"


def _outputs(section: str, vectors: DeviceVectors, report: DeviceReport) -> _Section:
    pairs, absent = _pairs(section, vectors, report), _absent(section, vectors, report)
    made = compare_decode(pairs, vectors.near_tie) if section == "decode" else compare_values(vectors, pairs)
    gates = vectors.gates[report.runtime.artifact]
    allowed = next((gate.allowed for gate in gates if gate.metric == "vectors_beyond"), {})
    far = beyond(made, allowed)
    grave = sorted(far, key=lambda name: -math.inf if math.isnan(far[name]) else -far[name])
    measure = {"kl": "KL", "cosine": "1 - cosine"}.get(made.leading, "largest error")
    words = {
        name: "has values that are NaN or infinite"
        if math.isnan(far[name])
        else f"has a {measure} of {far[name]:.4g}, allowed are {allowed.get(name, 0):.4g}"
        for name in grave
    }
    metrics = {**made.metrics, "missing": float(len(absent)), "vectors_beyond": float(len(far))}
    return _Section(metrics, made.losses, made.leading, reasons(absent, made.wrong, words))


def _row(section: str, judged: _Section, vectors: DeviceVectors, report: DeviceReport, form: Form) -> Row:
    held = {vector.id: vector for vector in getattr(vectors, section)}
    gates = [
        gate for gate in vectors.gates[report.runtime.artifact] if (gate.metric == "ids_differ") <= (section in _IDS)
    ]
    limits = [gate.limit for gate in gates if gate.limit is not None]
    if section in _IDS:
        limits = [limit for limit in limits if limit.metric in judged.metrics]
    elif "shapes" in judged.metrics:
        limits.append(SHAPES)
    names = list(judged.losses)
    losses = [judged.losses[name] for name in names]
    values = [1 - loss for loss in losses] if judged.leading == "cosine" else losses
    shown = [index for index in worst(losses, "kl", _WORST) if section not in _IDS or losses[index]]
    told = [f"{name} {why}" for name, why in judged.failing.items()]
    more = [f"and {len(told) - _NAMED} more"] if len(told) > _NAMED else []
    return Row(
        name=f"device {section}",
        compares=f"checkpoint against {report.measured_on}: {_TITLES[section]}",
        artifacts=(form,),
        runners=(f"{vectors.reference}, when the bundle was made", f"{report.runtime.engine} on {report.measured_on}"),
        metrics=dict(judged.metrics),
        checks=tuple(Check(limit, judged.metrics.get(limit.metric, math.nan)) for limit in limits),
        worst=tuple(
            PromptScore(index, f"{names[index]}: {_shown(held[names[index]])}", judged.leading, values[index])
            for index in shown
        ),
        samples={judged.leading: tuple(values)} if judged.leading in ("kl", "cosine") else {},
        note="; ".join([*told[:_NAMED], *more]),
    )


def _shown(vector: Any) -> str:
    return one_line(vector.messages[-1].content if isinstance(vector, ChatVector) else vector.text, _SHOWN)
