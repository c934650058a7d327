"""SLSA provenance of a bundle: from which checkpoint, with which options and tools it was exported.

https://slsa.dev/spec/v1.0/provenance. All of it is taken from the bundle itself, and no clock is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from exporter.bundle.manifest import MANIFEST, Manifest
from exporter.bundle.signing.statement import PROVENANCE, statement

BUILD_TYPE = "urn:kogata:export:1"
BUILDER = "urn:kogata"
_RESULTS = (MANIFEST, "parity/report.json", "bom.cdx.json", "plan.json")


def provenance_statement(manifest: Manifest, hashes: Mapping[str, str]) -> dict[str, Any]:
    """The statement. hashes: path → SHA-256 of every file in the bundle, which are its subjects."""
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": _options(manifest),
        "internalParameters": {},
        "resolvedDependencies": [_checkpoint(manifest)],
    }
    details = {
        "builder": {"id": BUILDER, "version": dict(manifest.tools)},
        "metadata": {},
        "byproducts": [_descriptor(file, hashes[file]) for file in _RESULTS if file in hashes],
    }
    subject = [_descriptor(file, digest) for file, digest in sorted(hashes.items())]
    return statement(PROVENANCE, subject, {"buildDefinition": definition, "runDetails": details})


def _descriptor(name: str, digest: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest}}


def _options(manifest: Manifest) -> dict[str, Any]:
    """What was asked for, as far as the manifest has it."""
    compression = manifest.compression
    artifacts = [
        {
            "path": artifact.path,
            "format": artifact.kind,
            "form": artifact.form.name,
            "targets": sorted(artifact.target),
        }
        for artifact in manifest.artifacts
    ]
    return {
        "name": manifest.name,
        "task": manifest.task,
        "context": manifest.context,
        "bits": compression.bits,
        "groupSize": compression.group_size,
        "mixedBits": compression.mixed,
        "calibration": [fit.texts for fit in compression.calibration],
        "artifacts": artifacts,
    }


def _checkpoint(manifest: Manifest) -> dict[str, Any]:
    """The checkpoint. in-toto's `dirHash` is the SHA-256 of `sha256sum`'s listing, which the manifest has."""
    source = manifest.source
    found: dict[str, Any] = {
        "name": source.repo or f"checkpoint of {manifest.name}",
        "digest": {"dirHash": source.digest.removeprefix("sha256:")},
    }
    if source.repo:
        version = f"@{quote(source.revision)}" if source.revision else ""
        found["uri"] = f"pkg:huggingface/{quote(source.repo)}{version}"
    if source.license:
        found["annotations"] = {"license": source.license}
    return found
