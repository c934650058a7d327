"""`kogata check`: run parity again on the files of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.errors import Diagnostic, UsageError
from exporter.progress import Progress
from exporter.report import Report


def check(
    bundle: Annotated[Path, typer.Argument(help="A folder that `kogata export` wrote.")],
    against: Annotated[
        str | None,
        typer.Option(metavar="CHECKPOINT", help="The checkpoint that the bundle was made from: a folder or a hub id."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit, for a hub id.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Texts: .txt with one text per line, or .jsonl. [default: a built-in set]")
    ] = None,
    task: Annotated[Path | None, typer.Option(help="A .jsonl file of prompts and expected answers.")] = None,
    max_task_drop: Annotated[
        float | None,
        typer.Option(help="Largest loss of task accuracy in percentage points. [default: 1]", min=0),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Use a quarter of the prompts and no greedy continuations.")
    ] = False,
    device_report: Annotated[
        Path | None,
        typer.Option(help="A report that an app wrote after running parity/device.json: judge it by the same limits."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write the report, with plots, to this file.")] = None,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Compare a bundle's files with each other and, with --against, with the checkpoint. Exits 1 when a gate fails.

    The bundle is verified first; files that were changed are not run. With --device-report and without --against, only
    the report is judged, and no model is run.
    """

    def body(progress: Progress) -> Report:
        from exporter.cli.summary import check_report
        from exporter.parity import ParityOptions
        from exporter.parity.task import TaskFile
        from exporter.pipeline.check import CheckRequest, check_bundle
        from exporter.texts import PromptFile

        _require_used(device_report, against, {"--prompts": prompts, "--task": task, "--quick": quick})
        options = ParityOptions(
            depth="quick" if quick else "full",
            prompts=PromptFile(prompts) if prompts else None,
            tasks=TaskFile(task) if task else None,
            max_task_drop=max_task_drop,
        )
        request = CheckRequest(bundle, against, revision, device_report, options)
        return check_report(check_bundle(request, progress), bundle, html)

    return run_command("check", Output(format, quiet, about=bundle), body)


def _require_used(device_report: Path | None, against: str | None, options: Mapping[str, object]) -> None:
    """Raises UsageError for options of a comparison that isn't made."""
    unused = [name for name, value in options.items() if value] if device_report and not against else []
    message = "has no effect: with --device-report and without --against, no model is run"
    hint = "add --against CHECKPOINT, or leave it out"
    UsageError.raise_all([Diagnostic("check.unused", message, name, hint) for name in unused])
