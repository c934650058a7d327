"""`kogata pack`: what a store or a client wants of a finished bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.cli.targets import target_names
from exporter.errors import ExitCode
from exporter.progress import Progress
from exporter.report import Report, Table, shown_size


def pack(
    bundle: Annotated[Path, typer.Argument(help="A folder that `kogata export` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    target: Annotated[
        str,
        typer.Option("--for", metavar="TARGET", autocompletion=target_names, help="iphone, or another iPhone target."),
    ],
    download: Annotated[
        Literal["essential", "prefetch", "on-demand"],
        typer.Option(help="When the system downloads the files, if they are shipped as an asset pack."),
    ] = "on-demand",
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that `kogata pack` wrote.")] = False,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Write what Xcode and the App Store want of a bundle: a Swift package and a Background Assets manifest.

    The bundle is verified first. Its files are copied byte for byte into the package as a resource; those that an
    iPhone doesn't need stay out. Exits 1 for a bundle with changed files or a failed verdict.
    """

    def body(progress: Progress) -> Report:
        from exporter.cli.verdict import verdict_findings
        from exporter.pipeline.deliver import pack_bundle

        packed = pack_bundle(bundle, target, output, download, progress, force=force)
        sizes = [
            (size.what, shown_size(size.bytes), "none known" if size.limit is None else shown_size(int(size.limit)))
            for size in packed.sizes
        ]
        result = {
            "path": str(packed.path),
            "target": packed.target.name,
            "module": packed.module,
            "files": packed.files,
            "sizes": [{"what": size.what, "bytes": size.bytes, "limit": size.limit} for size in packed.sizes],
        }
        told = (*verdict_findings(packed.manifest), *packed.findings)
        facts = [("folder", str(packed.path)), ("Swift module", packed.module), ("files", str(packed.files))]
        sections = (
            Table(f"{packed.manifest.name} for {packed.target.title}", ("", ""), facts),
            Table("sizes before compression", ("what", "size", "limit"), sizes),
        )
        return Report("pack", ExitCode.OK, result, told, sections, verdict=packed.manifest.verdict)

    return run_command("pack", Output(format, quiet), body)
