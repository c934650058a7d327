"""Weight matrices in one run: read from disk, replaced by tensors, or palettized with trainable LUTs.

The gradient of a palettized matrix is added to its LUT entries directly, a few rows at a time. On the CPU every run
gives the same numbers; other devices may add in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from exporter.graph.palette import BLOCK, Palette
from exporter.runners.torch_graph.stored import Stored, from_array

RowGradients = Callable[[slice], Tensor]
"""Some rows of a matrix → their gradient, `[rows, in]`."""


class Lookup:
    """A weight as the indices of a palette, and a LUT of the palette's shape, in any float dtype.

    The LUT may require a gradient. On the CPU, indices are unpacked at each use. Other devices keep them, as uint8.
    """

    def __init__(self, palette: Palette, lut: Tensor, indices: Tensor | None = None) -> None:
        if tuple(lut.shape) != palette.lut.shape:
            raise ValueError(f"the LUT has shape {tuple(lut.shape)}, the palette's has {palette.lut.shape}")
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
        """The same indices with another LUT."""
        return Lookup(self.palette, lut, self._indices)

    def indices(self) -> Tensor:
        """uint8 `[out, in]`; don't write to it."""
        return from_array(self.palette.indices) if self._indices is None else self._indices

    def read(self, dtype: torch.dtype) -> Tensor:
        """The matrix `[out, in]`; gradients go to the LUT."""
        dense: Tensor = _Dense.apply(self.lut, self, dtype)  # type: ignore[no-untyped-call]
        return dense

    def rows(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows `ids` `[…]` (not negative): `[…, in]`; gradients go to the LUT."""
        rows: Tensor = _Rows.apply(self.lut, self, ids, dtype)  # type: ignore[no-untyped-call]
        return rows

    def decoded(self, dtype: torch.dtype) -> Tensor:
        """The matrix `[out, in]`, without a gradient."""
        luts, indices = self.lut.detach().to(dtype), self.indices()
        dense = luts.new_empty(self.shape)
        for rows, groups in runs(self.palette):
            into = dense[rows].view(groups.stop - groups.start, -1)
            torch.gather(luts[groups], 1, indices[rows].reshape(into.shape).long(), out=into)
        return dense

    def places(self, ids: Tensor) -> Tensor:
        """For the weights of rows `ids` `[n]`, the positions of their entries in the flat LUT, int64 `[n, in]`."""
        ids = ids.to(self.lut.device)
        starts = ids // self.palette.group_size * self.lut.shape[1]
        return self.indices()[ids].long() + starts[:, None]

    def gathered(self, gradients: RowGradients) -> Tensor:
        """The LUT's gradient: for each entry, the sum over the weights that use it."""
        indices = self.indices()
        gradient = torch.zeros(self.lut.shape, dtype=_sum_dtype(self.lut.dtype), device=self.lut.device)
        for rows, groups in runs(self.palette):
            shape = (groups.stop - groups.start, -1)
            positions = indices[rows].reshape(shape).long()
            gradient[groups].scatter_add_(1, positions, gradients(rows).to(gradient.dtype).reshape(shape))
        return gradient.to(self.lut.dtype)


def runs(palette: Palette) -> Iterator[tuple[slice, slice]]:
    """Runs of rows of about `BLOCK` indices, with their groups; each group has equally many of the run's rows."""
    (rows, columns), size = palette.shape, palette.group_size
    step = max(1, BLOCK // max(1, columns))
    first = 0
    while first < rows:
        left, inside = rows - first, size - first % size  # inside a group, the rest of the group comes next
        whole = min(step, left) // size * size if inside == size else 0
        stop = first + (whole or min(step, left, inside))
        yield slice(first, stop), slice(first // size, -(-stop // size))
        first = stop


def _sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype for sums of gradients."""
    return torch.promote_types(dtype, torch.float32)


class _Dense(torch.autograd.Function):
    """The whole matrix, for nodes other than products and lookups."""

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
        gradient = torch.zeros(lut.numel(), dtype=_sum_dtype(lut.dtype), device=lut.device)
        gradient.index_add_(0, ctx.lookup.places(ctx.ids).reshape(-1), grads[0].reshape(-1).to(gradient.dtype))
        return gradient.to(lut.dtype).reshape(lut.shape), None, None, None


Given = Callable[[str], Tensor | Lookup | None]
"""Weight name → its replacement `[out, in]`, or None."""


class Matrix:
    """A weight in one run: its replacement, or the stored weight, which is read at each use."""

    __slots__ = ("_give", "_stored", "name")

    def __init__(self, name: str, stored: Stored, give: Given | None) -> None:
        self.name = name
        self._stored = stored
        self._give = give

    def given(self) -> Tensor | Lookup | None:
        """The replacement of the stored matrix, or None. Raises ValueError if its shape differs."""
        given = None if self._give is None else self._give(self.name)
        if given is None:
            return None
        if tuple(given.shape) != self._stored.shape:
            raise ValueError(f"{self.name} has shape {self._stored.shape}, its replacement {tuple(given.shape)}")
        return given if isinstance(given, Lookup) else given.to(self._stored.device)

    def read(self, dtype: torch.dtype | None = None) -> Tensor:
        """The matrix `[out, in]` in `dtype`; None: in the graph's dtype."""
        return self.placed(self.given(), dtype)

    def placed(self, given: Tensor | Lookup | None, dtype: torch.dtype | None) -> Tensor:
        """Like `read`, for a replacement that the caller has already taken from `given()`."""
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
