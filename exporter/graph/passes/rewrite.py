"""Helpers of the passes: add nodes and constants under unused names, replace one value by another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

MAX_SHARED_ELEMENTS = 16  # equal constants of at most this size become one initializer
Attribute = int | float | str | Sequence[int] | Sequence[float]


class Rewriter:
    """Changes one graph in place."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._taken = {named.name for named in _named(graph) if named.name is not None}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def inside(self, graph: ir.Graph) -> Rewriter:
        """The same for one of the graph's subgraphs: no two names are the same in any of them."""
        inner = Rewriter(graph)
        inner._taken = self._taken
        return inner

    def fresh(self, name: str) -> str:
        """`name` if it is unused, else `name.1`, `name.2`, …"""
        candidate, count = name, 0
        while candidate in self._taken:
            count += 1
            candidate = f"{name}.{count}"
        self._taken.add(candidate)
        return candidate

    def constant(self, array: NDArray[np.generic], name: str) -> ir.Value:
        """An initializer with these elements. Equal ones with at most 16 elements are shared."""
        if array.size > MAX_SHARED_ELEMENTS:
            return self.initializer(_tensor(array), self.fresh(name))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.initializer(_tensor(array), self.fresh(name))
        return self._constants[key]

    def settle(self, value: ir.Value, result: ir.TensorProtocol | NDArray[np.generic]) -> None:
        """Turns `value`, the output of a node, into an initializer of the same name with the elements of `result`."""
        if isinstance(result, np.ndarray):
            if result.size <= MAX_SHARED_ELEMENTS:
                self.replace(value, self.constant(result, str(value.name)))
                return
            result = _tensor(result)
        name, value.name = str(value.name), None
        self.replace(value, self.initializer(result, name))

    def initializer(self, tensor: ir.TensorProtocol, name: str) -> ir.Value:
        """An initializer with `tensor`. `name` must be unused."""
        self._taken.add(name)
        tensor.name = name
        shape = ir.Shape(tensor.shape.numpy())
        value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def op(self, before: ir.Node, kind: str, inputs: Sequence[ir.Value | None], **attributes: Attribute) -> ir.Value:
        """Inserts a node with one output before the node `before`, with a name made from that node's."""
        node = ir.node(kind, inputs, attributes=attributes)
        name = self.fresh(f"{before.name or before.op_type}/{kind}")
        node.name = node.outputs[0].name = name
        self.graph.insert_before(before, node)
        return node.outputs[0]

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Replaces all uses of `old` by `new`. A graph output keeps its name."""
        if not old.is_graph_output():
            _merge(old, new)
            old.replace_all_uses_with(new)
            return
        node = old.producer()
        assert node is not None, "a graph output that is an input or a constant can't be replaced"
        if new.producer() is None or new.is_graph_output():
            new = self.op(node, "Identity", [new])
        _merge(old, new)
        name, old.name = old.name, self.fresh(f"{old.name}/replaced")
        new.name = name
        old.replace_all_uses_with(new, replace_graph_outputs=True)

    def drop(self, node: ir.Node) -> None:
        """Removes a node whose outputs are unused."""
        self.graph.remove(node, safe=True)


def _tensor(array: NDArray[np.generic]) -> ir.TensorProtocol:
    return ir.tensor(np.ascontiguousarray(array).reshape(array.shape))


def _merge(old: ir.Value, new: ir.Value) -> None:
    """Copies type and shape from `old` to `new` if `new` has none."""
    if new.type is None:
        new.type = old.type
    if new.shape is None:
        new.shape = old.shape


def all_graphs(graph: ir.Graph | ir.Function) -> Iterator[ir.Graph]:
    """The graph and all its subgraphs, each after the graph around it; of a function, the subgraphs alone."""
    if isinstance(graph, ir.Graph):
        yield graph
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from all_graphs(attribute.as_graph())
            elif attribute.type == ir.AttributeType.GRAPHS:
                for inner in attribute.as_graphs():
                    yield from all_graphs(inner)


def _named(graph: ir.Graph) -> Iterator[ir.Value | ir.Node]:
    """All values and nodes, also of subgraphs. A new node and its result get one name, so neither may have it yet."""
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in ir.traversal.RecursiveGraphIterator(graph):
        yield node
        yield from node.outputs
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                inner = attribute.as_graph()
                yield from inner.inputs
                yield from inner.initializers.values()


@contextmanager
def some_shapes(values: Iterable[ir.Value]) -> Iterator[None]:
    """Gives those of the values that have no shape one inside of the `with` block.

    The standard and onnxruntime allow inputs and outputs without a shape; ONNX's checker alone doesn't.
    """
    shapeless = [value for value in values if value.shape is None]
    for value in shapeless:
        value.shape = ir.Shape([])
    try:
        yield
    finally:
        for value in shapeless:
            value.shape = None


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of a value; None unless all sizes are known."""
    if value is None or value.shape is None:
        return None
    sizes = tuple(size for size in value.shape if isinstance(size, int))
    return sizes if len(sizes) == len(value.shape) else None


def constant_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of a value that is an initializer or a Constant; None for others."""
    return None if value is None else value.const_value


def scalar(value: ir.Value | None) -> float | None:
    """The number in a constant with one element; None for other values."""
    tensor = constant_of(value)
    if tensor is None or tensor.size != 1 or tensor.dtype == ir.DataType.STRING:
        return None
    return float(tensor.numpy().reshape(-1)[0])


def sole_user(value: ir.Value) -> ir.Node | None:
    """The only node that uses `value`, if it uses it once and `value` is no graph output; else None."""
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def is_standard(node: ir.Node, *kinds: str) -> bool:
    """Whether `node` is an op of ONNX's default domain and one of `kinds` (any op if there are none)."""
    return node.domain in ("", "ai.onnx") and (not kinds or node.op_type in kinds)
