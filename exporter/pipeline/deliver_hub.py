"""`kogata pack --for hub`: a bundle as a repository of the Hugging Face hub, which `hf upload` takes as it is."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.bundle import Manifest, Staging, verify_bundle
from exporter.bundle.canonical import render_sums
from exporter.bundle.card import CARD, model_card
from exporter.bundle.hub import hub_manifest, places
from exporter.bundle.manifest import MANIFEST
from exporter.bundle.sbom import BOM, sbom
from exporter.bundle.tree import printable, scan, sha256, sha256_all
from exporter.bundle.writer import SUMS, card_features
from exporter.checkpoint.folder import Folder
from exporter.errors import GateError
from exporter.progress import Progress

HUB = "hub"
_WRITTEN = (MANIFEST, CARD, BOM, SUMS)  # anew, since they name paths


@dataclass(frozen=True)
class Repository:
    """path: the folder that was written. manifest: its own; files: number of the bundle's files in it."""

    path: Path
    manifest: Manifest
    files: int

    @property
    def upload(self) -> str:
        """The command that publishes it."""
        return f"hf upload OWNER/{self.manifest.name} {self.path}"


def pack_for_hub(bundle: Path, destination: Path, progress: Progress, *, force: bool = False) -> Repository:
    """Write the repository to `destination`, which is whole or absent, and which `kogata verify` accepts.

    Models, tokenizers and reports keep their bytes. Raises GateError for a bundle with changed files or a failed
    verdict.
    """
    found = verify_bundle(bundle, progress)
    found.require_ok()
    if found.manifest is None:
        raise RuntimeError("a bundle without findings has a manifest")
    if found.manifest.verdict == "failed":
        message = "this bundle failed a gate when it was exported"
        hint = "don't ship it; `kogata verify` shows which gate"
        raise GateError.of("bundle.failed", message, where=printable(str(bundle)), hint=hint)
    manifest = hub_manifest(found.manifest)
    files = {file: size for file, size in scan(bundle).files.items() if file not in (*_WRITTEN, *found.ignored)}
    moved = places(files, found.manifest, manifest)
    with Staging(destination, force=force, sources=(bundle,)) as staging:
        progress.stage("copy", len(moved))
        for file, place in moved.items():
            (staging.path / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle / file, staging.path / place)
            progress.advance(file)
        _write_texts(manifest, staging.path)
        return Repository(staging.commit(), manifest, len(moved))


def _write_texts(manifest: Manifest, folder: Path) -> None:
    """Manifest, card, bill of materials and hashes."""
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    beside = "tokenizer" if (folder / "tokenizer").is_dir() else "preprocessor"
    preprocessor: dict[str, Any] = dict(Folder.at(folder / beside).read_object("preprocessor_config.json") or {})
    (folder / CARD).write_bytes(model_card(manifest, card_features(folder), preprocessor, beside))
    hashes = sha256_all(folder)
    (folder / BOM).write_bytes(sbom(manifest, hashes))
    (folder / SUMS).write_bytes(render_sums({**hashes, BOM: sha256(folder / BOM)}))
