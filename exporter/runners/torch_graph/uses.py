"""Where a graph uses its weight matrices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from exporter.runners.torch_graph.attributes import Attributes
from exporter.runners.torch_graph.matrices import Matrix
from exporter.runners.torch_graph.ops.conv import Window
from exporter.runners.torch_graph.ops.math import affine
from exporter.runners.torch_graph.products import Product, UseKind, WeightUse


@dataclass(frozen=True)
class WeightNode:
    """A node that uses a weight, and what computes it: `run(matrix, *inputs)`."""

    use: WeightUse
    node: ir.Node
    inputs: tuple[ir.Value | None, ...]
    product: Product
    alpha: float = 1.0
    beta: float = 1.0

    def run(self, matrix: Matrix, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """The node's output. x: its input, or ids; bias: of a Gemm or a Conv."""
        if self.use.kind == "embedding":
            return matrix.rows(x)
        product = self.product(matrix, x)
        if self.use.window is not None:
            return product if bias is None else product + bias.reshape(-1, *[1] * len(self.use.window.kernel))
        return affine(product, bias, self.alpha, self.beta)


@dataclass(frozen=True)
class _View:
    """How a value presents a matrix: transposed, or as the kernel of a convolution."""

    turned: bool = False
    kernel: tuple[int, ...] | None = None


def weight_nodes(value: ir.Value, name: str, floats: torch.dtype, products: torch.dtype) -> list[WeightNode] | None:
    """The nodes that use the matrix `value`; None where one of them uses it in an unknown way."""
    found: list[WeightNode] = []
    for node, index, view in _readers(value, _View()):
        used = None if node is None else _weight_node(node, index, view, Attributes(node, floats, products), name)
        if used is None:
            return None
        found.append(used)
    return found


def _readers(value: ir.Value, view: _View) -> Iterator[tuple[ir.Node | None, int, _View]]:
    """The readers of the matrix, through casts, transpositions and reshapes; None for a reader outside of the graph."""
    if value.is_graph_output():
        yield None, 0, view
    for use in value.uses():
        node, seen = use.node, _seen(use.node, use.idx, view)
        if seen is None:
            yield node, use.idx, view
        else:
            yield from _readers(node.outputs[0], seen)


def _seen(node: ir.Node, index: int, view: _View) -> _View | None:
    """The view behind a node that only passes the matrix on; None for any other node."""
    if node.domain not in ("", "ai.onnx") or index != 0:
        return None
    if node.op_type == "Identity":
        return view
    if node.op_type == "Cast":
        target = ir.DataType(node.attributes["to"].as_int())
        return view if target.is_floating_point() and target.bitwidth >= 16 else None
    if node.op_type == "Transpose" and view.kernel is None:
        order = node.attributes["perm"].as_ints() if "perm" in node.attributes else (1, 0)
        return _View(not view.turned) if tuple(order) == (1, 0) else view if tuple(order) == (0, 1) else None
    shape = node.inputs[1] if node.op_type == "Reshape" and len(node.inputs) > 1 else None
    if shape is None or shape.const_value is None or view.turned:
        return None
    sizes = tuple(int(size) for size in shape.const_value.numpy())
    return _View(kernel=sizes) if len(sizes) in (3, 4, 5) and min(sizes) > 0 else None


def _weight_node(node: ir.Node, index: int, view: _View, facts: Attributes, name: str) -> WeightNode | None:
    """`node` as one that uses the matrix as its input `index`."""
    place = {"MatMul": 1, "Gemm": 1, "Gather": 0, "Conv": 1}.get(node.op_type)
    known = node.domain in ("", "ai.onnx") and place == index
    if not known or (node.op_type == "Conv") != (view.kernel is not None):
        return None
    x = node.inputs[1 - index]
    if x is None or (node.op_type == "MatMul" and x.shape is not None and len(x.shape) == 0):
        return None
    window, turned, alpha, beta = None, view.turned, 1.0, 1.0
    if node.op_type == "Gather":
        if view.turned or facts.integer("axis", 0) != 0:
            return None
    elif node.op_type == "Gemm":
        if facts.flag("transA"):
            return None
        turned, alpha, beta = turned != facts.flag("transB"), facts.number("alpha", 1.0), facts.number("beta", 1.0)
    elif node.op_type == "Conv":
        assert view.kernel is not None
        try:
            window, turned = Window.of(facts, view.kernel[2:]), True
        except NotImplementedError:
            return None  # a node as others are, whose op says the same again
    kind: UseKind = "embedding" if node.op_type == "Gather" else "linear"
    use = WeightUse(name, kind, str(x.name), str(node.outputs[0].name), turned, node.op_type, window)
    rest = tuple(node.inputs[2:])
    return WeightNode(use, node, (x, *rest), Product(use, view.kernel, facts.products), alpha, beta)


def matrices(graph: ir.Graph) -> Iterable[ir.Value]:
    """The graph's stored matrices of floats, in the order in which they are first read."""
    seen: set[ir.Value] = set()
    for node in graph:
        for value in node.inputs:
            tensor = None if value is None or not value.is_initializer() else value.const_value
            if value is not None and tensor is not None and value not in seen:
                seen.add(value)
                if len(tensor.shape) == 2 and tensor.dtype.is_floating_point() and not value.is_graph_output():
                    yield value
