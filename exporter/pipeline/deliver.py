"""`kogata pack`: the layout that a store or a client wants, from a finished bundle whose files keep their bytes."""

from __future__ import annotations

from pathlib import Path

from exporter.bundle import Manifest, verify_bundle
from exporter.bundle.tree import printable
from exporter.errors import Diagnostic, UnsupportedError, UsageError
from exporter.formats import Format
from exporter.pipeline.deliver_android import pack_for_android
from exporter.pipeline.deliver_xcode import pack_for_xcode
from exporter.pipeline.delivery import DOWNLOADS, FORMATS, Packed, PackOptions, Source
from exporter.pipeline.shippable import require_shippable
from exporter.progress import Progress
from exporter.targets import Target, load_target


def pack_bundle(bundle: Path, target_name: str, destination: Path, options: PackOptions, progress: Progress) -> Packed:
    """Write the layout for `target_name` to `destination`, which is whole or absent.

    Raises GateError for a bundle with changed files, a failed verdict, or more bytes than the channel takes,
    UnsupportedError for a bundle without the target's format, and UsageError for an option of another platform.
    """
    target = load_target(target_name)
    _require_options(target, options)
    source = Source(bundle, shippable(bundle, FORMATS[target.platform], progress), target, options)
    write = pack_for_xcode if target.platform == "ios" else pack_for_android
    return write(source, destination, progress)


def _require_options(target: Target, options: PackOptions) -> None:
    problems = []
    allowed = DOWNLOADS[target.platform]
    if options.download is not None and options.download not in allowed:
        message = f"{target.title} doesn't know --download {options.download}"
        problems.append(Diagnostic("pack.download", message, "--download", f"choose {', '.join(allowed)}"))
    if options.min_ram is not None and target.platform != "android":
        message = f"{target.title} has no device groups"
        problems.append(Diagnostic("pack.min_ram", message, "--min-ram", "leave --min-ram out"))
    elif options.min_ram is not None and not 10**8 <= options.min_ram <= 10**12:
        message = f"no phone's memory is near {options.min_ram:,} bytes"
        problems.append(Diagnostic("pack.min_ram", message, "--min-ram", "state a size such as 6.8GB"))
    UsageError.raise_all(problems)


def shippable(bundle: Path, needed: Format, progress: Progress) -> Manifest:
    """The manifest of an intact bundle that passed its gates and has the needed format."""
    manifest = require_shippable(verify_bundle(bundle, progress))
    if not any(artifact.kind == needed for artifact in manifest.artifacts):
        name = {"coreml": "Core ML package", "onnx": "ONNX file"}[needed]
        raise UnsupportedError.of(
            "pack.format",
            f"the bundle has no {name}, which this target needs",
            where=printable(str(bundle)),
            hint=f"export with --to {needed}",
        )
    return manifest
