"""Parity and a manifest's verdicts as cases: a case for each row, with its numbers, limits and files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from exporter.errors import Diagnostic
from exporter.parity.metrics import METRICS, shown_beside
from exporter.report import Case, Number

if TYPE_CHECKING:
    from exporter.bundle import Manifest
    from exporter.formats import Form
    from exporter.parity import ParityReport
    from exporter.parity.results import Row, TaskScore

_PASSED = {"passed": True, "failed": False, "unchecked": None}


def parity_cases(report: ParityReport | None, manifest: Manifest) -> list[Case]:
    """Every row and every task. A row that judges several files names all of them."""
    if report is None:
        paths = tuple(artifact.path for artifact in manifest.artifacts)
        return [Case("parity", None, "never compared with the checkpoint (--parity none)", paths)]
    cases = [_row(row, manifest) for row in report.rows]
    return cases + [_task(task, manifest) for task in report.tasks]


def verdict_cases(manifest: Manifest) -> list[Case]:
    """What the manifest says of the export: the parity of every artifact, and every gate that failed."""
    cases = [
        Case(f"export: parity of {path}", _PASSED[facts.verdict], facts.verdict, (path,))
        for path, facts in manifest.parity.items()
    ]
    return [*cases, *(Case("export: gate", False, failure) for failure in manifest.failures)]


def gate_cases(failures: Sequence[str], diagnostics: Sequence[Diagnostic], report: ParityReport | None) -> list[Case]:
    """Gates that failed and that neither a row of parity nor a diagnostic shows already."""
    told = {d.message for d in (*diagnostics, *(report.findings if report else ()))}
    shown = told | {f"{d.where}: {d.message}" for d in diagnostics}
    return [Case("gate", False, failure) for failure in failures if failure not in shown]


def _row(row: Row, manifest: Manifest) -> Case:
    numbers = []
    for check in row.checks:
        limit, metric = check.limit, METRICS[check.limit.metric]
        value, told = shown_beside(check.value, limit.value)
        sign = "≥" if metric.higher_is_better else "≤"
        unit = f" {metric.unit}" if metric.unit in ("dB", "nats") else ""
        numbers.append(Number(limit.metric, f"{value}{unit}", f"{sign} {told}{unit}", check.passed, limit.reason))
    message = "; ".join(filter(None, (row.compares, row.note)))
    paths = _paths(row.name, row.artifacts, manifest)
    return Case(row.name, _PASSED[row.verdict], message, paths, tuple(numbers), row.seconds)


def _task(task: TaskScore, manifest: Manifest) -> Case:
    told = f"{task.correct} of {task.total} answers are correct"
    numbers: tuple[Number, ...] = ()
    if task.allowed_drop is not None and task.drop is not None:
        drop, allowed = shown_beside(task.drop, task.allowed_drop)
        number = Number("points lost", drop, f"≤ {allowed}", task.verdict == "passed", task.reason)
        numbers = (number,)
    paths = _paths("", task.artifacts, manifest)
    return Case(f"task: {task.subject}", _PASSED[task.verdict], told, paths, numbers)


def _paths(row: str, forms: Sequence[Form], manifest: Manifest) -> tuple[str, ...]:
    """Artifacts of these forms; where the row's name begins with a component, those of that component."""
    component, colon, _ = row.partition(": ")
    of_forms = [artifact for artifact in manifest.artifacts if artifact.form in forms]
    own = [artifact for artifact in of_forms if colon and artifact.component == component]
    return tuple(artifact.path for artifact in own or of_forms)
