"""Products with weight matrices that are not kept in memory.

A matrix is read or decoded for the product, and again for the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn import grad as gradients

from exporter.runners.torch_graph.matrices import Lookup, Matrix, RowGradients
from exporter.runners.torch_graph.ops.conv import Window

UseKind = Literal["linear", "embedding"]
_OF_INPUT = (gradients.conv1d_input, gradients.conv2d_input, gradients.conv3d_input)
_OF_KERNEL = (gradients.conv1d_weight, gradients.conv2d_weight, gradients.conv3d_weight)


@dataclass(frozen=True)
class WeightUse:
    """One node that computes with a weight matrix `[out, in]`.

    kind: "linear" (MatMul, Gemm, Conv) or "embedding" (Gather). input: the other factor, `[…, in]` (for a convolution
        `[batch, channels, …]`), or the ids to look up. output: the node's result, `[…, out]`, before a bias that
        another node adds.
    transposed: True for `x · Wᵀ`, False for `x · W`.
    op: the node's op. window: for a convolution, whose kernel is the matrix in another shape.
    """

    weight: str
    kind: UseKind
    input: str
    output: str
    transposed: bool
    op: str
    window: Window | None = None

    def columns(self, x: Tensor) -> Tensor:
        """The other factor of the product, `[positions, in]`, in the order of the output's positions."""
        if self.kind != "linear":
            raise ValueError(f"{self.weight} is looked up by {self.output}, not multiplied")
        if self.window is not None:
            return self.window.patches(x)
        return x.reshape(-1, x.shape[-1])


@dataclass(frozen=True)
class Product:
    """The product of a node. kernel: the shape of a convolution's kernel. dtype: used to compute it."""

    use: WeightUse
    kernel: tuple[int, ...] | None
    dtype: torch.dtype

    def __call__(self, matrix: Matrix, x: Tensor) -> Tensor:
        """The product. Unless the matrix is trained, it is not kept for the gradient but read again."""
        if self.use.window is not None:
            x = self.use.window.padded(x)
        given = matrix.given()
        if isinstance(given, Lookup) and given.lut.requires_grad and torch.is_grad_enabled():
            result: Tensor = _Multiplied.apply(x, given.lut, given, self)  # type: ignore[no-untyped-call]
            return result
        weight = matrix.placed(given, self.dtype)
        if weight.requires_grad or not (x.requires_grad and torch.is_grad_enabled()):
            return self.forward(x, weight)
        product: Tensor = _Reread.apply(x, weight, matrix, self)  # type: ignore[no-untyped-call]
        return product

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """`x` times the matrix `[out, in]`, which must have the product's dtype; the result has the dtype of `x`."""
        dtype = x.dtype
        x = x.to(self.dtype)
        if self.use.window is not None:
            assert self.kernel is not None
            return self.use.window.convolved(x, weight.reshape(self.kernel)).to(dtype)
        return functional.linear(x, weight if self.use.transposed else weight.t()).to(dtype)

    def backward(self, grad: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """The gradient with respect to an `x` of this shape."""
        dtype = grad.dtype
        grad = grad.to(self.dtype)
        window = self.use.window
        if window is None:
            return torch.matmul(grad, weight if self.use.transposed else weight.t()).to(dtype)
        assert self.kernel is not None
        of_input: Any = _OF_INPUT[len(window.kernel) - 1]
        kernel = weight.reshape(self.kernel)
        gradient: Tensor = of_input(shape, kernel, grad, window.strides, 0, window.dilations, window.groups)
        return gradient.to(dtype)

    def gradients(self, x: Tensor, grad: Tensor) -> RowGradients:
        """The gradient with respect to the matrix: some rows per call; a convolution computes all rows at once."""
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
    """A product that keeps neither factor: the gradient of `x` needs only the matrix, which is read again from disk."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, matrix: Matrix, product: Product) -> Tensor:
        ctx.matrix, ctx.product, ctx.shape = matrix, product, x.shape
        return product.forward(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.product.backward(grads[0], ctx.matrix.read(ctx.product.dtype), ctx.shape), None, None, None


class _Multiplied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lut: Tensor, lookup: Lookup, product: Product) -> Tensor:
        ctx.lookup, ctx.product = lookup, product
        ctx.save_for_backward(x, lut)  # saving the LUT makes torch refuse a backward pass after the LUT was changed
        return product.forward(x, lookup.decoded(product.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (x, _), lookup, product = ctx.saved_tensors, ctx.lookup, ctx.product
        of_lut = lookup.gathered(product.gradients(x, grads[0]))
        of_x = product.backward(grads[0], lookup.decoded(product.dtype), x.shape) if ctx.needs_input_grad[0] else None
        return of_x, of_lut, None, None
