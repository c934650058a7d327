"""Intermediate values of an ONNX graph: the graph's own values become additional outputs of a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from exporter.runners.ort import OnnxSession, OnnxSource

Array = NDArray[Any]


def capture_onnx(
    source: OnnxSource, feeds: Callable[[OnnxSession], Mapping[str, Array]], threads: int
) -> dict[str, Array]:
    """Value name → array, in graph order, for every value that depends on the graph's inputs.

    Values that depend on weights alone are left out: they are large, and weights are compared by themselves.
    feeds: makes the inputs for the session, which has those of the original graph.
    """
    model = (source.model or ir.load(str(source.path))).clone()
    graph = model.graph
    names = exposed_values(graph)
    present = {value.name for value in graph.outputs}
    by_name = {value.name: value for node in graph for value in node.outputs}
    graph.outputs.extend(by_name[name] for name in names if name not in present)
    session = OnnxSession(OnnxSource(model=model), threads)
    return session.run(feeds(session), names)


def exposed_values(graph: ir.Graph) -> list[str]:
    """Names of the values that depend on the graph's inputs, in graph order."""
    dynamic = set(graph.inputs)
    names: list[str] = []
    for node in graph:
        # Shape makes a constant of its input for our purposes: sizes are compared by the values that they shape.
        if node.op_type != "Shape" and any(value in dynamic for value in node.inputs):
            dynamic.update(node.outputs)
            names += [value.name for value in node.outputs if value.name and (value.uses() or value.is_graph_output())]
    return names
