"""Reads device.json and device reports: bounded, strict, and with all problems at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from exporter.errors import Diagnostic, InputError, file_problem
from exporter.parity.device.report import DeviceReport
from exporter.parity.device.vectors import SCHEMA_VERSION, SECTIONS, DeviceVectors
from exporter.strict_json import parse_json
from exporter.validation import explain

MAX_FILE_BYTES = 4 << 20  # ten times what device.json may have
MAX_PROBLEMS = 50  # a hostile file could have millions
_MAX_WORDS = 200  # of a value that a message quotes

T = TypeVar("T")


def read_vectors(path: Path) -> DeviceVectors:
    """The bundle's device.json. Raises InputError with all problems."""
    if not path.is_file():
        message = "the bundle has no test vectors to judge a device's report by"
        hint = "text models get them from `kogata export`, unless it runs with --parity none"
        raise InputError.of("device.vectors", message, where="parity/device.json", hint=hint)
    vectors = _read(path, DeviceVectors, "device.vectors")
    problems = list(_vector_problems(vectors))
    InputError.raise_all([Diagnostic("device.vectors", said, f"{path.name}: {where}") for where, said in problems])
    return vectors


def read_report(path: Path, sums: Path, vectors: DeviceVectors) -> DeviceReport:
    """The report in `path`. sums: the bundle's SHA256SUMS, which the report must name by its hash.

    Raises InputError with all problems, or with one where the report is about another bundle.
    """
    report = _read(path, DeviceReport, "device.report")
    digest = hashlib.sha256(sums.read_bytes()).hexdigest()
    if report.bundle.digest != digest:
        theirs = f"{report.bundle.name!r}, whose SHA256SUMS has the SHA-256 {report.bundle.digest}"
        message = f"the report is about another bundle: {theirs}; that of this bundle, {vectors.name!r}, is {digest}"
        hint = "run the vectors of this bundle on the device, or check the bundle that the device ran"
        raise InputError.of("device.bundle", message, where=path.name, hint=hint)
    problems = islice(_result_problems(report, vectors), MAX_PROBLEMS)
    InputError.raise_all([Diagnostic("device.report", said, f"{path.name}: {where}") for where, said in problems])
    return report


def _read(path: Path, kind: type[T], code: str) -> T:
    data = read_json(path, code, MAX_FILE_BYTES)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if type(version) is int and version != SCHEMA_VERSION:
        message = f"has schema version {version}, this kogata reads {SCHEMA_VERSION}"
        raise InputError.of(code, message, where=path.name, hint="use the versions of app and kogata that go together")
    return typed(data, kind, code, path.name)


def read_json(path: Path, code: str, most: int) -> Any:
    """The strict JSON in a file of at most `most` bytes. Raises InputError with `code`."""
    try:
        return parse_json(_raw(path, code, most))
    except ValueError as error:
        message = f"is not JSON: {str(error)[:_MAX_WORDS]}"
        raise InputError.of(code, message, where=path.name, hint="the file may have been cut off") from None


def typed(data: object, kind: type[T], code: str, name: str) -> T:
    """`data` as a pydantic dataclass. Raises InputError with `code` and all problems, up to `MAX_PROBLEMS`."""
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        problems = [
            Diagnostic(code, message, f"{name}: {where}" if where else name)
            for where, message in islice(explain(error), MAX_PROBLEMS)
        ]
        raise InputError(*problems) from None


def _raw(path: Path, code: str, most: int) -> bytes:
    try:
        if problem := file_problem(path):
            raise InputError.of(code, problem, where=str(path))
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except (OSError, ValueError) as error:
        raise InputError.of(code, f"can't be read: {error}", where=str(path)) from None
    if len(raw) > most:
        raise InputError.of(code, f"is larger than {most >> 20} MiB", where=str(path))
    return raw


def _vector_problems(vectors: DeviceVectors) -> Iterator[tuple[str, str]]:
    """Rules that types can't state. A bundle that kogata wrote breaks none."""
    for section in SECTIONS:
        for index, vector in enumerate(getattr(vectors, section)):
            where = f"{section}[{index}]"
            if section == "decode":
                if len(vector.top) != len(vector.ids) - vector.first or not vector.top or not vector.continuation:
                    yield where, "must have one entry in top for each judged position, and a continuation"
                widths = {len(side) for top in vector.top for side in (top.ids, top.logprobs)}
                if len(widths) > 1 or 0 in widths:
                    yield f"{where}.top", "must have as many ids at each position, and a log-probability for each"
            elif section in ("embed", "scores") and (not vector.values or len(vector.values) % vector.rows):
                yield f"{where}.values", f"must fill {vector.rows} rows"
    for path, gates in vectors.gates.items():
        for index, gate in enumerate(gates):
            if gate.limit is None:
                yield f"gates.{path}[{index}]", f"has no limit for {gate.metric}"
    yield from _repeated(vectors, SECTIONS)


def _result_problems(report: DeviceReport, vectors: DeviceVectors) -> Iterator[tuple[str, str]]:
    """Results that aren't about one of the vectors, and two results of one vector."""
    known = {section: {vector.id for vector in getattr(vectors, section)} for section in SECTIONS}
    known["errors"] = set().union(*known.values())
    for section, ids in known.items():
        for index, result in enumerate(getattr(report.results, section)):
            if result.id not in ids:
                where = f"results.{section}[{index}].id"
                yield where, f"{result.id[:_MAX_WORDS]!r} is not a vector of parity/device.json"
    yield from (("results." + where, said) for where, said in _repeated(report.results, (*SECTIONS, "errors")))
    if report.runtime.artifact not in vectors.gates:
        known_paths = ", ".join(vectors.gates)
        yield "runtime.artifact", f"{report.runtime.artifact!r} is not an artifact of the bundle; it has {known_paths}"


def _repeated(holder: object, sections: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for section in sections:
        seen: set[str] = set()
        for index, item in enumerate(getattr(holder, section)):
            if item.id in seen:
                yield f"{section}[{index}].id", f"{item.id[:_MAX_WORDS]!r} appears twice"
            seen.add(item.id)
