"""`kogata export`: checkpoint in, bundle out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.cli.targets import target_names
from exporter.formats import FORMATS, Format
from exporter.progress import Progress
from exporter.report import Report


def _format(text: str) -> Format:
    if text not in FORMATS:
        raise typer.BadParameter(f"'{text}' is not one of {', '.join(FORMATS)}")
    return cast(Format, text)


def export(
    checkpoint: Annotated[
        str, typer.Argument(help="A Hugging Face folder, a hub id such as org/name, or an .onnx file.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The bundle's folder.")],
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(FORMATS), parser=_format, autocompletion=lambda: FORMATS, help="Repeatable. [default: both]"
        ),
    ] = None,
    for_: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="TARGET",
            autocompletion=target_names,
            help="Repeatable: a device profile from `kogata targets`, which sets formats and size limits.",
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(help="Palette bits of all matrices: 1, 2, 3, 4, 6 or 8; 16 compresses nothing. [default: 4]"),
    ] = None,
    bpw: Annotated[
        float | None,
        typer.Option(
            metavar="BITS",
            help="Instead of --bits: bits per weight over the whole model, tables and kept tensors included. "
            "Each matrix gets those that serve the model best.",
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Instead of --bits: bytes of the artifact, of the larger one where there are two formats: "
            "300MB, 1.2GB, 250MiB.",
        ),
    ] = None,
    max_kl: Annotated[
        float | None,
        typer.Option(
            metavar="NATS",
            help="Instead of --bits: the smallest artifact whose predictions stay that close to the checkpoint's; "
            "parity holds it to that.",
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Instead of --bits: the bits of each matrix, as in the plan.json of a bundle."
        ),
    ] = None,
    group_size: Annotated[
        int | None,
        typer.Option(help="Output rows that share one LUT. [default: the target's, else 16; mixed bits choose]", min=1),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|builtin|none",
            help="Text that palettes are fitted to, .txt with one a line or .jsonl; none is plain k-means. "
            "[default: builtin below 8 bits, where the model takes text]",
        ),
    ] = None,
    recover: Annotated[
        int,
        typer.Option(
            metavar="STEPS",
            help="Train the values of the LUTs for so many steps, to answer as the checkpoint does; "
            "200 are a good start. What is interrupted goes on where it was.",
            min=0,
        ),
    ] = 0,
    device: Annotated[
        str, typer.Option(metavar="cpu|cuda|mps", help="Where calibration and training run, as torch calls it.")
    ] = "cpu",
    onnx_weights: Annotated[
        Literal["palette", "fp16", "fp32"], typer.Option(help="How the ONNX file stores its matrices.")
    ] = "palette",
    context: Annotated[
        int | None,
        typer.Option(
            help="Longest sequence, and size of the KV cache. [default: the model's; decoders at most 4096]", min=1
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=1,…",
            help="Repeatable: sizes of an input of a model that comes as ONNX, for Core ML and parity.",
        ),
    ] = None,
    parity: Annotated[
        Literal["full", "quick", "none"],
        typer.Option(help="Check against the checkpoint; none is recorded as unchecked."),
    ] = "full",
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Texts for parity: .txt with one a line, or .jsonl; .npz of inputs for a model of other than text. "
            "[default: a built-in set]"
        ),
    ] = None,
    task: Annotated[
        Path | None, typer.Option(help="A .jsonl of prompt and expected answer; parity then gates on accuracy too.")
    ] = None,
    max_task_drop: Annotated[
        float | None, typer.Option(help="Points of task accuracy that may be lost. [default: by bits]", min=0)
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")] = None,
    name: Annotated[
        str | None, typer.Option(help="The model's name in the bundle. [default: the checkpoint's]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the bundle that is there.")] = False,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Export CHECKPOINT to ONNX and Core ML, check both against it, and pack them as a bundle.

    Exits 1 when a gate fails; what was made then lies in DIR.rejected.
    """

    def body(progress: Progress) -> Report:
        from exporter.cli.summary import export_report
        from exporter.parity import ParityOptions
        from exporter.parity.task import TaskFile
        from exporter.pipeline.export import ExportRequest, export_checkpoint
        from exporter.pipeline.options import CalibrationOptions, OutputOptions
        from exporter.pipeline.settings import Widths, read_budget
        from exporter.targets import load_target
        from exporter.texts import PromptFile

        request = ExportRequest(
            checkpoint,
            output,
            outputs=OutputOptions(
                formats=cast(tuple[Format, ...], tuple(to or ())),
                targets=tuple(load_target(target) for target in dict.fromkeys(for_ or ())),
                onnx_weights=onnx_weights,
                context=context,
                shapes=_shapes(shape or ()),
            ),
            widths=Widths(bits, read_budget(bpw, max_size, max_kl), plan, group_size),
            calibration=CalibrationOptions(calibrate, recover, device),
            parity=ParityOptions(
                depth="quick" if parity == "quick" else "full",
                prompts=PromptFile(prompts) if prompts else None,
                tasks=TaskFile(task) if task else None,
                max_task_drop=max_task_drop,
            ),
            skip_parity=parity == "none",
            revision=revision,
            name=name,
            force=force,
        )
        return export_report(export_checkpoint(request, progress))

    return run_command("export", Output(format, quiet), body)


def _shapes(stated: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """`NAME=1,128` → name and sizes. Raises UsageError with everything that isn't of this form."""
    from exporter.errors import Diagnostic, UsageError

    shapes: dict[str, tuple[int, ...]] = {}
    problems = []
    for text in stated:
        name, _, sizes = text.rpartition("=")
        parts = sizes.split(",")
        if not name or not all(part.isdecimal() and part.isascii() and 0 < int(part[:10]) < 2**31 for part in parts):
            message = f"'{text[:80]}' is no input with its sizes"
            problems.append(Diagnostic("options.shape", message, "--shape", "--shape input_ids=1,128"))
        elif name in shapes:
            problems.append(Diagnostic("options.shape", f"'{name}' has two shapes", "--shape"))
        else:
            shapes[name] = tuple(map(int, parts))
    UsageError.raise_all(problems)
    return shapes
