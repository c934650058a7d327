"""Compiles a graph's nodes to steps over numbered slots, once for all runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from exporter.errors import Diagnostic, UnsupportedError
from exporter.graph.model import Hub
from exporter.runners.torch_graph.attributes import Attributes, Op
from exporter.runners.torch_graph.matrices import Matrix
from exporter.runners.torch_graph.products import WeightUse
from exporter.runners.torch_graph.registry import op_of, unknown_op
from exporter.runners.torch_graph.stored import Stored, unreadable
from exporter.runners.torch_graph.uses import WeightNode, matrices, weight_nodes

Slots = list[Any]
"""A run's values, None where there is none; slot 0 stands for inputs that are left out."""

_LEAST_OPSET = 18  # since when axes are inputs everywhere; the importers bring every graph to 23
_KEPT = 1 << 20  # elements: stored tensors from this size on are read anew each time, like weights


@dataclass(frozen=True)
class Step:
    """One node. run: takes the matrix first where there is one; inputs, outputs: slots, of which 0 is "left out".

    use: how it uses the weight matrix; weight: the name of what it reads from the file.
    """

    run: Op
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weight: str | None = None
    use: WeightUse | None = None

    def execute(self, slots: Slots, matrix: Matrix | None) -> None:
        """Fills the output slots."""
        values = [slots[i] for i in self.inputs]
        result = self.run(*values) if matrix is None else self.run(matrix, *values)
        if isinstance(result, tuple):  # which may be longer: outputs at the end can be left out
            for slot, value in zip(self.outputs, result, strict=False):
                if slot:
                    slots[slot] = value
        else:
            slots[self.outputs[0]] = result


class Compiler:
    """Nodes into steps. Nodes that only turn a weight round for its users are left out.

    slots: value → its number. stored: weights, and what else is read while the graph runs, by name; constants: the
    slots and values of what is kept.
    """

    def __init__(self, source: Hub | ir.Model, device: torch.device, dtype: torch.dtype, products: torch.dtype) -> None:
        self.model = source.model if isinstance(source, Hub) else source
        self.graph = self.model.graph
        self.hub = source if isinstance(source, Hub) else None
        self.device, self.dtype, self.products = device, dtype, products
        self.steps: list[Step] = []
        self.slots: dict[ir.Value, int] = {}
        self.stored: dict[str, Stored] = {}
        self.constants: dict[str, tuple[int, Tensor]] = {}
        self._problems: list[Diagnostic] = []
        self._by_node: dict[ir.Node, WeightNode] = {}

    def compile(self) -> None:
        """Raises UnsupportedError with every node that can't be computed."""
        opset = self.graph.opset_imports.get("", _LEAST_OPSET)
        if opset < _LEAST_OPSET:
            message = f"calibration computes graphs of opset {_LEAST_OPSET} and newer; this graph has opset {opset}"
            raise UnsupportedError.of("calibration.opset", message)
        self._find_weights()
        needed = self._needed()
        for value in self.graph.inputs:
            self._slot(value)
        for node in self.graph:
            if node in needed:
                self._add(node)
        for value in self.graph.outputs:
            self._slot(value)
        UnsupportedError.raise_all(self._problems)

    def _find_weights(self) -> None:
        """The uses of the matrices. The value of a palettized matrix is the output of its lookup."""
        if self.hub is None:
            found = {str(value.name): value for value in matrices(self.graph)}
        else:
            made = {str(value.name): value for node in self.graph for value in node.outputs}
            everything = {**made, **self.graph.initializers}
            found = {weight.name: everything[weight.name] for weight in self.hub.weights}
        for name, value in found.items():
            nodes = weight_nodes(value, name, self.dtype, self.products)
            palette = None if self.hub is None else self.hub.palettes.get(name)
            tensor = palette if palette is not None else value.const_value
            if tensor is None or (nodes is None and palette is not None):
                continue
            self.stored[name] = Stored(tensor, self.device, self.dtype)
            self._by_node.update({used.node: used for used in nodes or ()})

    def _needed(self) -> set[ir.Node]:
        """The nodes that outputs depend on when weights are read where they are used."""
        todo = [value.producer() for value in self.graph.outputs]
        needed: set[ir.Node] = set()
        while todo:
            node = todo.pop()
            if node is None or node in needed:
                continue
            needed.add(node)
            todo += [value.producer() for value in self._inputs(node) if value is not None]
        return needed

    def _inputs(self, node: ir.Node) -> Sequence[ir.Value | None]:
        used = self._by_node.get(node)
        return node.inputs if used is None else used.inputs

    def _add(self, node: ir.Node) -> None:
        used = self._by_node.get(node)
        inputs = tuple(self._slot(value) for value in self._inputs(node))
        outputs = tuple(self._slot(value) for value in node.outputs)
        if used is not None:
            self.steps.append(Step(used.run, inputs, outputs, used.use.weight, used.use))
            return
        try:
            op = op_of(Attributes(node, self.dtype, self.products), self.device)
        except KeyError:
            self._problems.append(unknown_op(node))
        except NotImplementedError as error:
            self._problems.append(unknown_op(node, str(error)))
        else:
            self.steps.append(Step(op, inputs, outputs))

    def _slot(self, value: ir.Value | None) -> int:
        """The slot of a value; a stored one gets its constant, or the step that reads it, when it is first needed."""
        if value is None or not value.name:
            return 0
        if value in self.slots:
            return self.slots[value]
        slot = self.slots[value] = len(self.slots) + 1
        tensor = value.const_value if value.is_initializer() else None
        if tensor is None:
            return slot
        name = str(value.name)
        problem = unreadable(tensor, name)
        if problem is not None:
            self._problems.append(problem)
            return slot
        stored = self.stored.setdefault(name, Stored(tensor, self.device, self.dtype))
        opened = self.hub is not None and any(weight.name == name for weight in self.hub.weights)
        if opened or tensor.size >= _KEPT:
            self.steps.append(Step(Matrix.read, (), (slot,), name))
        else:
            self.constants[name] = (slot, stored.read())
        return slot
