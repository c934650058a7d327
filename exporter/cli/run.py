"""`kogata run`: an answer, labels, or an embedding, from the shipped files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.errors import ExitCode
from exporter.formats import FORMATS
from exporter.progress import Progress
from exporter.report import Report


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `kogata export` made.")],
    text: Annotated[str, typer.Argument(help="The prompt, the question, or the text to embed, classify or complete.")],
    second: Annotated[
        str | None,
        typer.Option(help="The second text of a pair: the passage to rank, or the text that holds the answer."),
    ] = None,
    artifact: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(FORMATS), help="Which of the bundle's files. [default: onnx where the bundle has it]"
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest answer, in tokens. [default: the model's own, else 128]", min=1)
    ] = None,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Generate (a decoder, greedily), embed, classify, tag, fill in or answer (an encoder) from a bundle's files.

    The chat template is applied where the model has one. Core ML programs run in Kogata's executor off macOS.
    The files are run as they are: `kogata verify` says whether they are the ones that were packed.
    """

    def body(progress: Progress) -> Report:
        from exporter.pipeline.run import run_bundle

        progress.stage("load", 1)
        answer = run_bundle(bundle, text, artifact, max_tokens, second)
        return Report("run", ExitCode.OK, answer.as_json(), (), (answer.as_text(),))

    return run_command("run", Output(format, quiet), body)
