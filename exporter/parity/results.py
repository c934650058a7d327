"""The results of parity as plain data; `as_json` gives the same bytes for the same numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from exporter.errors import Diagnostic
from exporter.formats import FORMS, Form
from exporter.parity.keys import row_name
from exporter.parity.metrics import METRICS
from exporter.parity.thresholds import Limit

if TYPE_CHECKING:
    from exporter.parity.device.vectors import DeviceVectors

Verdict = Literal["passed", "failed", "unchecked"]


@dataclass(frozen=True)
class Check:
    """One limit, and whether a row's metric keeps it. NaN breaks every limit."""

    limit: Limit
    value: float

    @property
    def passed(self) -> bool:
        """Limits are inclusive."""
        if math.isnan(self.value):
            return False
        higher = METRICS[self.limit.metric].higher_is_better
        return self.value >= self.limit.value if higher else self.value <= self.limit.value

    def as_json(self) -> dict[str, Any]:
        """metric, value, limit, reason, passed."""
        return {
            "metric": self.limit.metric,
            "value": rounded(self.value, self.limit.value),
            "limit": rounded(self.limit.value, self.value),
            "reason": self.limit.reason,
            "passed": self.passed,
        }


@dataclass(frozen=True)
class PromptScore:
    """One of the worst prompts of a row, with its value."""

    index: int
    text: str
    metric: str
    value: float


@dataclass(frozen=True)
class Row:
    """One comparison.

    name: "import", "compression", "onnx lowering", … ; compares: the same in words.
    artifacts: the shipped files that fail when this row fails.
    runners: what computed the reference's side and the other side.
    samples: metric → one value per prompt, in prompt order, for plots.
    note: what a reader must know to understand the numbers; may be empty.
    seconds: how long the comparison took, with the runs of its subjects in the first row that needs them; None where
        that wasn't measured. Not in `as_json`, which gives the same bytes every time.
    """

    name: str
    compares: str
    artifacts: tuple[Form, ...]
    runners: tuple[str, str]
    metrics: Mapping[str, float]
    checks: tuple[Check, ...]
    worst: tuple[PromptScore, ...] = ()
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    note: str = ""
    seconds: float | None = field(default=None, compare=False)

    @property
    def verdict(self) -> Verdict:
        """ "unchecked" where no limit applies."""
        if not self.checks:
            return "unchecked"
        return "passed" if all(check.passed for check in self.checks) else "failed"

    def as_json(self) -> dict[str, Any]:
        """All fields, floats rounded."""
        limits = {check.limit.metric: check.limit.value for check in self.checks}
        return {
            "name": self.name,
            "compares": self.compares,
            "artifacts": [str(form) for form in self.artifacts],
            "runners": list(self.runners),
            "metrics": {name: rounded(value, limits.get(name)) for name, value in self.metrics.items()},
            "thresholds": [check.as_json() for check in self.checks],
            "verdict": self.verdict,
            "worst_prompts": [
                {"index": w.index, "text": w.text, "metric": w.metric, "value": rounded(w.value)} for w in self.worst
            ],
            "samples": {name: [rounded(v) for v in values] for name, values in self.samples.items()},
            "note": self.note,
        }


