"""Builds graphs: a thin layer over onnx_ir that names values, casts weights and shares constants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.graph.model import IR_VERSION, OPSET, DecoderSpec, EncoderSpec, Hub, Weight, WeightRole

Attribute = int | float | str | Sequence[int]
Dim = int | str


class GraphBuilder:
    """Collects nodes in execution order and makes an `ir.Model` of them.

    Values are named `scope/name`, and scopes nest (`layers.0/attention/q`). Parity reports use these names to show
    where a computation first diverges, and the Core ML lowering keeps them.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._scopes: list[str] = []
        self._taken: dict[str, int] = {}
        self._nodes: list[ir.Node] = []
        self._inputs: list[ir.Value] = []
        self._outputs: list[ir.Value] = []
        self._initializers: dict[str, ir.Value] = {}
        self._as_float: dict[str, ir.Value] = {}
        self._weights: dict[str, Weight] = {}
        self._stored: set[str] = set()

    @classmethod
    def behind(cls, graph: ir.Graph) -> GraphBuilder:
        """A builder whose nodes read values of `graph`, see `extend`. It uses no name that the graph has."""
        builder = cls(graph.name or "")
        values = [*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)]
        builder._taken = dict.fromkeys((str(value.name) for value in values), 1)
        return builder

    def extend(self, hub: Hub) -> Hub:
        """Adds everything that was built to the graph of `hub`, in place, and returns it with the new weights."""
        graph = hub.model.graph
        for value in self._initializers.values():
            graph.register_initializer(value)
        graph.extend(self._nodes)
        graph.outputs.extend(self._outputs)
        weights = (*hub.weights, *self._weights.values())
        return replace(hub, weights=weights, stored=hub.stored | self._stored)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Adds `name` to the names of all values that are created inside the `with` block."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[Dim]) -> ir.Value:
        """Adds a graph input. Strings in `shape` are symbolic dimensions."""
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        self._inputs.append(value)
        return value

    def output(self, value: ir.Value, name: str, dtype: ir.DataType, shape: Sequence[Dim]) -> None:
        """Makes `value` a graph output under `name`."""
        value.name = name
        value.type = ir.TensorType(dtype)
        value.shape = ir.Shape(shape)
        self._outputs.append(value)

    def op(self, kind: str, *inputs: ir.Value | None, name: str = "", **attributes: Attribute) -> ir.Value:
        """Adds a node with one output and returns that output."""
        return self.ops(kind, *inputs, outputs=(name or kind,), **attributes)[0]

    def ops(
        self, kind: str, *inputs: ir.Value | None, outputs: Sequence[str], **attributes: Attribute
    ) -> Sequence[ir.Value]:
        """Adds a node with `len(outputs)` outputs, named as given inside the current scope."""
        node = ir.node(kind, inputs, attributes=attributes, num_outputs=len(outputs))
        for value, name in zip(node.outputs, outputs, strict=True):
            value.name = self._unique("/".join([*self._scopes, name]))
        node.name = node.outputs[0].name
        self._nodes.append(node)
        return node.outputs

    def const(self, array: NDArray[np.generic], name: str) -> ir.Value:
        """A small constant that doesn't come from the checkpoint. Constants with the same name are shared."""
        if name not in self._initializers:
            self._initializers[name] = _initializer(self._unique(name), ir.tensor(array, name=name))
        return self._initializers[name]

    def weight(self, tensor: ir.TensorProtocol, name: str) -> ir.Value:
        """A checkpoint tensor as float32: stored in its own dtype and cast in the graph (runtimes fold the cast)."""
        if name not in self._initializers:
            self._initializers[name] = _initializer(self._unique(name), tensor)
            self._stored.add(name)
        stored = self._initializers[name]
        if tensor.dtype == ir.DataType.FLOAT:
            return stored
        if name not in self._as_float:
            node = ir.node("Cast", [stored], attributes={"to": int(ir.DataType.FLOAT)})
            node.name = node.outputs[0].name = self._unique(f"{name}/float")
            self._nodes.append(node)
            self._as_float[name] = node.outputs[0]
        return self._as_float[name]

    def embedding(self, tensor: ir.TensorProtocol, ids: ir.Value, name: str, label: str = "embedding") -> ir.Value:
        """Rows of `tensor` `[vocab, hidden]` at `ids`, named `label`. The tensor can be compressed."""
        self._open(tensor, name, "embedding")
        return self.op("Gather", self.weight(tensor, name), ids, axis=0, name=label)

    def linear(
        self, x: ir.Value, tensor: ir.TensorProtocol, name: str, bias: ir.Value | None = None, label: str = ""
    ) -> ir.Value:
        """`x · tensorᵀ (+ bias)` with `tensor` `[out, in]`, which can be compressed.

        The result is named `label`; without a label, it is named after the module in `name` (`q_proj`).
        """
        self._open(tensor, name, "linear")
        label = label or (name.rsplit(".", 2)[-2] if name.count(".") else name)
        if f"{name}/transposed" not in self._as_float:
            node = ir.node("Transpose", [self.weight(tensor, name)], attributes={"perm": [1, 0]})
            node.name = node.outputs[0].name = self._unique(f"{name}/transposed")
            self._nodes.append(node)
            self._as_float[f"{name}/transposed"] = node.outputs[0]
        transposed = self._as_float[f"{name}/transposed"]
        if bias is None:
            return self.op("MatMul", x, transposed, name=label)
        return self.op("Add", self.op("MatMul", x, transposed, name=f"{label}/product"), bias, name=label)

    def build(self, family: str, spec: DecoderSpec | EncoderSpec) -> Hub:
        """The finished graph, with its weights in the order of their first use."""
        graph = ir.Graph(
            self._inputs,
            self._outputs,
            nodes=self._nodes,
            initializers=list(self._initializers.values()),
            opset_imports={"": OPSET},
            name=self._name,
        )
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="kogata")
        return Hub(model, family, spec, tuple(self._weights.values()), frozenset(self._stored))

    def _open(self, tensor: ir.TensorProtocol, name: str, role: WeightRole) -> None:
        seen = self._weights.get(name)
        roles = (*seen.roles, role) if seen and role not in seen.roles else (role,)
        rows, columns = tensor.shape.numpy()
        self._weights[name] = Weight(name, (rows, columns), roles)

    def _unique(self, name: str) -> str:
        count = self._taken.get(name, 0)
        self._taken[name] = count + 1
        return name if count == 0 else f"{name}.{count}"


def _initializer(name: str, tensor: ir.TensorProtocol) -> ir.Value:
    return ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy()), const_value=tensor
    )
