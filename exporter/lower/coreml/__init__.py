"""Lowers a graph to a MIL program and writes it as an `.mlpackage`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import Diagnostic
from exporter.graph.model import EncoderSpec, GraphSpec, Hub

__all__ = ["CoreMLArtifact", "CoreMLOptions", "lower_coreml", "supported_ops", "unsupported_nodes"]


@dataclass(frozen=True)
class CoreMLOptions:
    """context: number of tokens in the KV cache, or longest sequence of an encoder; None: the model's context.

    metadata: user-defined entries of the package. license: SPDX id or name, as the checkpoint states it.
    """

    context: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    license: str | None = None


@dataclass(frozen=True)
class CoreMLArtifact:
    """The written package. files: paths relative to the package's parent folder, sorted."""

    path: Path
    files: tuple[str, ...]
    stored_bytes: int


def unsupported_nodes(hub: Hub) -> tuple[Diagnostic, ...]:
    """Everything in a graph that can't be lowered to Core ML, one diagnostic for each node. Nothing is lowered.

    Empty for natively imported graphs. Raises InputError if the spec's shapes contradict the graph.
    """
    if not isinstance(hub.spec, GraphSpec):
        return ()
    from exporter.lower.coreml.package import quiet_coremltools

    with quiet_coremltools():
        from exporter.lower.coreml import graph_program

        return tuple(graph_program.unsupported_nodes(hub, hub.spec))


def supported_ops() -> tuple[str, ...]:
    """The ONNX ops (opset 23) that can be lowered to Core ML, sorted."""
    from exporter.lower.coreml.package import quiet_coremltools

    with quiet_coremltools():
        from exporter.lower.coreml import registry

        return registry.supported_ops()


def lower_coreml(hub: Hub, path: Path, options: CoreMLOptions) -> CoreMLArtifact:
    """Writes the graph as an ML Program for iOS 18 to `path` (….mlpackage), which must not exist.

    Raises UnsupportedError with all ops that can't be lowered, or for a weight beyond float16's range.
    """
    from exporter.lower.coreml.package import quiet_coremltools

    with quiet_coremltools():
        from exporter.lower.coreml import program
    from exporter.lower.coreml.package import write_package

    spec = hub.spec
    with quiet_coremltools():
        if isinstance(spec, GraphSpec):
            from exporter.lower.coreml.graph_program import graph_program

            built = graph_program(hub, spec)
        elif isinstance(spec, EncoderSpec):
            from exporter.lower.coreml.encoder_program import encoder_program

            built = encoder_program(hub, spec, options.context or spec.context)
        else:
            built = program.decoder_program(hub, spec, options.context or spec.context)
    write_package(built, path, options.metadata, options.license)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return CoreMLArtifact(
        path, tuple(str(f.relative_to(path.parent)) for f in files), sum(f.stat().st_size for f in files)
    )
