"""`kogata inspect`: the contents of a checkpoint, an .onnx file, an .mlpackage or a bundle."""

from __future__ import annotations

from typing import Annotated

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.errors import ExitCode
from exporter.progress import Progress
from exporter.report import Report, Table


def inspect(
    path: Annotated[
        str, typer.Argument(help="A checkpoint (folder or hub id), an .onnx file, an .mlpackage or a bundle.")
    ],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit, for a hub id.")] = None,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Show what is inside a checkpoint, an .onnx file, an .mlpackage or a bundle. No model is run."""

    def body(_: Progress) -> Report:
        from exporter.pipeline.inspect import inspect_path

        contents = inspect_path(path, revision)
        tables = [Table(contents.kind, ("", ""), [(k, str(v)) for k, v in contents.facts.items()])]
        tables += [Table(title, columns, rows) for title, columns, rows in contents.tables]
        return Report("inspect", ExitCode.OK, contents.as_json(), contents.diagnostics, tuple(tables))

    return run_command("inspect", Output(format, quiet), body)
