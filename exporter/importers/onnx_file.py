"""Imports a user's own `.onnx` file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from exporter.checkpoint import Checkpoint
from exporter.checkpoint.checkpoint import Source
from exporter.checkpoint.tensors import TensorStore
from exporter.errors import InputError, UnsupportedError
from exporter.graph.model import OPSET, GraphSpec, Hub, Task
from exporter.graph.passes.expose_matrices import expose_matrices
from exporter.graph.passes.infer import infer
from exporter.graph.passes.upgrade_opset import upgrade_opset
from exporter.importers.graph_file import check_graph, external_files, load_graph, read_graph
from exporter.importers.graph_inputs import Sizes, describe_inputs

FAMILY = "onnx"
TASK: Task = "other"  # the Hugging Face hub's name for any other task
_OLDEST_WITH_SUBGRAPHS = 18  # upgrading older opsets needs ranks, which are unknown in subgraphs


@dataclass(frozen=True)
class GraphFacts:
    """Facts that aren't in the graph. sources: input → `(component, output)`. vocabulary: ids are below this."""

    family: str
    task: Task
    component: str = "model"
    context: int | None = None
    labels: tuple[str, ...] = ()
    vocabulary: int | None = None
    sources: Mapping[str, tuple[str, str]] | None = None


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


def import_onnx(path: Path, given: Mapping[str, tuple[int, ...]]) -> tuple[Hub, tuple[str, ...]]:
    """Returns the graph, and the inputs whose sizes were guessed (`DescribedInputs.assumed`).

    given: input → shape. Raises the errors of `read_graph` and `describe_inputs`.
    """
    facts = GraphFacts(FAMILY, TASK)
    return graph_hub(read_graph(path), facts, Sizes(given=given, guess=True))


def graph_hub(model: ir.Model, facts: GraphFacts, sizes: Sizes) -> tuple[Hub, tuple[str, ...]]:
    """Changes `model` in place: upgrades its opset and exposes its matrices to compression. Returns it as a `Hub`, and
    the inputs whose sizes were guessed."""
    where = facts.component if facts.component != "model" else model.graph.name or "model"
    described = describe_inputs(model.graph, sizes, facts.sources or {}, facts.vocabulary)
    _upgrade(model, where)
    weights = expose_matrices(model)
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


def _upgrade(model: ir.Model, where: str) -> None:
    """Upgrades to the opset that palettes need. Raises UnsupportedError if a subgraph's opset is too old."""
    version = model.graph.opset_imports.get("", OPSET)
    if version < _OLDEST_WITH_SUBGRAPHS:
        nested = [node for node in ir.traversal.RecursiveGraphIterator(model.graph) if node.graph is not model.graph]
        if nested:
            raise UnsupportedError.of(
                "onnx.opset",
                f"the model is in opset {version} and has branches or loops; "
                f"they need opset {_OLDEST_WITH_SUBGRAPHS} or newer",
                where=nested[0].name or nested[0].op_type,
                hint=f"export it again with opset {_OLDEST_WITH_SUBGRAPHS} or newer",
            )
        for node in model.graph:
            infer(node, dict(model.graph.opset_imports), model.ir_version or 8)
    if "" not in model.graph.opset_imports:
        raise InputError.of("onnx.opset", "the model has no ops of ONNX's default domain", where=where)
    upgrade_opset(model)
