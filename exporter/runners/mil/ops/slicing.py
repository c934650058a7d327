"""Reading and writing of slices."""

from __future__ import annotations

import torch
from torch import Tensor

from exporter.runners.mil.ops.registry import OpTable

OPS = OpTable()
Mask = tuple[bool, ...] | None


@OPS(exact=True)
def slice_by_index(  # noqa: PLR0913, PLR0917 - the op's own parameters
    x: Tensor,
    begin: tuple[int, ...],
    end: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    begin_mask: tuple[bool, ...] | None = None,
    end_mask: tuple[bool, ...] | None = None,
    squeeze_mask: tuple[bool, ...] | None = None,
) -> Tensor:
    """x[begin:end:stride] per axis. begin_mask: from the start; end_mask: to the end; squeeze_mask: x[begin]."""
    bounds = (begin, end, stride, begin_mask, end_mask)
    slices = _slices(tuple(x.shape), bounds, squeeze_mask)
    for axis, part in enumerate(slices):
        x = _cut(x, axis, part)
    if squeeze_mask is not None and any(squeeze_mask):
        x = x.squeeze(tuple(axis for axis, squeezed in enumerate(squeeze_mask) if squeezed))
    return x


@OPS(exact=True)
def slice_by_size(x: Tensor, begin: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """`size` elements from `begin` per axis; -1: all that remain."""
    if len(begin) != x.ndim or len(size) != x.ndim:
        raise ValueError(f"begin {list(begin)}, size {list(size)} for shape {list(x.shape)}")
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        start = first + x.shape[axis] if first < 0 else first
        x = x.narrow(axis, start, x.shape[axis] - start if count == -1 else count)
    return x


@OPS(exact=True, same=("x", "update"))
def slice_update(  # noqa: PLR0913, PLR0917 - the op's own parameters
    x: Tensor,
    update: Tensor,
    begin: tuple[int, ...],
    end: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    begin_mask: tuple[bool, ...] | None = None,
    end_mask: tuple[bool, ...] | None = None,
    squeeze_mask: tuple[bool, ...] | None = None,
) -> Tensor:
    """A copy of x with `update` where slice_by_index would read. Shapes must be equal: nothing broadcasts."""
    slices = _slices(tuple(x.shape), (begin, end, stride, begin_mask, end_mask), squeeze_mask)
    if any(part.step < 0 for part in slices):
        raise ValueError("slice_update can't go backwards")
    result = x.clone()
    target = result[slices]
    if squeeze_mask is not None and any(squeeze_mask):
        target = target.squeeze(tuple(axis for axis, squeezed in enumerate(squeeze_mask) if squeezed))
    if target.shape != update.shape:
        raise ValueError(f"an update of shape {list(update.shape)} doesn't fit a slice of shape {list(target.shape)}")
    target.copy_(update)
    return result


_Bounds = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...] | None, Mask, Mask]


def _slices(shape: tuple[int, ...], bounds: _Bounds, squeeze_mask: Mask) -> tuple[slice, ...]:
    """One slice per axis, with positive or negative steps, as numpy understands them."""
    begin, end, stride, begin_mask, end_mask = bounds
    rank = len(shape)
    none = (False,) * rank
    steps, from_first, to_last, squeezed = (
        stride or (1,) * rank,
        begin_mask or none,
        end_mask or none,
        squeeze_mask or none,
    )
    if any(len(values) != rank for values in (begin, end, steps, from_first, to_last, squeezed)):
        raise ValueError(f"slice bounds must have {rank} values each, one for each axis")
    slices = []
    for axis, size in enumerate(shape):
        if steps[axis] == 0:
            raise ValueError("the step of a slice must not be 0")
        if squeezed[axis]:
            at = begin[axis] + size if begin[axis] < 0 else begin[axis]
            at = 0 if from_first[axis] else at
            if not 0 <= at < size:
                raise IndexError(f"index {begin[axis]} into an axis of {size}")
            slices.append(slice(at, at + 1, 1))
        else:
            first = None if from_first[axis] else begin[axis]
            last = None if to_last[axis] else end[axis]
            slices.append(slice(first, last, steps[axis]))
    return tuple(slices)


def _cut(x: Tensor, axis: int, part: slice) -> Tensor:
    start, stop, step = part.indices(x.shape[axis])
    if step == 1:
        return x if stop - start == x.shape[axis] else x.narrow(axis, start, max(0, stop - start))
    return x.index_select(axis, torch.tensor(range(start, stop, step), dtype=torch.int64))
