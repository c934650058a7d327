"""Failed rows and tasks as diagnostics, in the same words for texts and graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from exporter.errors import Diagnostic
from exporter.parity.metrics import METRICS, shown_beside
from exporter.parity.results import Row, TaskScore
from exporter.parity.rows import Comparison

Blame = Callable[[Comparison, Row], tuple[str, str]]
"""A failed comparison and its row → the tensor to blame ("" if unknown) and how that is known."""


def findings(
    planned: Sequence[Comparison], rows: Sequence[Row], blame: Blame
) -> tuple[tuple[Row, ...], tuple[Diagnostic, ...]]:
    """The rows, and a diagnostic for each that failed. Only rows that no earlier failure explains are searched.

    A row that an earlier failure explains accuses only the artifacts that the earlier row accuses.
    """
    failed = {row.name: row for row in rows if row.verdict == "failed"}
    judged, found = [], []
    for comparison, row in zip(planned, rows, strict=True):
        causes = [failed[name] for name in comparison.causes if name in failed] if row.name in failed else []
        accused = {form for cause in causes for form in cause.artifacts} or set(row.artifacts)
        judged.append(replace(row, artifacts=tuple(form for form in row.artifacts if form in accused)))
        if causes:
            found.append(failure(row, detail=f"because of: {', '.join(cause.name for cause in causes)}"))
        elif row.name in failed:
            found.append(failure(row, *blame(comparison, row)))
    return tuple(judged), tuple(found)


def failure(row: Row, where: str = "", detail: str = "") -> Diagnostic:
    """A failed row: every limit that it broke, and the reason for the first. where: the tensor to blame."""
    broken = [check for check in row.checks if not check.passed]
    numbers = ", ".join(
        f"{METRICS[check.limit.metric].label} {told} (limit {limit})"
        for check in broken
        for told, limit in [shown_beside(check.value, check.limit.value)]
    )
    message = f"parity row '{row.name}' failed ({row.compares}): {numbers}"
    code, hint = f"parity.{row.name.replace(' ', '-')}", f"why that limit: {broken[0].limit.reason}"
    return Diagnostic(code, f"{message}; {detail}" if detail else message, where, hint)


def task_failure(task: TaskScore) -> Diagnostic:
    """A runner that lost too much task accuracy."""
    drop, allowed = shown_beside(task.drop or 0.0, task.allowed_drop or 0.0)
    message = f"task accuracy of the {task.subject} is {drop} points below the checkpoint's"
    counts = f"{task.correct} instead of {task.reference_correct} of {task.total}"
    hint = f"why that limit: {task.reason}"
    return Diagnostic("parity.task", f"{message} ({counts}); allowed are {allowed}", hint=hint)
