"""`kogata pack --for transformers.js`: the layout of models on the hub, from a finished bundle."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from exporter.bundle import Manifest, Staging, transformers_js
from exporter.bundle.canonical import render_sums
from exporter.bundle.transformers_js import Dtype
from exporter.bundle.tree import scan, sha256_all
from exporter.bundle.writer import SUMS
from exporter.formats import FORMS, MOBILE
from exporter.pipeline.deliver import shippable
from exporter.progress import Progress


@dataclass(frozen=True)
class PackedForClient:
    """path: the folder that was written; files: number of the bundle's files; opens: the ONNX files, in that folder."""

    path: Path
    manifest: Manifest
    files: int
    opens: tuple[str, ...]


def pack_for_transformers_js(
    bundle: Path, destination: Path, dtype: Dtype, progress: Progress, *, force: bool = False
) -> PackedForClient:
    """Write the layout of transformers.js to `destination`, which is whole or absent. Files keep their bytes.

    dtype: the name under which transformers.js finds the model. Raises as `pack_bundle` does.
    """
    manifest = shippable(bundle, "onnx", progress)
    held = {artifact.form for artifact in manifest.artifacts}
    form = next(form for form in (MOBILE, *FORMS) if form in held and form.format == "onnx")
    models = tuple(a for a in manifest.artifacts if a.form == form)
    moved = transformers_js.places(scan(bundle).files, models, dtype)
    with Staging(destination, force=force, sources=(bundle,), root=transformers_js.ROOT) as staging:
        progress.stage("copy", len(moved))
        for file, place in moved.items():
            target = staging.path / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle / file, target)
            progress.advance(file)
        (staging.path / SUMS).write_bytes(render_sums(sha256_all(staging.path)))
        path = staging.commit()
    return PackedForClient(path, manifest, len(moved), tuple(sorted(moved[a.path] for a in models)))
