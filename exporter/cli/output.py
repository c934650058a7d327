"""From a command's body to stdout, stderr and the exit code. The one place where errors become messages."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from io import TextIOWrapper
from typing import Annotated

import typer

from exporter.errors import Diagnostic, ExitCode, KogataError
from exporter.progress import NoProgress, Progress
from exporter.report import Report, render

ISSUES = "the project's issue tracker"


class Format(StrEnum):
    """How a report is written to stdout. It never changes the exit code."""

    text = "text"
    json = "json"
    junit = "junit"
    github = "github"


FormatOption = Annotated[
    Format, typer.Option("--format", help="Report on stdout: for people, scripts, or CI.", show_choices=True)
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]


@dataclass(frozen=True)
class Output:
    """Where a command's words go."""

    format: Format
    quiet: bool

    def progress(self) -> Progress:
        """Bars on a terminal, a line per stage elsewhere, nothing when quiet."""
        if self.quiet or os.environ.get("NO_PROGRESS"):
            return NoProgress()
        from exporter.cli.progress import BarProgress, LineProgress

        return BarProgress() if sys.stderr.isatty() else LineProgress()

    def write(self, report: Report) -> int:
        """The report to stdout; returns the exit code.

        That is the report's, also where its reader has stopped reading (`| head`); 2 where all went well but for
        stdout, which can't be written.
        """
        if sys.stdout is None:  # closed by the caller, who wants the exit code alone
            return int(report.exit_code)
        colour = self.format is Format.text and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        text = render(report, self.format.value, colour=colour)
        if isinstance(sys.stdout, TextIOWrapper):
            if self.format is Format.text:
                sys.stdout.reconfigure(errors="backslashreplace")  # a locale that lacks a letter stops no report
            else:
                sys.stdout.reconfigure(encoding="utf-8")  # as JSON and the XML's first line have it
        try:
            sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
            sys.stdout.flush()
        except OSError as error:
            return int(report.exit_code) or stdout_lost(error)
        return int(report.exit_code)


def run_command(command: str, output: Output, body: Callable[[Progress], Report]) -> int:
    """Runs `body` and reports its result, or the error that ended it; returns the exit code."""
    progress = output.progress()
    try:
        try:
            report = body(progress)
        finally:
            progress.close()
    except KogataError as error:
        report = failure(command, error.exit_code, error.diagnostics)
    except KeyboardInterrupt:
        stopped = Diagnostic("cli.interrupted", "stopped before the end; no bundle was written")
        report = failure(command, 130, (stopped,))  # 128 + SIGINT, as shells expect
    except MemoryError:
        lack = Diagnostic(
            "machine.memory",
            "the machine ran out of memory",
            hint="close other programs, or export on a larger machine",
        )
        report = failure(command, ExitCode.INPUT, (lack,))
    except Exception as error:
        report = failure(command, ExitCode.BUG, (bug(error),))
    return output.write(report)


def stdout_lost(error: OSError) -> int:
    """Gives up writing to stdout, so that Python does not try again at its end; returns the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return int(ExitCode.OK)
    print(f"error: the report can't be written to stdout: {error.strerror}", file=sys.stderr)
    return int(ExitCode.INPUT)


def failure(command: str, exit_code: int, diagnostics: tuple[Diagnostic, ...]) -> Report:
    """The report of a command that ended without a result."""
    return Report(command=command, exit_code=exit_code, result=None, diagnostics=diagnostics)


def bug(error: Exception) -> Diagnostic:
    """An error that nobody foresaw, told without a traceback, but with the place it came from."""
    if os.environ.get("KOGATA_TRACEBACK"):
        traceback.print_exception(error, file=sys.stderr)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return Diagnostic(
        "kogata.bug",
        f"this is a bug in kogata: {type(error).__name__}: {error}",
        where=f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}",
        hint=f"run again with KOGATA_TRACEBACK=1 and report what it prints to {ISSUES}",
    )
