"""`kogata pack --for iphone`: a Swift package for Xcode, and an asset pack for the App Store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

from exporter.bundle import Manifest, Staging
from exporter.bundle.tree import scan
from exporter.bundle.xcode import ROOT, Download, module_name, package_texts, shipped
from exporter.errors import Diagnostic, GateError
from exporter.pipeline.delivery import Packed, Size, Source
from exporter.progress import Progress
from exporter.targets import Target


def pack_for_xcode(source: Source, destination: Path, progress: Progress) -> Packed:
    """Write the layout of `exporter.bundle.xcode` to `destination`. GateError where no channel takes the files."""
    bundle, manifest, target = source.bundle, source.manifest, source.target
    held = scan(bundle).files
    files = shipped(held, manifest.artifacts)
    sizes = _sizes(manifest, target, sum(held[file] for file in files))
    findings = _too_large(sizes)
    GateError.raise_all([finding for finding in findings if finding.level == "error"])
    with Staging(destination, force=source.options.force, sources=(bundle,), root=ROOT) as staging:
        progress.stage("copy", len(files))
        for file in files:
            place = staging.path / ROOT / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle / file, place)
            progress.advance(file)
        oldest = next(a.min_os or target.min_os for a in manifest.artifacts if a.kind == "coreml")
        download = cast(Download, source.options.download or "on-demand")
        for name, text in package_texts(manifest, oldest, download).items():
            (staging.path / name).write_text(text, encoding="utf-8")
        path = staging.commit()
    module = module_name(manifest.name)
    return Packed(path, target, manifest, len(files), sizes, findings, (("Swift module", module),), {"module": module})


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
    findings = [size.finding("export with fewer --bits", "warning") for size in packages if not size.fits]
    if not pack.fits:
        findings.append(pack.finding("export with fewer --bits"))
    elif not app.fits:
        findings.append(app.finding("ship it as an asset pack: background-assets.json", "warning"))
    return tuple(findings)
