"""The errors for users, their exit codes, and the diagnostics in them.

Every error for a user derives from `KogataError`. The command line catches this class, prints its diagnostics and
exits with its `exit_code`. Any other exception is a bug (exit 70).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import ClassVar, Literal, ParamSpec, TypeVar

Level = Literal["error", "warning", "note"]
_P = ParamSpec("_P")
_T = TypeVar("_T")


class ExitCode(IntEnum):
    """The exit codes of the process. Scripts rely on these numbers."""

    OK = 0
    GATE = 1
    INPUT = 2
    UNSUPPORTED = 3
    RUNTIME = 4
    BUG = 70


@dataclass(frozen=True)
class Diagnostic:
    """One finding: what is wrong, where it is, and what to do.

    `code` is stable and dotted (`checkpoint.truncated`); `where` is a file, tensor, node or option.
    """

    code: str
    message: str
    where: str = ""
    hint: str = ""
    level: Level = "error"

    def as_json(self) -> dict[str, str]:
        """An entry of `diagnostics` in the JSON output."""
        return {
            "code": self.code,
            "level": self.level,
            "message": self.message,
            "where": self.where,
            "hint": self.hint,
        }


class KogataError(Exception):
    """Base class of all errors for users.

    It has one or more diagnostics: a check collects all problems and raises once.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, first: Diagnostic, *more: Diagnostic) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = (first, *more)
        super().__init__("; ".join(d.message for d in self.diagnostics))

    @classmethod
    def of(cls, code: str, message: str, *, where: str = "", hint: str = "") -> KogataError:
        """An error with one diagnostic."""
        return cls(Diagnostic(code, message, where, hint))

    @classmethod
    def raise_all(cls, problems: Sequence[Diagnostic]) -> None:
        """Raise one error with all `problems`; do nothing when there are none."""
        if problems:
            raise cls(*problems)


class GateError(KogataError):
    """A gate failed: parity, size, budget or integrity (exit 1)."""

    exit_code = ExitCode.GATE


class UsageError(KogataError):
    """Options that are wrong or contradict each other (exit 2)."""

    exit_code = ExitCode.INPUT


class InputError(KogataError):
    """Input is missing, unreadable or damaged, or an output can't be written (exit 2)."""

    exit_code = ExitCode.INPUT


class UnsupportedError(KogataError):
    """The model, op or feature can't be exported to the requested format (exit 3)."""

    exit_code = ExitCode.UNSUPPORTED


class RuntimeMissingError(KogataError):
    """A requested runtime is not available on this machine (exit 4)."""

    exit_code = ExitCode.RUNTIME


def file_problem(path: Path) -> str:
    """Why `path` is not a regular file, or "" where it is one. Reading a pipe might never end."""
    if path.is_file():
        return ""
    return "is not a regular file" if path.exists() else "there is no such file"


class Gathered:
    """Reads options one after the other and raises the problems of all of them at once."""

    def __init__(self) -> None:
        self._problems: list[Diagnostic] = []

    def read(self, reader: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        """What the reader returns; None where it raised UsageError or InputError, which is kept.

        Any other error ends the reading, unless problems were kept before: these are raised instead.
        """
        try:
            return reader(*args, **kwargs)
        except (UsageError, InputError) as error:
            self._problems += [problem for problem in error.diagnostics if problem not in self._problems]
            return None
        except KogataError:
            self.raise_all()
            raise

    def raise_all(self) -> None:
        """Raise UsageError with all problems, if there are any."""
        UsageError.raise_all(self._problems)
