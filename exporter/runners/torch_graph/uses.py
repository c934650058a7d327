"""Where a graph uses its weight matrices, and products with them that don't keep them in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn import grad as gradients

from exporter.runners.torch_graph.attributes import Attributes
from exporter.runners.torch_graph.matrices import Lookup, RowGradients
from exporter.runners.torch_graph.ops.conv import Window
from exporter.runners.torch_graph.ops.math import affine
from exporter.runners.torch_graph.stored import Stored

UseKind = Literal["linear", "embedding"]
_OF_INPUT = (gradients.conv1d_input, gradients.conv2d_input, gradients.conv3d_input)
_OF_KERNEL = (gradients.conv1d_weight, gradients.conv2d_weight, gradients.conv3d_weight)


@dataclass(frozen=True)
class WeightUse:
    """One node that computes with a weight matrix `[out, in]`.

    kind: "linear" (MatMul, Gemm, Conv) or "embedding" (Gather). input: the value that the matrix is multiplied with,
        `[…, in]` (`[batch, channels, …]` for a convolution), or the ids that are looked up. output: what leaves the
        node, `[…, out]`, before a bias that another node adds.
    transposed: whether rows of the matrix make outputs, `x · Wᵀ`; otherwise it is `x · W`.
    op: the node's op. window: of a convolution, whose kernel is the matrix in another shape.
    """

    weight: str
    kind: UseKind
    input: str
    output: str
    transposed: bool
    op: str
    window: Window | None = None

    def columns(self, x: Tensor) -> Tensor:
        """What the matrix is multiplied with, `[positions, in]`, in the order of the output's positions."""
        if self.kind != "linear":
            raise ValueError(f"{self.weight} is looked up by {self.output}, not multiplied")
        if self.window is not None:
            return self.window.patches(x)
        return x.reshape(-1, x.shape[-1])


Given = Callable[[str], Tensor | Lookup | None]
"""Weight name → what is used in its place, `[out, in]`, or None."""


class Matrix:
    """A weight in one run: what is given in its place, else the stored one, read whenever it is needed."""

    __slots__ = ("_give", "_stored", "name")

    def __init__(self, name: str, stored: Stored, give: Given | None) -> None:
        self.name = name
        self._stored = stored
        self._give = give

    def given(self) -> Tensor | Lookup | None:
        """What is used in place of the stored matrix. Raises ValueError for another shape."""
        given = None if self._give is None else self._give(self.name)
        if given is None:
            return None
        if tuple(given.shape) != self._stored.shape:
            raise ValueError(f"{self.name} is {self._stored.shape}, what is given for it {tuple(given.shape)}")
        return given if isinstance(given, Lookup) else given.to(self._stored.device)

    def read(self, dtype: torch.dtype | None = None) -> Tensor:
        """The matrix `[out, in]`, in `dtype` or else the graph's."""
        return self.placed(self.given(), dtype)

    def placed(self, given: Tensor | Lookup | None, dtype: torch.dtype | None) -> Tensor:
        """What `read` makes of what is `given`."""
        if isinstance(given, Lookup):
            return given.read(dtype or self._stored.dtype)
        return self._stored.read(dtype) if given is None else given.to(dtype or self._stored.dtype)

    def rows(self, ids: Tensor) -> Tensor:
        """`[…, in]` for ids `[…]`."""
        given = self.given()
        if given is None:
            return self._stored.rows(ids)
        ids = torch.where(ids < 0, ids + self._stored.shape[0], ids)
        if isinstance(given, Lookup):
            return given.rows(ids, self._stored.dtype)
        return functional.embedding(ids, given).to(self._stored.dtype)


