"""Imports a user's own `.onnx` file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from exporter.checkpoint import Checkpoint
from exporter.checkpoint.checkpoint import Source
from exporter.checkpoint.tensors import TensorStore
from exporter.errors import InputError, UnsupportedError
from exporter.graph.model import GRAPH_OPSET, GraphSpec, Hub, Task
from exporter.graph.passes.dequantize_weights import dequantize_weights
from exporter.graph.passes.expose_bodies import expose_bodies
from exporter.graph.passes.expose_matrices import expose_matrices
from exporter.graph.passes.infer import infer
from exporter.graph.passes.rewrite import all_graphs
from exporter.graph.passes.simplify import simplify
from exporter.graph.passes.take_branches import take_branches
from exporter.graph.passes.upgrade_opset import upgrade_opset
from exporter.importers.graph_file import check_graph, external_files, load_graph, read_graph
from exporter.importers.graph_inputs import Sizes, describe_inputs

FAMILY = "onnx"
TASK: Task = "other"  # the Hugging Face hub's name for any other task
_INFERRED_BELOW = 18  # upgrading older opsets is simpler where ranks and types are known


@dataclass(frozen=True)
class GraphFacts:
    """Facts that aren't in the graph. sources: input → `(component, output)`. vocabulary: ids are below this.

    keep_integers: weights that are stored as integers stay so, instead of becoming floats that can be compressed.
    """

    family: str
    task: Task
    component: str = "model"
    context: int | None = None
    labels: tuple[str, ...] = ()
    vocabulary: int | None = None
    sources: Mapping[str, tuple[str, str]] | None = None
    keep_integers: bool = False


def is_onnx_file(reference: str) -> bool:
    """Whether `reference` is the name of an `.onnx` file instead of a checkpoint's."""
    return reference.lower().endswith(".onnx") and not Path(reference).is_dir()


def open_onnx(reference: str) -> Checkpoint:
    """The file as a checkpoint without configuration and tokenizer and with an unknown licence.

    Raises InputError if it isn't readable ONNX or names data outside of its folder.
    """
    path = Path(reference)
    model = load_graph(path)
    files = {path.name: path, **external_files(model, path)}
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in path.stem).strip("-._")[:64]
    return Checkpoint(path, name or "model", {}, {}, TensorStore([]), {}, None, None, Source(files=files))


def import_onnx(
    path: Path, given: Mapping[str, tuple[int, ...]], *, keep_integers: bool = False
) -> tuple[Hub, tuple[str, ...]]:
    """Returns the graph, and the inputs whose sizes were guessed (`DescribedInputs.assumed`).

    given: input → shape. keep_integers: see `GraphFacts`. Raises the errors of `read_graph` and `describe_inputs`.
    """
    facts = GraphFacts(FAMILY, TASK, keep_integers=keep_integers)
    return graph_hub(read_graph(path), facts, Sizes(given=given, guess=True))


def graph_hub(model: ir.Model, facts: GraphFacts, sizes: Sizes) -> tuple[Hub, tuple[str, ...]]:
    """Changes `model` in place: upgrades its opset and exposes its matrices to compression. Returns it as a `Hub`, and
    the inputs whose sizes were guessed."""
    where = facts.component if facts.component != "model" else model.graph.name or "model"
    described = describe_inputs(model.graph, sizes, facts.sources or {}, facts.vocabulary)
    _prepare(model, where)
    if not facts.keep_integers:
        dequantize_weights(model)
        RemoveUnusedNodesPass()(model)
    weights = expose_matrices(model)
    _state_output_shapes(model, {port.name: port.shape for port in described.inputs})
    check_graph(model, where)
    spec = GraphSpec(
        task=facts.task,
        inputs=described.inputs,
        outputs=tuple(str(value.name) for value in model.graph.outputs),
        component=facts.component,
        context=facts.context,
        labels=facts.labels,
    )
    return Hub(model, facts.family, spec, weights, frozenset(stored_tensors(model.graph))), described.assumed


def stored_tensors(graph: ir.Graph) -> list[str]:
    """Names of the initializers that hold trained weights: all but single numbers and integers that give shapes."""
    shaping = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL, ir.DataType.STRING)
    return [
        name
        for name, value in graph.initializers.items()
        if value.const_value is not None and value.const_value.size > 1 and value.const_value.dtype not in shaping
    ]


def _prepare(model: ir.Model, where: str) -> None:
    """Takes known branches, brings weights out of the others, and upgrades the opset to what palettes need."""
    if "" not in model.graph.opset_imports:
        raise InputError.of("onnx.opset", "the model has no ops of ONNX's default domain", where=where)
    take_branches(model)
    expose_bodies(model)
    if model.graph.opset_imports[""] < _INFERRED_BELOW:
        opsets, version = dict(model.graph.opset_imports), model.ir_version or 8
        for graph in all_graphs(model.graph):
            for node in graph:
                infer(node, opsets, version)
    upgrade_opset(model, GRAPH_OPSET)


def _state_output_shapes(model: ir.Model, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Gives outputs without a shape their rank, and their sizes where all inputs have fixed ones."""
    lacking = [value for value in model.graph.outputs if value.shape is None]
    if not lacking:
        return
    try:
        fixed = {value.name: value.shape for value in simplify(model, shapes).graph.outputs}
    except (InputError, UnsupportedError):  # reported later, with a hint; the standard allows outputs without a shape
        return
    closed = all(value.shape is not None and value.shape.is_static() for value in model.graph.inputs)
    for value in lacking:
        shape = fixed[value.name]
        if shape is not None:
            value.shape = ir.Shape([size if closed and isinstance(size, int) else None for size in shape])
