"""The result of `kogata diff` as a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from exporter.cli.summary import SHOWN
from exporter.cli.verdict import verdict_findings
from exporter.errors import Diagnostic, ExitCode
from exporter.parity.metrics import EQUAL_DB, shown, shown_beside
from exporter.pipeline.diff import Diff
from exporter.pipeline.diff_facts import Change, Value
from exporter.pipeline.diff_gates import Judged, written
from exporter.pipeline.diff_quantities import OWN, QUANTITIES, Key, Measured
from exporter.report import Case, Cell, Report, Table, shown_size

_MOST = 40  # rows of a table for people; JSON has all


def diff_report(done: Diff) -> Report:
    """What changed for people, everything for scripts."""
    new = done.sides[1]
    failed = new.manifest.verdict == "failed" or any(not result.passed for result in done.judged)
    told = (*done.findings, *_verdicts(done))
    facts = [change for change in done.facts if change.changed]
    sections = [
        _changes("changed", ("fact", "old", "new"), facts),
        _quantities("sizes, tasks and speed", done, [key for key in done.keys if key[0] in OWN]),
        _quantities("parity", done, _parity(done)),
        _changes("tensors stored differently", ("tensor", "old", "new"), done.tensors),
        _files(done.files),
    ]
    if done.judged:
        sections.append(Table("gates", ("gate", "row", "", ""), [_gate(result) for result in done.judged]))
    cases = [
        *(Case(f"not worse: {j.gate.text}, {j.row}", j.passed, j.problem or _kept(j)) for j in done.judged),
        Case("verdict of NEW", _PASSED[new.manifest.verdict], f"the export of NEW: {new.manifest.verdict}"),
    ]
    shown_sections: list[Table | str] = [s for s in sections if s.rows] or ["the bundles are the same"]
    code = ExitCode.GATE if failed else ExitCode.OK
    return Report("diff", code, done.as_json(), told, shown_sections, cases, verdict=new.manifest.verdict)


def _parity(done: Diff) -> list[Key]:
    """Rows of the shipped files first, then those that say where an error comes from; without equal numbers."""
    keys = [key for key in done.keys if key[0] in SHOWN and done.old.get(key) != done.new.get(key)]
    return sorted(keys, key=lambda key: key[1] not in done.shipped)  # a stable sort


_PASSED = {"passed": True, "failed": False, "unchecked": None}


def _verdicts(done: Diff) -> list[Diagnostic]:
    """What both exports said of themselves. Only a failure of NEW is an error."""
    found = []
    for side in done.sides:
        for finding in verdict_findings(side.manifest):
            level = finding.level if side.name == "NEW" else "warning"
            found.append(replace(finding, where=side.name, level=level))
    return found


def _changes(title: str, columns: Sequence[str], changes: Sequence[Change]) -> Table:
    rows = [(change.what, _cell(change.old), _cell(change.new)) for change in changes]
    return _cut(Table(title, columns, rows))


def _files(changes: Sequence[Change]) -> Table:
    rows = [(c.what, *(shown_size(n) if isinstance(n, int) else None for n in (c.old, c.new))) for c in changes]
    return _cut(Table("files that differ", ("file", "old", "new"), rows))


def _quantities(title: str, done: Diff, keys: Sequence[Key]) -> Table:
    rows = [
        (row, metric, *_pair(metric, done.old.get((metric, row)), done.new.get((metric, row)))) for metric, row in keys
    ]
    return _cut(Table(title, ("row", "metric", "old", "new", ""), rows))


def _pair(metric: str, old: Measured | None, new: Measured | None) -> tuple[Cell, Cell, Cell]:
    """Both values, with the digits that tell them apart, and whether NEW is better."""
    first, second = (None if m is None else m.value for m in (old, new))
    if first is None or second is None:
        one = "" if old and new else "only in OLD" if old else "only in NEW"
        return _absent(metric, old), _absent(metric, new), one or "not compared"
    texts = shown_beside(first, second)
    cells = [_number(metric, value, text) for value, text in zip((first, second), texts, strict=True)]
    if first == second:
        return cells[0], cells[1], "same"
    if old and new and old.conditions and new.conditions and old.conditions != new.conditions:
        return cells[0], cells[1], "not comparable"
    return cells[0], cells[1], "better" if (second > first) == QUANTITIES[metric].higher_is_better else "worse"


def _absent(metric: str, side: Measured | None) -> Cell:
    if side is None:
        return None
    return "not finite" if side.value is None else _number(metric, side.value, shown(side.value))


def _number(metric: str, value: float, text: str) -> str:
    unit = QUANTITIES[metric].unit
    if unit == "bytes":
        return f"{int(value):,} bytes"
    return "∞" if unit == "dB" and value == EQUAL_DB else f"{text} {unit}".strip()


def _gate(result: Judged) -> tuple[Cell, Cell, Cell, Cell]:
    return result.gate.text, result.row, "passed" if result.passed else "failed", result.problem or _kept(result)


def _kept(result: Judged) -> str:
    if result.old is None or result.new is None or result.old.value is None or result.new.value is None:
        return ""
    new, old = written(result.gate.metric, result.new.value, result.old.value)
    return f"{result.gate.metric} {new} after {old}"


def _cell(value: Value) -> Cell:
    if isinstance(value, str) and value.startswith("sha256:"):
        return value[:19]  # enough to tell two apart
    return f"{value:,}" if isinstance(value, int) else value


def _cut(table: Table) -> Table:
    if len(table.rows) <= _MOST:
        return table
    title = f"{table.title}: {_MOST} of {len(table.rows)}, --format json has all"
    return Table(title, table.columns, table.rows[:_MOST])