@dataclass(frozen=True)
class TaskScore:
    """Exact-match accuracy of one runner on the task file.

    groups: group → (correct, total). wrong: the first few `(prompt, expected, generated)`.
    allowed_drop: points below the reference that pass; None where the drop is only reported.
    """

    subject: str
    artifacts: tuple[Form, ...]
    runner: str
    correct: int
    total: int
    groups: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    wrong: tuple[tuple[str, str, str], ...] = ()
    reference_correct: int | None = None
    allowed_drop: float | None = None
    reason: str = ""

    @property
    def drop(self) -> float | None:
        """Points of accuracy lost against the reference; None where this is the reference or there is none."""
        if self.reference_correct is None:
            return None
        return 100 * (self.reference_correct - self.correct) / self.total

    @property
    def verdict(self) -> Verdict:
        """ "unchecked" where no drop is forbidden."""
        if self.allowed_drop is None or self.drop is None:
            return "unchecked"
        return "passed" if self.drop <= self.allowed_drop else "failed"

    def as_json(self) -> dict[str, Any]:
        """All fields, accuracy as a share."""
        return {
            "subject": self.subject,
            "artifacts": [str(form) for form in self.artifacts],
            "runner": self.runner,
            "correct": self.correct,
            "total": self.total,
            "accuracy": rounded(self.correct / self.total),
            "groups": {
                group: {"correct": correct, "total": total} for group, (correct, total) in sorted(self.groups.items())
            },
            "drop_points": None if self.drop is None else rounded(self.drop),
            "allowed_drop_points": None if self.allowed_drop is None else rounded(self.allowed_drop),
            "reason": self.reason,
            "wrong": [
                {"prompt": prompt, "expected": expected, "generated": generated}
                for prompt, expected, generated in self.wrong
            ],
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class ParityReport:
    """All results of one run.

    prompts: number compared; prompt_source: "built-in" or the file's name.
    findings: diagnostics; that of a failed row names the first tensor that diverges.
    note: what a reader must know beside the verdict, such as that inputs were made up; may be empty.
    vectors: test vectors for devices, where they were asked for; a file of their own, and so not in `as_json`.
    """

    depth: str
    bits: float
    prompts: int
    prompt_source: str
    rows: tuple[Row, ...]
    tasks: tuple[TaskScore, ...] = ()
    findings: tuple[Diagnostic, ...] = ()
    note: str = ""
    vectors: DeviceVectors | None = field(default=None, repr=False)

    @property
    def verdict(self) -> Verdict:
        """ "failed" if any row, task or finding failed; "unchecked" if nothing was gated."""
        return _worst([*(r.verdict for r in self.rows), *(t.verdict for t in self.tasks)], self.findings)

    def artifact_verdict(self, form: Form) -> Verdict:
        """The verdict of the rows and tasks that speak about one shipped file."""
        rows = [row.verdict for row in self.rows if form in row.artifacts]
        return _worst([*rows, *(task.verdict for task in self.tasks if form in task.artifacts)], ())

    def row(self, about: Form | str) -> Row | None:
        """The end-to-end row of a form, or the row of that name."""
        name = row_name(about) if isinstance(about, Form) else about
        return next((row for row in self.rows if row.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """Deterministic: floats carry 6 significant digits, NaN and infinity become null; no times, no paths."""
        return {
            "verdict": self.verdict,
            "note": self.note,
            "artifacts": {
                str(form): self.artifact_verdict(form)
                for form in FORMS
                if any(form in row.artifacts for row in self.rows)
            },
            "depth": self.depth,
            "bits": rounded(self.bits),
            "prompts": {"count": self.prompts, "source": self.prompt_source},
            "rows": [row.as_json() for row in self.rows],
            "tasks": [task.as_json() for task in self.tasks],
            "findings": [finding.as_json() for finding in self.findings],
            "metrics": {
                name: {"label": m.label, "unit": m.unit, "higher_is_better": m.higher_is_better}
                for name, m in METRICS.items()
            },
        }


def rounded(value: float, beside: float | None = None) -> float | int | None:
    """6 significant digits; whole numbers as integers; None for NaN and infinity, which JSON can't hold.

    beside: a number that it must differ from if it isn't equal to it; then it gets as many digits as that takes.
    """
    if not math.isfinite(value):
        return None
    number = float(f"{value:.6g}")
    if beside is not None and value != beside and math.isfinite(beside) and number == float(f"{beside:.6g}"):
        number = value
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _worst(verdicts: Iterable[Verdict], findings: Iterable[Diagnostic]) -> Verdict:
    seen = set(verdicts)
    if "failed" in seen or any(finding.level == "error" for finding in findings):
        return "failed"
    return "passed" if "passed" in seen else "unchecked"