@dataclass(frozen=True)
class Product:
    """What a node multiplies its input with: the matrix as it is used. dtype: in which the product is computed."""

    use: WeightUse
    kernel: tuple[int, ...] | None
    dtype: torch.dtype

    def __call__(self, matrix: Matrix, x: Tensor) -> Tensor:
        """The product; unless the matrix learns, it is read again for the gradient instead of being kept for it."""
        if self.use.window is not None:
            x = self.use.window.padded(x)
        given = matrix.given()
        if isinstance(given, Lookup) and given.lut.requires_grad and torch.is_grad_enabled():
            return given.multiplied(x, self)
        weight = matrix.placed(given, self.dtype)
        if weight.requires_grad or not (x.requires_grad and torch.is_grad_enabled()):
            return self.forward(x, weight)
        product: Tensor = _Reread.apply(x, weight, matrix, self)  # type: ignore[no-untyped-call]
        return product

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """`x` times the matrix `[out, in]`, which has the product's dtype already; the result has that of `x`."""
        dtype = x.dtype
        x = x.to(self.dtype)
        if self.use.window is not None:
            assert self.kernel is not None
            return self.use.window.convolved(x, weight.reshape(self.kernel)).to(dtype)
        return functional.linear(x, weight if self.use.transposed else weight.t()).to(dtype)

    def backward(self, grad: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """The gradient for an `x` of this shape."""
        dtype = grad.dtype
        grad = grad.to(self.dtype)
        window = self.use.window
        if window is None:
            return torch.matmul(grad, weight if self.use.transposed else weight.t()).to(dtype)
        assert self.kernel is not None
        of_input: Any = _OF_INPUT[len(window.kernel) - 1]
        kernel = weight.reshape(self.kernel)
        found: Tensor = of_input(shape, kernel, grad, window.strides, 0, window.dilations, window.groups)
        return found.to(dtype)

    def gradients(self, x: Tensor, grad: Tensor) -> RowGradients:
        """Those for the matrix, made when they are asked for; a convolution's all at once."""
        x, grad = x.to(self.dtype), grad.to(self.dtype)
        window = self.use.window
        if window is not None:
            assert self.kernel is not None
            of_kernel: Any = _OF_KERNEL[len(window.kernel) - 1]
            kernel: Tensor = of_kernel(x, self.kernel, grad, window.strides, 0, window.dilations, window.groups)
            return kernel.reshape(len(kernel), -1).__getitem__
        x, grad = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
        left, right = (grad, x) if self.use.transposed else (x, grad)
        return lambda rows: left[:, rows].t() @ right


class _Reread(torch.autograd.Function):
    """A product that keeps neither of its factors: the gradient for one needs only the other, which lies on disk."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, matrix: Matrix, product: Product) -> Tensor:
        ctx.matrix, ctx.product, ctx.shape = matrix, product, x.shape
        return product.forward(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.product.backward(grads[0], ctx.matrix.read(ctx.product.dtype), ctx.shape), None, None, None


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
    """How a value shows a matrix: turned round, or as the kernel of a convolution."""

    turned: bool = False
    kernel: tuple[int, ...] | None = None


def weight_nodes(value: ir.Value, name: str, floats: torch.dtype, products: torch.dtype) -> list[WeightNode] | None:
    """The nodes that use the matrix `value`; None where any of them does so in a way that isn't known here."""
    found: list[WeightNode] = []
    for node, index, view in _readers(value, _View()):
        used = None if node is None else _weight_node(node, index, view, Attributes(node, floats, products), name)
        if used is None:
            return None
        found.append(used)
    return found


def _readers(value: ir.Value, view: _View) -> Iterator[tuple[ir.Node | None, int, _View]]:
    """Who reads the matrix, through casts, transpositions and reshapes; a None for a reader outside of the graph."""
    if value.is_graph_output():
        yield None, 0, view
    for use in value.uses():
        node, seen = use.node, _seen(use.node, use.idx, view)
        if seen is None:
            yield node, use.idx, view
        else:
            yield from _readers(node.outputs[0], seen)


def _seen(node: ir.Node, index: int, view: _View) -> _View | None:
    """What a node that only passes the matrix on makes of it."""
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
