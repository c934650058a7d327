"""`kogata verify`: compare a bundle's files with its checksums and manifest, and show its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.progress import Progress
from exporter.report import Report


def verify(
    bundle: Annotated[Path, typer.Argument(help="A folder that `kogata export` wrote.")],
    require: Annotated[
        Literal["passed"] | None,
        typer.Option(help="Also exit 1 for a bundle that was never compared with its checkpoint."),
    ] = None,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Check a bundle's hashes, sizes, manifest and verdict, without running a model.

    Exits 1 when a file differs, and for a bundle that failed a gate when it was exported.
    """

    def body(_: Progress) -> Report:
        from exporter.bundle import verify_bundle
        from exporter.cli.verdict import verify_report

        return verify_report(verify_bundle(bundle), require_passed=require is not None)

    return run_command("verify", Output(format, quiet), body)
