"""`kogata diff`: what changed between two bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.progress import Progress
from exporter.report import Report

_BENCH = "What `kogata bench --format json` wrote about {0}. Of a comparison of two bundles, {1} counts."
_DEVICE = "A device's report about {0}, as `kogata check --device-report` takes it."


def diff(
    old: Annotated[Path, typer.Argument(help="The bundle of the last release.")],
    new: Annotated[Path, typer.Argument(help="The bundle to compare with it.")],
    not_worse: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC[:ROW]=BY",
            help="Exit 1 if NEW is worse than OLD by more than this: kl=0.005, size=2%, size:onnx=3MB, task=0.5 "
            "(points), decode=5%. Repeatable. ROW is a row of the report; without it, every shipped file counts. "
            "METRIC is size, memory, bpw, task, load, first_token, prefill, decode, texts_per_second, loaded_memory, "
            "peak_memory, or a metric of the parity report.",
        ),
    ] = None,
    old_bench: Annotated[Path | None, typer.Option(help=_BENCH.format("OLD", "the first"))] = None,
    new_bench: Annotated[Path | None, typer.Option(help=_BENCH.format("NEW", "the second"))] = None,
    old_device: Annotated[Path | None, typer.Option(help=_DEVICE.format("OLD"))] = None,
    new_device: Annotated[Path | None, typer.Option(help=_DEVICE.format("NEW"))] = None,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Show what changed between two bundles, and fail if the new one is worse than allowed. No model is run.

    Both bundles are verified first. The report has sizes, bits by tensor, parity, task accuracy, speed, licence,
    origin, tokenizer, forms and tool versions. Exits 1 when a gate breaks, when a file differs from its hash, and when
    NEW failed its own export. A gate breaks too where only one bundle has its metric, and where the two were measured
    on different prompts, tasks or machines.
    """

    def body(progress: Progress) -> Report:
        from exporter.cli.diff_tables import diff_report
        from exporter.pipeline.diff import SideFiles, diff_bundles

        sides = SideFiles(old, old_bench, old_device), SideFiles(new, new_bench, new_device)
        return diff_report(diff_bundles(*sides, tuple(not_worse or ()), progress))

    return run_command("diff", Output(format, quiet), body)
