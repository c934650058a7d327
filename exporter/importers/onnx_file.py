"""A user's own `.onnx` file as a hub."""

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
TASK: Task = "other"  # what the Hugging Face hub calls models of no task that it knows
_RANKLESS = 18  # older graphs are upgraded by rules that ask for the rank of a node's operands


@dataclass(frozen=True)
class GraphFacts:
    """What isn't in the graph itself. sources: input → `(component, output)`; vocabulary: of ids."""

    family: str
    task: Task
    component: str = "model"
    context: int | None = None
    labels: tuple[str, ...] = ()
    vocabulary: int | None = None
    sources: Mapping[str, tuple[str, str]] | None = None


def is_onnx_file(reference: str) -> bool:
    """Whether `reference` names a file of this kind rather than a checkpoint."""
    return reference.lower().endswith(".onnx") and not Path(reference).is_dir()


def open_onnx(reference: str) -> Checkpoint:
    """The file as a checkpoint that has neither configuration nor tokenizer; its licence is unknown.

    Raises InputError where it isn't readable ONNX or names data outside of its folder.
    """
    path = Path(reference)
    model = load_graph(path)
    files = {path.name: path, **external_files(model, path)}
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in path.stem).strip("-._")[:64]
    return Checkpoint(path, name or "model", {}, {}, TensorStore([]), {}, None, None, Source(files=files))


def import_onnx(path: Path, given: Mapping[str, tuple[int, ...]]) -> tuple[Hub, tuple[str, ...]]:
    """The hub, and the inputs whose sizes were guessed. Raises as `read_graph` and `describe_inputs` do."""
    facts = GraphFacts(FAMILY, TASK)
    return graph_hub(read_graph(path), facts, Sizes(given=given, guess=True))


def graph_hub(model: ir.Model, facts: GraphFacts, sizes: Sizes) -> tuple[Hub, tuple[str, ...]]:
    """`model`, changed in place: in the hub's opset, with its matrices laid out for compression."""
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
    """Initializers that hold what was trained: all but single numbers, and integers that shape other tensors."""
    shaping = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL, ir.DataType.STRING)
    return [
        name
        for name, value in graph.initializers.items()
        if value.const_value is not None and value.const_value.size > 1 and value.const_value.dtype not in shaping
    ]


def _upgrade(model: ir.Model, where: str) -> None:
    """To the opset that palettes are written in. Raises UnsupportedError where a graph inside of a node is too old."""
    version = model.graph.opset_imports.get("", OPSET)
    if version < _RANKLESS:
        nested = [node for node in ir.traversal.RecursiveGraphIterator(model.graph) if node.graph is not model.graph]
        if nested:
            raise UnsupportedError.of(
                "onnx.opset",
                f"the model is in opset {version} and has branches or loops, which are upgraded from {_RANKLESS} on",
                where=nested[0].name or nested[0].op_type,
                hint=f"export it again with opset {_RANKLESS} or newer",
            )
        for node in model.graph:
            infer(node, dict(model.graph.opset_imports), model.ir_version or 8)
    if "" not in model.graph.opset_imports:
        raise InputError.of("onnx.opset", "the model uses none of ONNX's own ops", where=where)
    upgrade_opset(model)
