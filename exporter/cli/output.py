"""Runs a command: result or error → report on stdout, progress on stderr, exit code."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, TextIO

import typer

from exporter.errors import Diagnostic, ExitCode, KogataError
from exporter.interrupt import note
from exporter.progress import NoProgress, Progress
from exporter.report import Report, ReportFormat, Subject, render, render_json_line, render_summary

ISSUES = "the project's issue tracker"


FormatOption = Annotated[
    ReportFormat,
    typer.Option(
        "--format", help="Format of the report on stdout: text for people, json for scripts, the rest for CI."
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress on stderr.")]


class StdoutLostError(Exception):
    """Nothing more can be written to stdout. exit_code: of the command, which ends here."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Output:
    """Where a command writes its report and its progress, and in which format.

    lines: the command writes JSON line by line itself; of its report, only a failure is written, as one line.
    about: the bundle's folder that the user named, which reports of failures name too; None for other commands.
    """

    format: ReportFormat
    quiet: bool
    lines: bool = False
    about: Path | None = None

    def progress(self) -> Progress:
        """Bars on a terminal, lines elsewhere, nothing when quiet or where stderr is closed."""
        if self.quiet or os.environ.get("NO_PROGRESS") or sys.stderr is None:
            return NoProgress()
        from exporter.cli.progress import BarProgress, LineProgress

        return BarProgress() if _is_screen(sys.stderr) else LineProgress()

    def write(self, report: Report) -> int:
        """Writes the report to stdout, and the errors of a text report to stderr; returns the exit code.

        That is the report's, even if the reader of stdout has stopped reading (`| head`). Where only writing to stdout
        failed, it is 2.
        """
        note("report")
        if self.about is not None and report.subject is None:
            folder = self.about
            report = replace(report, subject=Subject(folder.resolve().name, str(folder), str(folder)))
        if self.format == "github":
            _add_summary(report)
        code, text = int(report.exit_code), ""
        width = shutil.get_terminal_size((0, 0)).columns or None  # COLUMNS, else the terminal's
        if sys.stdout is not None:  # None: closed by the caller, who wants the exit code alone
            text = self._rendered(report, width)
            try:
                _put(sys.stdout, text, "utf-8" if self.format != "text" else None)  # as JSON and XML's first line say
            except OSError as error:
                code = code or stdout_lost(error)
        if sys.stderr is not None and self.format == "text":
            messages = render(report, "text", part="messages", colour=_is_coloured(sys.stderr), width=width)
            with contextlib.suppress(OSError):  # the exit code says the rest
                _put(sys.stderr, "\n" * bool(text and messages and _is_screen(sys.stderr)) + messages)
        return code

    def put(self, text: str) -> None:
        """Writes a part of an answer to stdout before there is a report. Raises StdoutLostError."""
        if sys.stdout is not None:
            try:
                _put(sys.stdout, text, "utf-8" if self.format != "text" else None, end="")
            except OSError as error:
                raise StdoutLostError(stdout_lost(error)) from error

    def _rendered(self, report: Report, width: int | None) -> str:
        """The report for stdout."""
        if self.lines:
            return "" if report.ok else render_json_line(report)
        return render(report, self.format, part="report", colour=_is_coloured(sys.stdout), width=width)


def _add_summary(report: Report) -> None:
    """Adds the report to the summary of the step where GitHub runs the command."""
    file = os.environ.get("GITHUB_STEP_SUMMARY")
    if not file:
        return
    try:
        with Path(file).open("a", encoding="utf-8", errors="replace") as summary:
            summary.write(render_summary(report))
    except OSError as error:  # the exit code and the annotations say what matters
        if sys.stderr is not None:
            print(f"warning: the step's summary can't be written: {file}: {error.strerror}", file=sys.stderr)


def _put(stream: TextIO, text: str, encoding: str | None = None, end: str = "\n") -> None:
    """encoding: None keeps the locale's, and a letter that it lacks stops no report. end: how a text must end."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(encoding=encoding) if encoding else stream.reconfigure(errors="backslashreplace")
    stream.write(text if text.endswith(end) or not text else text + end)
    stream.flush()


def run_command(command: str, output: Output, body: Callable[[Progress], Report]) -> int:
    """Runs `body` and writes its result, or the error that ended it; returns the exit code."""
    progress, begun = output.progress(), time.perf_counter()
    try:
        try:
            report = body(progress)
        finally:
            progress.close()
    except StdoutLostError as error:
        return error.exit_code
    except KogataError as error:
        report = failure(command, error.exit_code, error.diagnostics)
    except KeyboardInterrupt:
        fate = "" if command == "run" else "; no bundle was written"
        stopped = Diagnostic("cli.interrupted", f"interrupted{fate}")
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
    return output.write(replace(report, seconds=time.perf_counter() - begun))


def _is_coloured(stream: TextIO) -> bool:
    return _is_screen(stream) and not os.environ.get("NO_COLOR")


def _is_screen(stream: TextIO) -> bool:
    """Whether it is a terminal that obeys colours and cursor movements."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def stdout_lost(error: OSError) -> int:
    """Closes stdout after a failed write, so that Python doesn't try again when it exits; returns the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return int(ExitCode.OK)
    print(f"error: the report can't be written to stdout: {error.strerror}", file=sys.stderr)
    return int(ExitCode.INPUT)


def failure(command: str, exit_code: int, diagnostics: tuple[Diagnostic, ...]) -> Report:
    """The report of a command that ended without a result."""
    return Report(command=command, exit_code=exit_code, result=None, diagnostics=diagnostics)


def bug(error: Exception) -> Diagnostic:
    """An unexpected error: its message and the place it came from, without a traceback."""
    if os.environ.get("KOGATA_TRACEBACK"):
        traceback.print_exception(error, file=sys.stderr)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return Diagnostic(
        "kogata.bug",
        f"this is a bug in kogata: {type(error).__name__}: {error}",
        where=f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}",
        hint=f"run again with KOGATA_TRACEBACK=1 and report what it prints to {ISSUES}",
    )
