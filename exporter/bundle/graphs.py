"""The inputs of graphs that weren't imported natively: written to the manifest and read back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from exporter.errors import InputError

if TYPE_CHECKING:
    from exporter.bundle.manifest import Manifest
    from exporter.graph.model import GraphInput, GraphSpec, InputKind

_MOST = 2**28  # elements of an input; the importers have the same limit


def graph_facts(specs: Sequence[GraphSpec]) -> dict[str, Any]:
    """The part of `model` that describes the components' inputs, and a classifier's labels."""
    facts: dict[str, Any] = {"inputs": {spec.component: [_input(port) for port in spec.inputs] for spec in specs}}
    labels = next((spec.labels for spec in specs if spec.labels), ())
    return facts | ({"labels": list(labels)} if labels else {})


def graph_specs(manifest: Manifest) -> tuple[GraphSpec, ...]:
    """The components' specs, in the order in which they are run; empty for a graph that was imported natively."""
    from exporter.graph.model import GraphSpec

    inputs: Mapping[str, Any] = manifest.model.get("inputs", {})
    specs = {}
    for artifact in manifest.artifacts:
        if artifact.component in inputs and (artifact.component not in specs or artifact.kind == "onnx"):
            specs[artifact.component] = GraphSpec(  # the ONNX file's names are the graph's own
                task=manifest.task,
                inputs=tuple(_port(port) for port in inputs[artifact.component]),
                outputs=tuple(port.name for port in manifest.io[artifact.path].outputs),
                component=artifact.component,
                context=manifest.context,
                labels=tuple(manifest.model.get("labels", ())),
            )
    return tuple(specs.values())


def _input(port: GraphInput) -> dict[str, Any]:
    known = {"vocabulary": port.vocabulary, "source": port.source}
    facts = {"name": port.name, "kind": port.kind, "dtype": port.dtype.name, "shape": list(port.shape)}
    return facts | {key: value for key, value in known.items() if value is not None}


def _port(data: Mapping[str, Any]) -> GraphInput:
    import onnx_ir as ir

    from exporter.graph.model import GraphInput

    dtype, shape = data["dtype"], tuple(int(size) for size in data["shape"])
    if math.prod(shape) > _MOST:
        raise InputError.of("bundle.manifest", f"an input of shape {list(shape)} is too large", where=data["name"][:80])
    source = data.get("source")
    return GraphInput(
        name=data["name"],
        dtype=ir.DataType[dtype] if dtype in ir.DataType.__members__ else ir.DataType.FLOAT,
        shape=shape,
        kind=cast("InputKind", data["kind"]),
        vocabulary=data.get("vocabulary"),
        source=None if source is None else (source[0], source[1]),
    )
