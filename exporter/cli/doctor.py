"""`kogata doctor`: what kogata can and can't do on this machine, and why."""

from __future__ import annotations

from pathlib import Path

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.errors import Diagnostic, ExitCode
from exporter.machine import capabilities, facts, tool_versions
from exporter.progress import Progress
from exporter.report import Report, Table

OPTIONAL = ("run Core ML itself",)  # only macOS can, and no command requires it


def doctor(format: FormatOption = "text", quiet: QuietOption = False) -> int:
    """Show what kogata can and can't do on this machine, and why. Exits 4 when something it needs is missing."""
    return run_command("doctor", Output(format, quiet), _examine)


def _examine(_: Progress) -> Report:
    found = capabilities(Path.cwd())
    problems = tuple(
        Diagnostic(
            "doctor.unable", f"kogata can't {c.name} here", where=c.why, hint="install kogata's dependencies again"
        )
        for c in found
        if not c.able and c.name not in OPTIONAL
    )
    tables = (
        Table("machine", ("", ""), sorted({**facts(), **tool_versions()}.items())),
        Table("capabilities", ("", "", "why"), [(c.name, "yes" if c.able else "no", c.why) for c in found]),
    )
    result = {
        "machine": facts(),
        "tools": tool_versions(),
        "capabilities": [{"name": c.name, "able": c.able, "why": c.why} for c in found],
    }
    return Report("doctor", ExitCode.RUNTIME if problems else ExitCode.OK, result, problems, tables)
