"""`kogata pack --for android`: AI packs for Google Play, which are also plain assets, and Kotlin that opens them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from exporter.bundle import Staging
from exporter.bundle.android import (
    INSTALL_TIME_BYTES,
    ROOT,
    Delivery,
    DeviceGroup,
    Layout,
    chosen,
    kotlin_name,
    measure,
    place,
    project_texts,
    shipped,
    unusable,
    write_piece,
)
from exporter.bundle.canonical import parse_sums
from exporter.bundle.manifest import MANIFEST
from exporter.bundle.tree import printable, scan, sha256
from exporter.bundle.writer import SUMS
from exporter.errors import Diagnostic, GateError, UnsupportedError
from exporter.pipeline.delivery import Packed, Size, Source
from exporter.progress import Progress
from exporter.targets import Target


def pack_for_android(source: Source, destination: Path, progress: Progress) -> Packed:
    """Write the layout of `exporter.bundle.android` to `destination`.

    Raises GateError for more bytes than Google Play takes, and UnsupportedError for names that Android's build drops.
    """
    held = scan(source.bundle).files
    layout = _layout(source, held, progress)
    sizes = _sizes(layout, source.target)
    GateError.raise_all([size.finding("export with fewer --bits") for size in sizes if not size.fits])
    pieces = [
        (layout.folder(name), piece)
        for name, pack in zip(layout.names, layout.packs, strict=True)
        for piece in pack.pieces
    ]
    with Staging(destination, force=source.options.force, sources=(source.bundle,), root=ROOT) as staging:
        progress.stage("copy", len(pieces))
        for folder, piece in pieces:
            write_piece(source.bundle, piece, staging.path / folder / piece.name)
            progress.advance(piece.name)
        for name, text in project_texts(layout).items():
            text_file = staging.path / name
            text_file.parent.mkdir(parents=True, exist_ok=True)
            text_file.write_text(text, encoding="utf-8")
        (staging.path / ROOT).mkdir()
        shutil.copyfile(source.bundle / MANIFEST, staging.path / ROOT / MANIFEST)
        path = staging.commit()
    files = len({piece.path for _, piece in pieces})
    return Packed(path, source.target, source.manifest, files, sizes, (), _facts(layout), _details(layout))


def _layout(source: Source, held: Mapping[str, int], progress: Progress) -> Layout:
    manifest, options = source.manifest, source.options
    artifacts = chosen(manifest.artifacts)
    files = shipped(parse_sums((source.bundle / SUMS).read_bytes()).hashes, artifacts)
    UnsupportedError.raise_all(
        [
            Diagnostic("pack.name", "Android's build would drop or rename this file", printable(path), "rename it")
            for path in unusable(files)
        ]
    )
    limit = source.target.limits.pack
    compressed = measure(source.bundle, files, progress)
    packs = place(compressed, held, limit.value if limit else float("inf"))
    total = sum(pack.compressed for pack in packs)
    default: Delivery = "install-time" if total <= INSTALL_TIME_BYTES else "fast-follow"
    return Layout(
        manifest=manifest,
        artifacts=artifacts,
        packs=packs,
        delivery=cast(Delivery, options.download or default),
        group=_group(source.target, options.min_ram),
        sums=sha256(source.bundle / SUMS),
    )


def _group(target: Target, min_ram: int | None) -> DeviceGroup | None:
    chips = target.hardware.android_soc
    if chips is None and min_ram is None:
        return None
    names = [chip.strip().split(" ", 1) for chip in chips.value.split(",")] if chips else []
    socs = tuple((maker, model) for maker, model in names)
    return DeviceGroup(target.name.replace("-", "_") if socs else "enough_memory", min_ram, socs)


def _sizes(layout: Layout, target: Target) -> tuple[Size, ...]:
    pack = target.limits.pack.value if target.limits.pack else None
    app = target.limits.app.value if target.limits.app else None
    packs = zip(layout.names, layout.packs, strict=True)
    sizes = [Size(f"AI pack {name}", held.compressed, pack, True) for name, held in packs]
    return (*sizes, Size("the app's AI packs together", sum(size.bytes for size in sizes), app, True))


def _facts(layout: Layout) -> tuple[tuple[str, str], ...]:
    group = layout.group
    phones = "all" if group is None else f"the device group {group.name}"
    return (
        ("ONNX files", ", ".join(artifact.path for artifact in layout.artifacts)),
        ("AI packs", ", ".join(layout.names)),
        ("delivery", layout.delivery),
        ("phones", phones),
        ("Kotlin", kotlin_name(layout.manifest.name)),
    )


def _details(layout: Layout) -> dict[str, object]:
    group = layout.group
    return {
        "artifacts": [artifact.path for artifact in layout.artifacts],
        "delivery": layout.delivery,
        "packs": [
            {"name": name, "bytes": sum(piece.bytes for piece in pack.pieces), "compressed": pack.compressed}
            for name, pack in zip(layout.names, layout.packs, strict=True)
        ],
        "group": None if group is None else {"name": group.name, "min_ram": group.min_ram, "socs": group.socs},
        "value": kotlin_name(layout.manifest.name),
    }
