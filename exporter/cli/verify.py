"""`kogata verify`: compare a bundle's files with its checksums and manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.errors import ExitCode
from exporter.progress import Progress
from exporter.report import Report


def verify(
    bundle: Annotated[Path, typer.Argument(help="A folder that `kogata export` wrote.")],
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Check a bundle's hashes, sizes and manifest, without running a model. Exits 1 when anything differs."""

    def body(_: Progress) -> Report:
        from exporter.bundle import verify_bundle

        found = verify_bundle(bundle)
        code = ExitCode.GATE if found.diagnostics else ExitCode.OK
        line = f"{found.files} files, {found.bytes:,} bytes: all as packed" if not found.diagnostics else ""
        result = {"files": found.files, "bytes": found.bytes}
        return Report("verify", code, result, tuple(found.diagnostics), (line,) if line else ())

    return run_command("verify", Output(format, quiet), body)
