"""Hub to an `.mlpackage`, written as a MIL program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.graph.hub import EncoderSpec, Hub

__all__ = ["CoreMLArtifact", "CoreMLOptions", "lower_coreml"]


@dataclass(frozen=True)
class CoreMLOptions:
    """context: tokens that the KV cache holds, or longest sequence of an encoder; None for the model's own.

    metadata: user-defined entries of the model; license: SPDX id or name, as the checkpoint states it.
    """

    context: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    license: str | None = None


@dataclass(frozen=True)
class CoreMLArtifact:
    """What was written. `files` are relative to the package's parent folder, sorted."""

    path: Path
    files: tuple[str, ...]
    stored_bytes: int


def lower_coreml(hub: Hub, path: Path, options: CoreMLOptions) -> CoreMLArtifact:
    """Writes the hub as an ML Program for iOS 18 to `path` (….mlpackage), which must not exist.

    Raises UnsupportedError with all ops that have no lowering, or a weight that float16 can't hold.
    """
    from exporter.lower.coreml.package import quiet_coremltools

    with quiet_coremltools():
        from exporter.lower.coreml import program
    from exporter.lower.coreml.package import write_package

    context = options.context or hub.spec.context
    with quiet_coremltools():
        if isinstance(hub.spec, EncoderSpec):
            built = program.encoder_program(hub, hub.spec, context)
        else:
            built = program.decoder_program(hub, hub.spec, context)
    write_package(built, path, options.metadata, options.license)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return CoreMLArtifact(
        path, tuple(str(f.relative_to(path.parent)) for f in files), sum(f.stat().st_size for f in files)
    )
