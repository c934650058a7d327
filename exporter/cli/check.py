"""`kogata check`: parity again, from the files on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.progress import Progress
from exporter.report import Report


def check(
    bundle: Annotated[Path, typer.Argument(help="A folder that `kogata export` made.")],
    against: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="The checkpoint that it was made from: folder or hub id.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Texts: .txt with one a line, or .jsonl. [default: a built-in set]")
    ] = None,
    task: Annotated[Path | None, typer.Option(help="A .jsonl of prompt and expected answer.")] = None,
    max_task_drop: Annotated[
        float | None, typer.Option(help="Points of task accuracy that may be lost. [default: by bits]", min=0)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A quarter of the prompts, no greedy continuation.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report with plots to this file as well.")] = None,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Compare a bundle's files with each other and, with --against, with the checkpoint. Exits 1 when a limit breaks.

    The bundle is verified first: files that were changed are not run.
    """

    def body(progress: Progress) -> Report:
        from exporter.cli.summary import check_report
        from exporter.parity import ParityOptions
        from exporter.parity.task import TaskFile
        from exporter.pipeline.check import CheckRequest, check_bundle
        from exporter.texts import PromptFile

        options = ParityOptions(
            depth="quick" if quick else "full",
            prompts=PromptFile(prompts) if prompts else None,
            tasks=TaskFile(task) if task else None,
            max_task_drop=max_task_drop,
        )
        request = CheckRequest(bundle, against, revision, options)
        return check_report(check_bundle(request, progress), html)

    return run_command("check", Output(format, quiet), body)
