"""The error tree, its exit codes, and the diagnostic that every message is made of.

Everything that a user can meet derives from `KogataError`. The command line catches that one class,
prints its diagnostics and exits with its `exit_code`; anything else that escapes is a bug (exit 70).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import ClassVar, Literal

Level = Literal["error", "warning", "note"]


class ExitCode(IntEnum):
    """What the process returns. Scripts rely on these numbers."""

    OK = 0
    GATE = 1
    INPUT = 2
    UNSUPPORTED = 3
    RUNTIME = 4
    BUG = 70


@dataclass(frozen=True)
class Diagnostic:
    """One finding: what is wrong, where, and what to do about it.

    `code` is stable and dotted (`checkpoint.truncated`); `where` is a file, tensor, node or option.
    """

    code: str
    message: str
    where: str = ""
    hint: str = ""
    level: Level = "error"

    def as_json(self) -> dict[str, str]:
        """The fields of the JSON envelope's `diagnostics` entries."""
        return {
            "code": self.code,
            "level": self.level,
            "message": self.message,
            "where": self.where,
            "hint": self.hint,
        }


class KogataError(Exception):
    """Base of every error meant for a user.

    Carries one or more diagnostics: checks that can find several problems collect them all and raise once.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, first: Diagnostic, *more: Diagnostic) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = (first, *more)
        super().__init__("; ".join(d.message for d in self.diagnostics))

    @classmethod
    def of(cls, code: str, message: str, *, where: str = "", hint: str = "") -> KogataError:
        """The usual case: one diagnostic."""
        return cls(Diagnostic(code, message, where, hint))

    @classmethod
    def raise_all(cls, problems: Sequence[Diagnostic]) -> None:
        """Raise once with all `problems`; return quietly when there are none."""
        if problems:
            raise cls(*problems)


class GateError(KogataError):
    """A gate failed: parity, size, budget or integrity (exit 1)."""

    exit_code = ExitCode.GATE


class UsageError(KogataError):
    """A command was called with options that make no sense together (exit 2)."""

    exit_code = ExitCode.INPUT


class InputError(KogataError):
    """Input is missing, unreadable or damaged, or an output can't be written (exit 2)."""

    exit_code = ExitCode.INPUT


class UnsupportedError(KogataError):
    """The model, op or feature can't be exported to what was asked for (exit 3)."""

    exit_code = ExitCode.UNSUPPORTED


class RuntimeMissingError(KogataError):
    """A runtime that was asked for explicitly is not on this machine (exit 4)."""

    exit_code = ExitCode.RUNTIME


def file_problem(path: Path) -> str:
    """Why `path` is no file that can be read, in words; "" where it is one. A pipe isn't: reading it may never end."""
    if path.is_file():
        return ""
    return "is not a regular file" if path.exists() else "there is no such file"
