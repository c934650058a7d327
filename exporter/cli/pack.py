"""`kogata pack`: what a store or a client wants of a finished bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.cli.targets import target_names
from exporter.errors import Diagnostic, ExitCode, UsageError
from exporter.progress import Progress
from exporter.report import Report, Table, shown_size

if TYPE_CHECKING:
    from exporter.bundle import Manifest

Dtype = Literal["fp32", "fp16", "q8", "q4", "q4f16"]


TRANSFORMERS_JS = "transformers.js"
HUB = "hub"


def _layout_names() -> list[str]:
    """For the shell's completion."""
    return [TRANSFORMERS_JS, HUB, *target_names()]


def pack(
    bundle: Annotated[Path, typer.Argument(help="A folder that `kogata export` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    target: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="TARGET",
            autocompletion=_layout_names,
            help="iphone, android, a target for one device, transformers.js, or hub for a repository of the hub.",
        ),
    ],
    download: Annotated[
        Literal["essential", "prefetch", "install-time", "fast-follow", "on-demand"] | None,
        typer.Option(
            help="When the store delivers the files. iPhone: essential, prefetch or on-demand (the default), if they "
            "are shipped as an asset pack. Android: install-time (the default up to 200 MB, compressed), fast-follow "
            "(the default above) or on-demand.",
            show_default=False,
        ),
    ] = None,
    min_ram: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Android: deliver the files only to phones that report this much memory or more, such as 6.8GB for "
            "phones that are sold with 8 GB.",
        ),
    ] = None,
    dtype: Annotated[
        Dtype,
        typer.Option(
            help="For transformers.js: the dtype that the app asks for. It names the file, and changes nothing in it."
        ),
    ] = "fp32",
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that `kogata pack` wrote.")] = False,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Write the layout that a store or a client wants of a bundle.

    For an iPhone: a Swift package for Xcode, and a Background Assets manifest. For Android: AI packs and Kotlin. For
    transformers.js: configuration and tokenizer, and onnx/model.onnx below them, as models on the hub have it. For
    the hub: everything, with Core ML packages named as Apple names its own, for `hf upload`.

    The bundle is verified first. Its files are copied byte for byte; those that the target doesn't need stay out. Exits
    1 for a bundle with changed files or a failed verdict.
    """

    def body(progress: Progress) -> Report:
        if target == TRANSFORMERS_JS:
            return _for_transformers_js(bundle, output, dtype, progress, force)
        if target == HUB:
            _require_no_options(download, min_ram)
            return _for_hub(bundle, output, progress, force=force)
        from exporter.pipeline.deliver import pack_bundle
        from exporter.pipeline.delivery import PackOptions
        from exporter.pipeline.settings import read_size

        memory = None if min_ram is None else read_size(min_ram, "--min-ram")
        packed = pack_bundle(bundle, target, output, PackOptions(download, memory, force), progress)
        sizes = [
            (size.what, shown_size(size.bytes), "none known" if size.limit is None else shown_size(int(size.limit)))
            for size in packed.sizes
        ]
        result = {
            "path": str(packed.path),
            "target": packed.target.name,
            **packed.details,
            "files": packed.files,
            "sizes": [{"what": size.what, "bytes": size.bytes, "limit": size.limit} for size in packed.sizes],
        }
        facts = [("folder", str(packed.path)), *packed.facts, ("files", str(packed.files))]
        compressed = any(size.compressed for size in packed.sizes)
        sections = (
            Table(f"{packed.manifest.name} for {packed.target.title}", ("", ""), facts),
            Table(f"sizes {'after' if compressed else 'before'} compression", ("what", "size", "limit"), sizes),
        )
        return _report(packed.manifest, bundle, result, sections, packed.findings)

    return run_command("pack", Output(format, quiet, about=bundle), body)


def _report(
    manifest: Manifest,
    bundle: Path,
    result: dict[str, Any],
    sections: tuple[Table, ...],
    findings: tuple[Diagnostic, ...] = (),
) -> Report:
    """What every layout tells of the bundle that it was made of."""
    from exporter.cli.verdict import bundle_subject, next_step, verdict_findings

    return Report(
        "pack",
        ExitCode.OK,
        result,
        (*verdict_findings(manifest), *findings),
        sections,
        verdict=manifest.verdict,
        subject=bundle_subject(manifest, bundle, bundle),
        next_step=next_step(manifest, bundle),
    )


def _for_transformers_js(bundle: Path, output: Path, dtype: Dtype, progress: Progress, force: bool) -> Report:
    from exporter.pipeline.deliver_client import pack_for_transformers_js

    packed = pack_for_transformers_js(bundle, output, dtype, progress, force=force)
    result = {
        "path": str(packed.path),
        "target": TRANSFORMERS_JS,
        "dtype": dtype,
        "files": packed.files,
        "models": list(packed.opens),
    }
    facts = [("folder", str(packed.path)), ("opens", ", ".join(packed.opens)), ("files", str(packed.files))]
    facts.append(("load with", f'{{ dtype: "{dtype}" }}'))
    table = Table(f"{packed.manifest.name} for transformers.js", ("", ""), facts)
    return _report(packed.manifest, bundle, result, (table,))


def _require_no_options(download: str | None, min_ram: str | None) -> None:
    given = {"--download": download, "--min-ram": min_ram}
    UsageError.raise_all(
        [
            Diagnostic("pack.hub", "the hub has no such setting", option, f"leave {option} out")
            for option, value in given.items()
            if value is not None
        ]
    )


def _for_hub(bundle: Path, output: Path, progress: Progress, *, force: bool) -> Report:
    from exporter.pipeline.deliver_hub import pack_for_hub

    packed = pack_for_hub(bundle, output, progress, force=force)
    models = [artifact.path for artifact in packed.manifest.artifacts]
    result = {"path": str(packed.path), "target": HUB, "files": packed.files, "models": models}
    facts = [("folder", str(packed.path)), ("models", ", ".join(models)), ("files", str(packed.files))]
    table = Table(f"{packed.manifest.name} for the hub", ("", ""), [*facts, ("upload", packed.upload)])
    return _report(packed.manifest, bundle, result, (table,))
