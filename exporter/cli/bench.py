"""`kogata bench`: time the files of one or two models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.formats import FORMATS
from exporter.progress import Progress
from exporter.report import Report

THREADS = 4  # phones have two to four fast cores


def bench(
    bundle: Annotated[
        Path, typer.Argument(help="A folder that `kogata export` wrote, or a folder with genai_config.json.")
    ],
    other: Annotated[
        Path | None, typer.Argument(help="A second one to compare with. The rounds of both alternate.")
    ] = None,
    artifact: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(FORMATS),
            autocompletion=lambda: FORMATS,
            help="Format or form to time. [default: all that run on this machine]",
        ),
    ] = None,
    engine: Annotated[
        Literal["onnxruntime", "genai"] | None,
        typer.Option(
            help="What runs ONNX files. [default: genai beside a folder that is not a bundle, else onnxruntime]"
        ),
    ] = None,
    genai_python: Annotated[
        Path | None,
        typer.Option(help="Python of the environment that has onnxruntime-genai. [default: this environment]"),
    ] = None,
    context: Annotated[
        list[int] | None,
        typer.Option(
            help="Length of the prompt, or of an encoder's texts, in tokens; repeatable. [default: 128, 512 and 2048, "
            "as far as the model's context allows; encoders: 128]",
            min=1,
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(help="Texts in an encoder's batch; repeatable. [default: 1, 8 and 32]", min=1, max=1024),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens to decode after each prompt. [default: 32]", min=1, max=4096)
    ] = None,
    repeats: Annotated[int, typer.Option(help="Rounds. Each model gets a new process in each.", min=1, max=100)] = 3,
    threads: Annotated[
        int | None,
        typer.Option(help=f"Threads of the engine. [default: one per processor, at most {THREADS}]", min=1, max=256),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random prompts and texts.", min=0)] = 0,
    timeout: Annotated[
        float, typer.Option(help="Seconds after which a process is stopped and the command fails.", min=1, max=86400)
    ] = 600,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Measure load time, memory and speed of a bundle's files, or compare two models.

    Decoders: tokens per second of the prompt (prefill) and of the answer (decode). Encoders: texts per second. A bundle
    is verified first, and changed files aren't run. Core ML programs are timed on macOS only. Prompts are random
    tokens; the answers aren't judged.
    """

    def body(progress: Progress) -> Report:
        from exporter.cli.bench_tables import bench_report
        from exporter.pipeline.bench import BenchRequest, run_bench
        from exporter.runners.threads import processors

        request = BenchRequest(
            paths=(bundle,) if other is None else (bundle, other),
            artifact=artifact,
            engine=engine,
            genai_python=genai_python,
            contexts=tuple(context or ()),
            batches=tuple(batch or ()),
            tokens=tokens,
            repeats=repeats,
            threads=threads or min(THREADS, processors()),
            seed=seed,
            seconds=timeout,
        )
        return bench_report(run_bench(request, progress))

    return run_command("bench", Output(format, quiet, about=bundle), body)
