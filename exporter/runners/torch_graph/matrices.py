"""Palettized weights whose lookup tables learn: products with them that keep their input and nothing else.

The matrix is decoded for the product and again for the gradient, and what would be its own gradient goes into the LUT
entries at once, some rows at a time. On the CPU the same numbers come out of every run; elsewhere additions may come
in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from exporter.graph.palette import BLOCK, Palette
from exporter.runners.torch_graph.stored import from_array

if TYPE_CHECKING:
    from exporter.runners.torch_graph.uses import Product

RowGradients = Callable[[slice], Tensor]
"""Some rows of a matrix → the gradient for them, `[rows, in]`."""


class Lookup:
    """A weight as its palette's indices and a LUT as the palette's, of any float dtype, which may need a gradient.

    Indices are unpacked each time that they are used; on another device than the CPU, they stay there as uint8.
    """

    def __init__(self, palette: Palette, lut: Tensor, indices: Tensor | None = None) -> None:
        if tuple(lut.shape) != palette.lut.shape:
            raise ValueError(f"LUT is {tuple(lut.shape)}, the palette's {palette.lut.shape}")
        self.palette = palette
        self.lut = lut
        self._indices = indices
        if indices is None and lut.device.type != "cpu":
            self._indices = self.indices().to(lut.device)

    @property
    def shape(self) -> tuple[int, int]:
        """`(out, in)`."""
        return self.palette.shape

    def with_lut(self, lut: Tensor) -> Lookup:
        """The same indices into another LUT."""
        return Lookup(self.palette, lut, self._indices)

    def indices(self) -> Tensor:
        """uint8 `[out / cluster_dim, in]`, not to be written to."""
        return from_array(self.palette.indices) if self._indices is None else self._indices

    def read(self, dtype: torch.dtype) -> Tensor:
        """The matrix `[out, in]`; the LUT gets its gradient."""
        dense: Tensor = _Dense.apply(self.lut, self, dtype)  # type: ignore[no-untyped-call]
        return dense

    def rows(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows `ids` `[…]`, none of them negative: `[…, in]`; the LUT gets its gradient."""
        rows: Tensor = _Rows.apply(self.lut, self, ids, dtype)  # type: ignore[no-untyped-call]
        return rows

    def multiplied(self, x: Tensor, product: Product) -> Tensor:
        """The product with `x`; both get their gradients."""
        made: Tensor = _Multiplied.apply(x, self.lut, self, product)  # type: ignore[no-untyped-call]
        return made

    def decoded(self, dtype: torch.dtype) -> Tensor:
        """The matrix `[out, in]`, without a gradient."""
        table, indices = self.lut.detach().to(dtype), self.indices()
        if self.palette.cluster_dim > 1:
            return self._decoded_vectors(table, indices)
        dense = table.new_empty(self.shape)
        for rows, groups in runs(self.palette):
            into = dense[rows].view(groups.stop - groups.start, -1)
            torch.gather(table[groups], 1, indices[rows].reshape(into.shape).long(), out=into)
        return dense

    def _decoded_vectors(self, table: Tensor, indices: Tensor) -> Tensor:
        dim, columns = self.palette.cluster_dim, self.shape[1]
        dense = table.new_empty((len(indices), dim, columns))
        for rows, groups in runs(self.palette):
            shape = (groups.stop - groups.start, -1)
            here = indices[rows].reshape(shape).long()
            for side in range(dim):
                dense[rows, side] = torch.gather(table[groups, :, side], 1, here).reshape(-1, columns)
        return dense.reshape(self.shape)

    def places(self, ids: Tensor) -> Tensor:
        """Where in the flat LUT the weights of rows `ids` `[n]` are, int64 `[n, in]`."""
        ids, dim = ids.to(self.lut.device), self.palette.cluster_dim
        starts = ids // self.palette.group_size * self.lut[0].numel() + ids % dim
        return self.indices()[ids // dim].long() * dim + starts[:, None]

    def gathered(self, gradients: RowGradients) -> Tensor:
        """The LUT's gradient: for each entry, the sum over the weights that it stands for."""
        indices, dim = self.indices(), self.palette.cluster_dim
        found = torch.zeros(self.lut.shape, dtype=_summed(self.lut.dtype), device=self.lut.device)
        sides = found.reshape(*found.shape[:2], dim)  # a view
        for rows, groups in runs(self.palette):
            shape = (groups.stop - groups.start, -1)
            here = indices[rows].reshape(shape).long()
            part = gradients(slice(rows.start * dim, rows.stop * dim)).to(found.dtype)
            part = part.reshape(rows.stop - rows.start, dim, -1)
            for side in range(dim):
                into = sides[groups, :, side]
                sides[groups, :, side] = into.scatter_add(1, here, part[:, side].reshape(shape))
        return found.to(self.lut.dtype)


def runs(palette: Palette) -> Iterator[tuple[slice, slice]]:
    """Rows of about `BLOCK` indices and the groups they are in, of which each has the same number of these rows."""
    (rows, columns), size = palette.index_shape, palette.group_size // palette.cluster_dim
    step = max(1, BLOCK // max(1, columns))
    first = 0
    while first < rows:
        left, inside = rows - first, size - first % size  # where a group was begun, its rest comes next
        whole = min(step, left) // size * size if inside == size else 0
        stop = first + (whole or min(step, left, inside))
        yield slice(first, stop), slice(first // size, -(-stop // size))
        first = stop


def _summed(dtype: torch.dtype) -> torch.dtype:
    """In which gradients are added up."""
    return torch.promote_types(dtype, torch.float32)


class _Dense(torch.autograd.Function):
    """All of a matrix, for nodes that do with it what isn't known."""

    @staticmethod
    def forward(ctx: Any, lut: Tensor, lookup: Lookup, dtype: torch.dtype) -> Tensor:  # noqa: ARG004 - gets a gradient
        ctx.lookup = lookup
        return lookup.decoded(dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.lookup.gathered(lambda rows: grads[0][rows]), None, None


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, lut: Tensor, lookup: Lookup, ids: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.lookup, ctx.ids = lookup, ids.reshape(-1)
        return lut.reshape(-1)[lookup.places(ctx.ids)].to(dtype).reshape(*ids.shape, -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        lut = ctx.lookup.lut
        found = torch.zeros(lut.numel(), dtype=_summed(lut.dtype), device=lut.device)
        found.index_add_(0, ctx.lookup.places(ctx.ids).reshape(-1), grads[0].reshape(-1).to(found.dtype))
        return found.to(lut.dtype).reshape(lut.shape), None, None, None


class _Multiplied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lut: Tensor, lookup: Lookup, product: Product) -> Tensor:
        ctx.lookup, ctx.product = lookup, product
        ctx.save_for_backward(x, lut)  # the LUT takes no memory, but must not have been written to
        return product.forward(x, lookup.decoded(product.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (x, _), lookup, product = ctx.saved_tensors, ctx.lookup, ctx.product
        of_lut = lookup.gathered(product.gradients(x, grads[0]))
        of_x = product.backward(grads[0], lookup.decoded(product.dtype), x.shape) if ctx.needs_input_grad[0] else None
        return of_x, of_lut, None, None
