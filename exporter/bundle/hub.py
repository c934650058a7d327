"""The names of variants in a repository of the Hugging Face hub, as Apple names its own Core ML models there.

Apple's `DepthAnythingV2SmallF16P6.mlpackage` computes in float16 with palettes of 6 bits; `F16` alone has none. Mixed
bits are `_mbp_` (mixed-bit palettization) and the mean number of bits per weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from exporter.bundle.facts import Artifact, CompressionFacts
from exporter.bundle.manifest import Manifest

LEFT_OUT = ("parity/device.json",)  # it names the bundle's own paths, and an app tests the bundle, not the repository


def variant(name: str, compression: CompressionFacts) -> str:
    """ "TinyF16P4", "TinyF16" without palettes, "Tiny_mbp_3_7" for mixed bits of 3.7 on average."""
    if compression.mixed is None and compression.bits is not None:
        return f"{name}F16P{compression.bits}"
    if any(tensor["bits"] is not None for tensor in compression.tensors):
        return f"{name}_mbp_{compression.bpw:.1f}".replace(".", "_")
    return f"{name}F16"


def hub_manifest(manifest: Manifest) -> Manifest:
    """The manifest of the repository: Core ML packages lie at its top under their variants' names."""
    moved = {artifact.path: _moved(artifact, manifest) for artifact in manifest.artifacts}
    return replace(
        manifest,
        artifacts=tuple(moved.values()),
        io={moved[path].path: interface for path, interface in manifest.io.items()},
        parity={moved[path].path: parity for path, parity in manifest.parity.items()},
    )


def places(files: Mapping[str, int], old: Manifest, new: Manifest) -> dict[str, str]:
    """File of the bundle → its path in the repository. files: all of the bundle's."""
    packages = {was.path: now.path for was, now in zip(old.artifacts, new.artifacts, strict=True)}
    found = {}
    for file in files:
        package = next((path for path in packages if file.startswith(f"{path}/")), None)
        found[file] = file if package is None else packages[package] + file.removeprefix(package)
    return {file: place for file, place in found.items() if file not in LEFT_OUT}


def _moved(artifact: Artifact, manifest: Manifest) -> Artifact:
    if artifact.kind != "coreml":
        return artifact
    component = "" if artifact.component == "model" else f"-{artifact.component}"
    path = f"{variant(manifest.name, manifest.compression)}{component}{PurePosixPath(artifact.path).suffix}"
    files = {path + file.removeprefix(artifact.path): size for file, size in artifact.files.items()}
    return replace(artifact, path=path, files=files)
