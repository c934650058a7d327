"""Speed for `kogata diff`: from a report of `kogata bench --format json`, or of a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from exporter.bundle import Manifest
from exporter.bundle.facts import Artifact
from exporter.bundle.opened import open_bundle
from exporter.errors import Diagnostic, InputError
from exporter.parity.device.reading import read_json, typed
from exporter.parity.device.report import Amount, Line
from exporter.parity.device.vectors import OPEN
from exporter.pipeline.device import check_device
from exporter.pipeline.diff_quantities import Key, Measured, artifact_row
from exporter.pipeline.diff_sides import Side

_MAX_BENCH_BYTES = 64 << 20
_MEASURES: Mapping[str, str] = {  # of `kogata bench` → quantity
    "load s": "load",
    "memory after load": "loaded_memory",
    "peak memory": "peak_memory",
    "prefill tokens/s": "prefill",
    "decode tokens/s": "decode",
    "texts/s": "texts_per_second",
}
_SPEEDS: Mapping[str, str] = {  # of a device's report → quantity
    "load_seconds": "load",
    "first_token_seconds": "first_token",
    "prefill_tokens_per_second": "prefill",
    "decode_tokens_per_second": "decode",
    "peak_memory_bytes": "peak_memory",
}


@checked(frozen=True, config=OPEN)
class _Measure:
    measure: str
    median: Amount
    context: int | None = None
    batch: int | None = None


@checked(frozen=True, config=OPEN)
class _Subject:
    label: Line
    bytes: int
    form: str | None = None
    measures: tuple[_Measure, ...] = ()


@checked(frozen=True, config=OPEN)
class _Bench:
    machine: dict[str, object]
    conditions: dict[str, object]
    subjects: tuple[_Subject, ...]


@checked(frozen=True, config=OPEN)
class _Envelope:
    """What `kogata bench --format json` writes."""

    command: Literal["bench"]
    ok: Literal[True]
    result: _Bench = Field()


def bench_speed(side: Side, path: Path) -> dict[Key, Measured]:
    """Medians. Where the report compares two models, its first is OLD and its second is NEW.

    Raises InputError for a report that can't be read, or that is about other files than the bundle's.
    """
    bench = typed(read_json(path, "diff.bench", _MAX_BENCH_BYTES), _Envelope, "diff.bench", path.name).result
    letter = {"OLD": "A ", "NEW": "B "}[side.name]
    both = any(subject.label.startswith("B ") for subject in bench.subjects)
    subjects = [s for s in bench.subjects if s.form is not None and (not both or s.label.startswith(letter))]
    artifacts = {str(artifact.form): artifact for artifact in side.manifest.artifacts}
    InputError.raise_all(list(_strangers(subjects, artifacts, side, path)))
    conditions = _conditions(bench)
    return {
        (_MEASURES[m.measure], _row(side.manifest, artifacts[str(s.form)], m)): Measured(m.median, conditions)
        for s in subjects
        for m in s.measures
        if m.measure in _MEASURES
    }


def device_speed(side: Side, path: Path) -> dict[Key, Measured]:
    """What the app measured. Raises InputError as `check_device` does."""
    found = check_device(open_bundle(side.folder), path).report
    artifact = next(a for a in side.manifest.artifacts if a.path == found.runtime.artifact)
    units = f", {found.runtime.compute_units}" if found.runtime.compute_units else ""
    conditions = f"{found.device.model}{units}"
    row = f"{artifact_row(side.manifest, artifact)}, device"
    speed = asdict(found.speed)
    return {(name, row): Measured(speed[key], conditions) for key, name in _SPEEDS.items() if speed[key] is not None}


def _strangers(
    subjects: list[_Subject], artifacts: Mapping[str, Artifact], side: Side, path: Path
) -> Iterator[Diagnostic]:
    where, hint = path.name, "run `kogata bench` on this bundle"
    if not subjects:
        yield Diagnostic("diff.bench", f"times no file of {side.name}", where, hint)
    for subject in subjects:
        artifact = artifacts.get(str(subject.form))
        if artifact is None:
            yield Diagnostic("diff.bench", f"times {subject.form}, which {side.name} doesn't have", where, hint)
        elif subject.bytes not in _sizes(artifact):
            size = _sizes(artifact)[0]
            message = f"times a {subject.form} model of {subject.bytes:,} bytes; that of {side.name} has {size:,}"
            yield Diagnostic("diff.bench", message, where, hint)


def _sizes(artifact: Artifact) -> tuple[int, int]:
    """Bytes of the model with its external data, as bench counts them, and of all files."""
    graph = sum(n for file, n in artifact.files.items() if file in (artifact.path, f"{artifact.path}.data"))
    return graph or artifact.bytes, artifact.bytes


def _conditions(bench: _Bench) -> str:
    """What makes two speeds comparable. The versions of Python and of the system's kernel don't."""
    facts = [(key, bench.machine.get(key)) for key in ("processors", "memory")]
    facts += [(key, bench.conditions.get(key)) for key in ("threads", "tokens")]
    return ", ".join(f"{key} {str(value)[:100]}" for key, value in facts if value is not None)


def _row(manifest: Manifest, artifact: Artifact, measure: _Measure) -> str:
    tokens = f", {measure.context} tokens" if measure.context is not None else ""
    batch = f", batch {measure.batch}" if measure.batch is not None else ""
    return artifact_row(manifest, artifact) + tokens + batch
