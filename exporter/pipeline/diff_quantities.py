"""The quantities that `kogata diff` compares, by row: sizes, parity metrics, task accuracy and speed of one bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from exporter.bundle import Manifest
from exporter.bundle.facts import Artifact
from exporter.parity.device.reading import read_json, typed
from exporter.parity.device.report import Line
from exporter.parity.device.vectors import OPEN, Number
from exporter.parity.metrics import METRICS, Metric
from exporter.pipeline.diff_sides import Side

BUNDLE = "bundle"  # the row of quantities of the whole bundle
OWN: Mapping[str, Metric] = {
    "size": Metric("size of the files", "bytes"),
    "memory": Metric("memory of the weights once the file is open", "bytes"),
    "bpw": Metric("bits per weight over all parameters", "bits"),
    "task": Metric("task accuracy, exact match", "points", higher_is_better=True),
    "load": Metric("time to load", "s"),
    "first_token": Metric("time to the first token", "s"),
    "prefill": Metric("speed of prefill", "tokens/s", higher_is_better=True),
    "decode": Metric("speed of decode", "tokens/s", higher_is_better=True),
    "texts_per_second": Metric("speed of an encoder", "texts/s", higher_is_better=True),
    "loaded_memory": Metric("memory after load", "bytes"),
    "peak_memory": Metric("peak memory", "bytes"),
}
QUANTITIES: Mapping[str, Metric] = {**OWN, **METRICS}
# They count what was compared, or where a text begins to differ; neither is better or worse by a margin.
_NOT_GATED = ("positions", "prompts", "texts", "same_non_finite", "greedy_first_difference")
GATED: tuple[str, ...] = tuple(name for name in QUANTITIES if name not in _NOT_GATED)
_MAX_REPORT_BYTES = 256 << 20  # report.json has a number for each prompt, metric and row


@dataclass(frozen=True)
class Measured:
    """value: None where it is not finite. conditions: what it was measured on, in words; values that were measured on
    different things can't be compared."""

    value: float | None
    conditions: str = ""


Key = tuple[str, str]
"""Metric and row."""
Quantities = Mapping[Key, Measured]


@checked(frozen=True, config=OPEN)
class _Row:
    name: Line
    metrics: dict[str, Number | None] = Field(default_factory=dict)


@checked(frozen=True, config=OPEN)
class _Prompts:
    count: int
    source: str


@checked(frozen=True, config=OPEN)
class _ParityFile:
    """The part of parity/report.json that is compared."""

    rows: tuple[_Row, ...] = ()
    depth: str = ""
    prompts: _Prompts | None = None


def quantities(side: Side) -> dict[Key, Measured]:
    """What the bundle itself states. Raises InputError for a parity/report.json that kogata didn't write."""
    manifest = side.manifest
    found = {("size", BUNDLE): Measured(sum(file.bytes for file in side.files.values()))}
    found["bpw", BUNDLE] = Measured(manifest.compression.bpw)
    for artifact in manifest.artifacts:
        row = artifact_row(manifest, artifact)
        found["size", row] = Measured(artifact.bytes)
        if artifact.load_memory is not None:
            found["memory", row] = Measured(artifact.load_memory)
        parity = manifest.parity[artifact.path]
        found |= {(metric, row): Measured(value) for metric, value in parity.metrics.items() if metric in METRICS}
        for task in parity.tasks:
            found["task", row] = Measured(100 * task.correct / task.total, f"{task.total} tasks")
    return found | dict(_parity(side))


def artifact_row(manifest: Manifest, artifact: Artifact) -> str:
    """The name of its row in the parity report: "onnx mobile", "encoder_model: onnx"."""
    several = len({other.component for other in manifest.artifacts}) > 1
    return f"{artifact.component}: {artifact.form.label}" if several else artifact.form.label


def _parity(side: Side) -> Iterator[tuple[Key, Measured]]:
    """All rows of parity/report.json, which has more digits and more rows than the manifest."""
    path = side.folder / "parity" / "report.json"
    if "parity/report.json" not in side.files:
        return
    name = f"{side.name}/parity/report.json"
    report = typed(read_json(path, "diff.parity", _MAX_REPORT_BYTES), _ParityFile, "diff.parity", name)
    prompts = report.prompts
    conditions = f"{prompts.count} prompts ({prompts.source}), depth {report.depth}" if prompts else ""
    for row in report.rows:
        yield from (
            ((metric, row.name), Measured(value, conditions))
            for metric, value in row.metrics.items()
            if metric in METRICS
        )
