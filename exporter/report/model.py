"""The result of a command, independent of the format it is written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.errors import Diagnostic

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A titled table. An empty title is left out, and so is the header when all `columns` are empty.

    Text stays as it is; None is shown as a dash, floats with four significant digits.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(self.columns)} columns: {row}")


@dataclass(frozen=True)
class Number:
    """A measured value beside its limit, as texts: "kl", "0.2354", "≤ 0.2". reason: why that limit."""

    metric: str
    value: str
    limit: str
    passed: bool
    reason: str = ""

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"{self.metric} {self.value}, limit {self.limit}{why}"


@dataclass(frozen=True)
class Case:
    """One check, for JUnit and GitHub's summary: a row of parity, the bundle's files, a gate.

    passed: None if it was skipped. message: what it found, or why it was skipped; with `numbers`, more about them.
    artifacts: paths in the bundle of the files that it judges; none where it is about the whole bundle.
    seconds: how long it took, None where that wasn't measured.
    """

    name: str
    passed: bool | None
    message: str = ""
    artifacts: tuple[str, ...] = ()
    numbers: tuple[Number, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True)
class Subject:
    """The bundle that a command is about.

    name: the model's, or the folder's where the manifest wasn't read. path: the folder where the bundle lies, which is
    `NAME.rejected` after a failed export. asked: the folder that the user named, equal on success and on failure.
    """

    name: str
    path: str
    asked: str


@dataclass(frozen=True)
class Report:
    """What a command reports.

    exit_code: what the process will return; 0 means success.
    result: for JSON; None if the command failed before it had one.
    sections: the result for people, in order: tables, and text that is printed as it is.
    cases: checks for JUnit; without any, the command itself is the only case.
    is_answer: whether `sections` are a model's answer, which scripts read from stdout without anything else.
    verdict: of the bundle that the command is about; "" where it is about none. Every format shows it.
    subject: the bundle; None where the command is about none. next_step: what to do next, "" where that is clear.
    seconds: how long the command took, None where that wasn't measured.
    """

    command: str
    exit_code: int
    result: Mapping[str, Any] | None
    diagnostics: Sequence[Diagnostic] = ()
    sections: Sequence[Table | str] = ()
    cases: Sequence[Case] = ()
    verdict: str = ""
    is_answer: bool = False
    subject: Subject | None = None
    next_step: str = ""
    seconds: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.exit_code == 0


def shown_size(count: int) -> str:
    """Bytes for people, in powers of 1000: "1.61 MB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.2f} {unit}"
    return f"{count} B"
