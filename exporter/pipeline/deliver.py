"""`kogata pack`: the layout that a store or a client wants, from a finished bundle whose files keep their bytes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from exporter.bundle import Manifest, Staging, verify_bundle
from exporter.bundle.tree import printable, scan
from exporter.bundle.xcode import ROOT, Download, module_name, package_texts, shipped
from exporter.errors import Diagnostic, GateError, UnsupportedError
from exporter.progress import Progress
from exporter.targets import Target, load_target


@dataclass(frozen=True)
class Size:
    """what: what is measured; bytes: its size before compression; limit: the channel's in bytes, None without one."""

    what: str
    bytes: int
    limit: int | float | None

    @property
    def fits(self) -> bool:
        """Whether the size is within the limit. Compression only makes it smaller."""
        return self.limit is None or self.bytes <= self.limit


@dataclass(frozen=True)
class Packed:
    """path: the folder that was written; module: the Swift module's name; files: number of the bundle's files."""

    path: Path
    target: Target
    module: str
    manifest: Manifest
    files: int
    sizes: tuple[Size, ...]
    findings: tuple[Diagnostic, ...]


def pack_bundle(
    bundle: Path, target_name: str, destination: Path, download: Download, progress: Progress, *, force: bool = False
) -> Packed:
    """Write the layout for `target_name` to `destination`, which is whole or absent.

    Raises GateError for a bundle with changed files, a failed verdict, or more bytes than the channel takes, and
    UnsupportedError for a target without a layout or a bundle without the target's format.
    """
    target = load_target(target_name)
    manifest = _checked(bundle, target, progress)
    held = scan(bundle).files
    files = shipped(held, manifest.artifacts)
    sizes = _sizes(manifest, target, sum(held[file] for file in files))
    findings = _too_large(sizes)
    GateError.raise_all([finding for finding in findings if finding.level == "error"])
    with Staging(destination, force=force, sources=(bundle,), root=ROOT) as staging:
        progress.stage("copy", len(files))
        for file in files:
            place = staging.path / ROOT / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle / file, place)
            progress.advance(file)
        oldest = next(a.min_os or target.min_os for a in manifest.artifacts if a.kind == "coreml")
        for name, text in package_texts(manifest, oldest, download).items():
            (staging.path / name).write_text(text, encoding="utf-8")
        path = staging.commit()
    return Packed(path, target, module_name(manifest.name), manifest, len(files), sizes, findings)


def _checked(bundle: Path, target: Target, progress: Progress) -> Manifest:
    """The manifest of a bundle that may be shipped to `target`."""
    if target.platform != "ios":
        raise UnsupportedError.of(
            "pack.layout",
            f"there is no layout for {target.title} yet",
            where=target.name,
            hint="ship the bundle's onnx/ folder as assets; docs/bundle.md says which files an app needs",
        )
    found = verify_bundle(bundle, progress)
    found.require_ok()
    if found.manifest is None:
        raise RuntimeError("a bundle without findings has a manifest")
    if found.manifest.verdict == "failed":
        raise GateError.of(
            "bundle.failed",
            "this bundle failed a gate when it was exported",
            where=printable(str(bundle)),
            hint="don't ship it; `kogata verify` shows which gate",
        )
    if not any(artifact.kind == "coreml" for artifact in found.manifest.artifacts):
        raise UnsupportedError.of(
            "pack.format",
            "the bundle has no Core ML package, which this target needs",
            where=printable(str(bundle)),
            hint="export with --to coreml",
        )
    return found.manifest


def _sizes(manifest: Manifest, target: Target, total: int) -> tuple[Size, ...]:
    limits = target.limits
    package = limits.mlpackage.value if limits.mlpackage else None
    sizes = [Size(a.path, a.bytes, package) for a in manifest.artifacts if a.kind == "coreml"]
    return (
        *sizes,
        Size("all files, inside the app", total, limits.app.value if limits.app else None),
        Size("all files, as an asset pack", total, limits.pack.value if limits.pack else None),
    )


def _too_large(sizes: tuple[Size, ...]) -> tuple[Diagnostic, ...]:
    """An error where no channel takes the files; else warnings."""
    *packages, app, pack = sizes
    findings = [
        Diagnostic("target.size", _over(size), size.what, "export with fewer --bits", "warning")
        for size in packages
        if not size.fits
    ]
    if not pack.fits:
        findings.append(Diagnostic("target.size", _over(pack), pack.what, "export with fewer --bits"))
    elif not app.fits:
        hint = "ship it as an asset pack: background-assets.json"
        findings.append(Diagnostic("target.size", _over(app), app.what, hint, "warning"))
    return tuple(findings)


def _over(size: Size) -> str:
    return f"{size.bytes:,} bytes; the limit is {size.limit:,}"
