"""Gates of `kogata diff`: "not worse than OLD by more than …"."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from exporter.errors import Diagnostic, UsageError
from exporter.parity.metrics import METRICS, shown_beside
from exporter.pipeline.diff_quantities import GATED, QUANTITIES, Measured, Quantities
from exporter.pipeline.settings import read_size

OPTION = "--not-worse"
_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,3}))?\s*(%?)", re.ASCII)


@dataclass(frozen=True)
class Allowance:
    """One `--not-worse METRIC[:ROW]=BY`. by: in the metric's unit, or percent of the old value. row: None for all rows
    of shipped files that have the metric, and for all rows where none of these has it.
    """

    text: str
    metric: str
    row: str | None
    by: Fraction
    percent: bool

    def allowed(self, old: float) -> Fraction:
        """How much worse than `old` passes."""
        return abs(_exact(old)) * self.by / 100 if self.percent else self.by


@dataclass(frozen=True)
class Judged:
    """A gate on one row. problem: why it is broken, "" where it is kept."""

    gate: Allowance
    row: str
    old: Measured | None
    new: Measured | None
    problem: str

    @property
    def passed(self) -> bool:
        """Whether NEW is not worse than allowed."""
        return not self.problem

    def as_json(self) -> dict[str, Any]:
        """All fields; a value is null where a side doesn't have it."""
        values = {side: None if m is None else m.value for side, m in (("old", self.old), ("new", self.new))}
        gate = {"gate": self.gate.text, "metric": self.gate.metric, "row": self.row}
        return {**gate, **values, "passed": self.passed, "problem": self.problem}


def read_gates(texts: Sequence[str]) -> tuple[Allowance, ...]:
    """Raises UsageError with all problems."""
    gates: list[Allowance] = []
    problems: list[Diagnostic] = []
    for text in texts:
        try:
            gate = _gate(text)
        except UsageError as error:
            problems += error.diagnostics
            continue
        if any((gate.metric, gate.row) == (other.metric, other.row) for other in gates):
            problems.append(_problem(text, "the same metric and row are gated twice", "keep one of them"))
        gates.append(gate)
    UsageError.raise_all(problems)
    return tuple(gates)


def judge(gates: Sequence[Allowance], old: Quantities, new: Quantities, shipped: Sequence[str]) -> tuple[Judged, ...]:
    """Each gate on each of its rows. shipped: rows of the artifacts of either side.

    Raises UsageError for rows that neither side has.
    """
    known = {row for _, row in (*old, *new)} | set(shipped)
    problems = [
        _problem(gate.text, f"neither bundle has a row {gate.row!r}", _choose(gate.row, known))
        for gate in gates
        if gate.row is not None and not any(_names(gate.row, row) for row in known)
    ]
    UsageError.raise_all(problems)
    return tuple(
        Judged(gate, row, old.get((gate.metric, row)), new.get((gate.metric, row)), problem)
        for gate in gates
        for row, problem in _rows(gate, old, new, shipped)
    )


def findings(judged: Sequence[Judged]) -> tuple[Diagnostic, ...]:
    """One for each gate that is broken, with all its rows."""
    broken: dict[Allowance, list[str]] = {}
    for result in judged:
        if result.problem:
            broken.setdefault(result.gate, []).append(f"{result.row}: {result.problem}")
    hint = "don't ship NEW, or state what may get worse in --not-worse"
    return tuple(
        Diagnostic("diff.worse", "; ".join(told), f"{OPTION} {gate.text}", hint) for gate, told in broken.items()
    )


def _rows(gate: Allowance, old: Quantities, new: Quantities, shipped: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Row and what is wrong with it. A row that nothing was measured in is broken, not left out."""
    having = list(dict.fromkeys(row for metric, row in (*old, *new) if metric == gate.metric))
    if gate.row is not None:
        rows = [row for row in having if _names(gate.row, row)] or [gate.row]
    else:
        rows = [row for row in having if row in shipped] or having
        if gate.metric in METRICS:
            compared = {row for metric, row in (*old, *new) if metric in METRICS}
            rows += [row for row in shipped if row not in compared]
    for row in rows or ["every row"]:
        yield row, _broken(gate, old.get((gate.metric, row)), new.get((gate.metric, row)))


def _broken(gate: Allowance, old: Measured | None, new: Measured | None) -> str:
    """Why the gate is broken, "" where it is kept."""
    if old is None or new is None:
        lacking = "neither bundle has" if old is new else "OLD doesn't have" if old is None else "NEW doesn't have"
        return f"{lacking} {gate.metric}, so it can't be compared"
    if old.conditions and new.conditions and old.conditions != new.conditions:
        return f"measured on different things: OLD on {old.conditions}; NEW on {new.conditions}"
    if old.value is None or new.value is None:
        side = "OLD" if old.value is None else "NEW"
        return f"{gate.metric} of {side} is not a finite number, so it can't be compared"
    worse = _exact(new.value) - _exact(old.value)
    worse = -worse if QUANTITIES[gate.metric].higher_is_better else worse
    allowed = gate.allowed(old.value)
    if worse <= allowed:
        return ""
    values = written(gate.metric, new.value, old.value)
    amounts = written(gate.metric, float(worse), float(allowed))
    unit = f" {QUANTITIES[gate.metric].unit}" if QUANTITIES[gate.metric].unit else ""
    return f"{gate.metric} {values[0]} after {values[1]}{unit}: worse by {amounts[0]}, {amounts[1]} is allowed"


def written(metric: str, value: float, beside: float) -> tuple[str, str]:
    """Two values of a metric: whole bytes, else the digits that tell them apart."""
    if QUANTITIES[metric].unit == "bytes":
        return f"{int(value):,}", f"{int(beside):,}"
    return shown_beside(value, beside)


def _gate(text: str) -> Allowance:
    name, equals, by = text.rpartition("=")
    metric, colon, row = name.partition(":")
    metric, row = metric.strip(), row.strip()
    if not equals or (colon and not row):
        raise UsageError(_problem(text, "is not METRIC=BY or METRIC:ROW=BY", "for example kl=0.005 or size:onnx=2%"))
    if metric not in GATED:
        close = difflib.get_close_matches(metric, GATED, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"choose {', '.join(GATED)}"
        raise UsageError(_problem(text, f"{metric!r} is not a metric that can be gated", hint))
    found = _NUMBER.fullmatch(by.strip())
    if found is not None:
        amount = Fraction(found[1].rstrip(".") if found[1] != "." else "0") * Fraction(10) ** int(found[2] or 0)
        return Allowance(text, metric, row or None, amount, found[3] == "%")
    if QUANTITIES[metric].unit == "bytes":
        return Allowance(text, metric, row or None, Fraction(read_size(by, OPTION)), False)
    raise UsageError(
        _problem(text, f"{by!r} is not a number that is 0 or more, or a percentage", "such as 0.005 or 2%")
    )


def _names(asked: str, row: str) -> bool:
    """Whether the row is the one that was asked for; "onnx" also names "onnx, 512 tokens", a row of speed."""
    return row == asked or row.startswith(f"{asked}, ")


def _choose(asked: str | None, known: set[str]) -> str:
    close = difflib.get_close_matches(asked or "", sorted(known), n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"rows: {', '.join(sorted(known)[:20])}"


def _exact(value: float) -> Fraction:
    """The number that its shortest decimal states: 0.015 - 0.01 is not above 0.005."""
    return Fraction(repr(value))


def _problem(text: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic("diff.gate", message, f"{OPTION} {text[:100]}", hint)
