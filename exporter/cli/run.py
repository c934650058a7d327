"""`kogata run`: run the files of a bundle on texts."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.formats import FORMATS
from exporter.progress import Progress
from exporter.report import Report


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `kogata export` wrote.")],
    text: Annotated[
        str | None,
        typer.Argument(
            help="The prompt, the question, or the text to embed, classify or fill in. - reads it from standard "
            "input. The name of a .txt or .jsonl file is the same as --input."
        ),
    ] = None,
    second: Annotated[
        str | None,
        typer.Option(help="The second text of a pair: the passage to rank, or the text to find the answer in."),
    ] = None,
    input: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Run every text of a file: a line of a .txt each, or objects with "text" (and "second"), or '
            '"messages", in the lines of a .jsonl.',
        ),
    ] = None,
    chat: Annotated[
        bool,
        typer.Option("--chat", help="A conversation: the lines of standard input are the turns, after TEXT if given."),
    ] = False,
    system: Annotated[str | None, typer.Option(help="The system's turn, before the text.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the answers to a .jsonl file, or embeddings to a .npy file."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --output.")] = False,
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
    greedy: Annotated[bool, typer.Option("--greedy", help="Always take the most likely token.")] = False,
    temperature: Annotated[
        float | None, typer.Option(help="Sample; divides the logits. 0 is greedy. [default: the model's, else 1]")
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(help="Sample from so many of the most likely tokens, 0: all. [default: the model's, else 50]"),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Sample from the most likely tokens that have this probability together."),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(help="Sample from tokens at least this times as likely as the most likely one."),
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Make tokens less likely that were there before. 1: no change.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same text. [default: 0]")] = None,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Run the model of a bundle on a text, on several, or in a conversation.

    Decoders generate; encoders embed, classify, tag, fill in or answer. The chat template is applied if the model has
    one. Tokens are chosen as the model's generation_config.json says, else greedily. An encoder's text that is longer
    than the model takes is cut, with a warning. Where there may be several texts, JSON is one object per line. On
    systems other than macOS, Core ML programs run in Kogata's own executor. The files are not verified first; `kogata
    verify` does that. A bundle that failed a gate runs, with a warning on stderr.
    """
    from exporter.pipeline.run_files import AnswerFile
    from exporter.pipeline.run_inputs import RunInputs
    from exporter.pipeline.run_options import RunOptions, StatedSampling

    sampling = StatedSampling(greedy, temperature, top_k, top_p, min_p, repetition_penalty, seed)
    options = RunOptions(artifact, max_tokens, system, chat, sampling)
    inputs = RunInputs(text, second, input, chat)
    lines = format == "json" and inputs.are_several and output is None
    shown = Output(format, quiet, lines, about=bundle)

    def body(progress: Progress) -> Report:
        from exporter.cli.answers import AnswerPrinter
        from exporter.cli.verdict import verdict_findings
        from exporter.pipeline.run_texts import RunRequest, ready, run_texts

        file = None if output is None else AnswerFile(output, force)
        request = RunRequest(bundle, inputs, options, file, _stdin())
        texts = ready(request, progress)
        verdict, failed = texts.bundle.manifest.verdict, verdict_findings(texts.bundle.manifest)
        told = [replace(finding, level="warning") for finding in failed if verdict == "failed"]
        printer = AnswerPrinter(shown, (*told, *texts.model.notes), verdict, output, texts.have_lines)
        printer.begin(progress)
        try:
            run_texts(texts, printer, _ask, progress)
        finally:
            printer.end_line()
        return printer.report(several=inputs.are_several)

    return run_command("run", shown, body)


def _stdin() -> BinaryIO | None:
    return None if sys.stdin is None else sys.stdin.buffer


def _ask() -> None:
    """Show that a turn is awaited. Line editing would change the terminal's mode, and Ctrl-C would leave it changed."""
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None:
        sys.stderr.write("> ")
        sys.stderr.flush()
