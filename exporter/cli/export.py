"""`kogata export`: checkpoint → bundle."""

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


def _onnx_form(name: str) -> str:
    if name not in ("mobile", "portable"):
        raise typer.BadParameter(f"'{name[:40]}' is neither mobile nor portable")
    return name


def _format(text: str) -> Format:
    if text not in FORMATS:
        raise typer.BadParameter(f"'{text}' is not one of {', '.join(FORMATS)}")
    return text


def export(
    checkpoint: Annotated[
        str, typer.Argument(help="A Hugging Face folder, a hub id such as org/name, or an .onnx file.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write the bundle to.")],
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(FORMATS),
            parser=_format,
            autocompletion=lambda: FORMATS,
            help="Format to write; repeatable. [default: both]",
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
        typer.Option(
            help="Palette bits of every matrix: 1, 2, 3, 4, 6 or 8. 16 leaves the model uncompressed. [default: 4]"
        ),
    ] = None,
    bpw: Annotated[
        float | None,
        typer.Option(
            metavar="BITS",
            help="Instead of --bits: average bits per weight over the whole model, including lookup tables and "
            "uncompressed tensors. The bits of each matrix are chosen to lose the least.",
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Instead of --bits: largest size of the artifact, or of the larger one of two: 300MB, 1.2GB, 250MiB.",
        ),
    ] = None,
    max_kl: Annotated[
        float | None,
        typer.Option(
            metavar="NATS",
            help="Instead of --bits: find the smallest artifact whose predictions stay within this KL divergence from "
            "the checkpoint's. Parity enforces the limit.",
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Instead of --bits: read the bits of each matrix from the plan.json of a bundle."
        ),
    ] = None,
    group_size: Annotated[
        int | None,
        typer.Option(
            help="Output rows that share one LUT (lookup table). [default: the target's, else 16; with --bpw, "
            "--max-size or --max-kl chosen for each matrix]",
            min=1,
        ),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|builtin|none",
            help="Texts to fit the palettes to: .txt with one text per line, or .jsonl. none uses plain k-means. "
            "[default: builtin below 8 bits, for models that take text]",
        ),
    ] = None,
    recover: Annotated[
        int,
        typer.Option(
            metavar="STEPS",
            help="Train the values of the LUTs (lookup tables) for this many steps, so that the model answers like the "
            "checkpoint. 200 is a good start. An interrupted run resumes.",
            min=0,
        ),
    ] = 0,
    device: Annotated[
        str, typer.Option(metavar="cpu|cuda|mps", help="Device for calibration and training, as torch names it.")
    ] = "cpu",
    onnx_form: Annotated[
        list[str] | None,
        typer.Option(
            metavar="mobile|portable",
            parser=_onnx_form,
            help="Repeatable: form of ONNX. mobile: for phones, with weights as the runtime reads them, and its "
            "fused ops; decoders only. portable: standard ops and packed palettes. [default: mobile for decoders "
            "at --bits 4, 6 and 8, else portable]",
        ),
    ] = None,
    onnx_weights: Annotated[
        Literal["palette", "fp16", "fp32", "int8", "int4"] | None,
        typer.Option(
            help="How ONNX files store matrices. palette, fp16 and fp32: in the form portable. int8 and int4: in the "
            "form mobile; int8 are the palettes' values, int4 has its own, fitted to text. [default: palette; "
            "in the form mobile int4 at --bits 4, else int8]"
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            help="Longest sequence in tokens; also the size of the KV cache. [default: the model's; decoders: at most "
            "4096]",
            min=1,
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SIZE,SIZE",
            help="Repeatable: shape of an input of an ONNX model, for Core ML and parity, such as input_ids=1,128.",
        ),
    ] = None,
    parity: Annotated[
        Literal["full", "quick", "none"],
        typer.Option(
            help="How thoroughly to compare with the checkpoint. With none, the bundle says that it is unchecked."
        ),
    ] = "full",
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Texts for parity: .txt with one text per line, or .jsonl. For models that don't take text: .npz with "
            "inputs. [default: a built-in set]"
        ),
    ] = None,
    task: Annotated[
        Path | None, typer.Option(help="A .jsonl file of prompts and expected answers; parity then gates accuracy too.")
    ] = None,
    max_task_drop: Annotated[
        float | None,
        typer.Option(help="Largest loss of task accuracy in percentage points. [default: 1]", min=0),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit, for a hub id.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model in the bundle. [default: the checkpoint's]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Export CHECKPOINT to ONNX and Core ML, compare both with it, and write them as a bundle.

    Exits 1 when a gate fails; the files are then in DIR.rejected.
    """

    def body(progress: Progress) -> Report:
        from exporter.cli.summary import export_report
        from exporter.errors import Gathered
        from exporter.formats import Form
        from exporter.parity import ParityOptions
        from exporter.parity.task import TaskFile
        from exporter.pipeline.export import ExportRequest, export_checkpoint
        from exporter.pipeline.options import CalibrationOptions, OutputOptions
        from exporter.pipeline.settings import Widths, read_budget, settle
        from exporter.targets import load_target
        from exporter.texts import PromptFile

        options = Gathered()
        named = [options.read(load_target, target) for target in dict.fromkeys(for_ or ())]
        outputs = OutputOptions(
            formats=cast(tuple[Format, ...], tuple(to or ())),
            targets=tuple(target for target in named if target is not None),
            onnx_weights=onnx_weights,
            forms=tuple(Form("onnx", name) for name in dict.fromkeys(onnx_form or ())),
            context=context,
            shapes=options.read(_shapes, shape or ()) or {},
        )
        widths = Widths(bits, options.read(read_budget, bpw, max_size, max_kl), plan, group_size)
        calibration = CalibrationOptions(calibrate, recover, device)
        options.read(settle, outputs, widths)
        options.read(calibration.require_valid)
        options.raise_all()
        request = ExportRequest(
            checkpoint,
            output,
            outputs=outputs,
            widths=widths,
            calibration=calibration,
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
        return export_report(export_checkpoint(request, progress), output)

    return run_command("export", Output(format, quiet, about=output), body)


def _shapes(stated: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """`NAME=1,128` → name and sizes. Raises UsageError with all values of another form."""
    from exporter.errors import Diagnostic, UsageError

    shapes: dict[str, tuple[int, ...]] = {}
    problems = []
    for text in stated:
        name, _, sizes = text.rpartition("=")
        parts = sizes.split(",")
        if not name or not all(part.isdecimal() and part.isascii() and 0 < int(part[:10]) < 2**31 for part in parts):
            message = f"--shape takes NAME=SIZE,SIZE; got '{text[:80]}'"
            problems.append(Diagnostic("options.shape", message, "--shape", "for example: --shape input_ids=1,128"))
        elif name in shapes:
            problems.append(Diagnostic("options.shape", f"--shape gives '{name}' two shapes", "--shape"))
        else:
            shapes[name] = tuple(map(int, parts))
    UsageError.raise_all(problems)
    return shapes
