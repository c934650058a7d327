"""`kogata run`: run the files of a bundle on a text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.errors import ExitCode
from exporter.formats import FORMATS
from exporter.progress import Progress
from exporter.report import Report


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `kogata export` wrote.")],
    text: Annotated[str, typer.Argument(help="The prompt, the question, or the text to embed, classify or fill in.")],
    second: Annotated[
        str | None,
        typer.Option(help="The second text of a pair: the passage to rank, or the text to find the answer in."),
    ] = None,
    artifact: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(FORMATS),
            autocompletion=lambda: FORMATS,
            help="Format to run. [default: onnx if the bundle has it]",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest answer in tokens. [default: the model's, else 128]", min=1)
    ] = None,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Run the model of a bundle on a text.

    Decoders generate greedily; encoders embed, classify, tag, fill in or answer. The chat template is applied if the
    model has one. On systems other than macOS, Core ML programs run in Kogata's own executor. The files are not
    verified first; `kogata verify` does that. A bundle that failed a gate runs, with a warning on stderr.
    """

    def body(progress: Progress) -> Report:
        from exporter.bundle.opened import open_bundle
        from exporter.cli.verdict import verdict_findings
        from exporter.pipeline.run import run_opened

        progress.stage("load", 1)
        opened = open_bundle(bundle)
        answer = run_opened(opened, text, artifact, max_tokens, second)
        verdict = opened.manifest.verdict
        failed = verdict_findings(opened.manifest) if verdict == "failed" else ()
        told = [replace(finding, level="warning") for finding in failed]
        return Report("run", ExitCode.OK, answer.as_json(), told, (answer.as_text(),), verdict=verdict, is_answer=True)

    return run_command("run", Output(format, quiet), body)
