"""Ops on shapes: they move, repeat or create values, without arithmetic."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from exporter.runners.mil.ops.registry import OpTable, check_size

OPS = OpTable()


@OPS(exact=True)
def transpose(x: Tensor, perm: tuple[int, ...]) -> Tensor:
    """Reorders the axes."""
    return x.permute(perm)


@OPS(exact=True)
def reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same values in another shape.

    -1: the remaining size. 0: the size of x's axis at the same position, counted from the right (1 if x has none).
    That is the rule of iOS 17; it agrees with that of iOS 15 wherever the latter is defined.
    """
    offset = x.ndim - len(shape)
    sizes = [
        size if size != 0 else (x.shape[axis + offset] if axis + offset >= 0 else 1) for axis, size in enumerate(shape)
    ]
    return x.reshape(sizes)


@OPS(exact=True)
def expand_dims(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Inserts axes of size 1; `axes` are their positions in the result."""
    rank = x.ndim + len(axes)
    for axis in sorted(range(rank)[axis] for axis in axes):
        x = x.unsqueeze(axis)
    return x


@OPS(exact=True)
def squeeze(x: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    """Removes axes of size 1 (default: all). Larger ones among `axes` stay, as in torch."""
    return x.squeeze() if axes is None else x.squeeze(axes)


@OPS(exact=True, same=("values",))
def concat(values: tuple[Tensor, ...], axis: int, interleave: bool = False) -> Tensor:
    """Joins tensors along `axis`, one after the other or interleaved; scalars become a vector."""
    if all(value.ndim == 0 for value in values):
        return torch.stack(values)
    if not interleave:
        return torch.cat(values, axis)
    at = range(values[0].ndim)[axis]
    return torch.stack(values, at + 1).flatten(at, at + 1)


@OPS(exact=True)
def split(
    x: Tensor, axis: int, num_splits: int | None = None, split_sizes: tuple[int, ...] | None = None
) -> tuple[Tensor, ...]:
    """Splits x along `axis` into equal parts, or into parts of `split_sizes`."""
    if split_sizes is not None:
        return torch.split_with_sizes(x, split_sizes, axis)
    if num_splits is None or num_splits < 1 or x.shape[axis] % num_splits:
        raise ValueError(f"a size of {x.shape[axis]} can't be split into {num_splits} equal parts")
    return torch.tensor_split(x, num_splits, axis)


@OPS(exact=True)
def tile(x: Tensor, reps: tuple[int, ...]) -> Tensor:
    """Repeats x along each axis."""
    if len(reps) != x.ndim or any(count < 1 for count in reps):
        raise ValueError(f"repetitions {list(reps)} don't fit a tensor of shape {list(x.shape)}")
    check_size(tuple(size * count for size, count in zip(x.shape, reps, strict=True)))
    return x.repeat(reps)


@OPS(exact=True)
def reverse(x: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    """Reverses the order along `axes` (default: all)."""
    return x.flip(tuple(range(x.ndim)) if axes is None else axes)


@OPS(exact=True)
def shape(x: Tensor) -> Tensor:
    """The shape of x, int32 `[rank]`."""
    return torch.tensor(x.shape, dtype=torch.int32)


@OPS(exact=True)
def fill(shape: tuple[int, ...], value: Tensor | None = None) -> Tensor:
    """A tensor of one value (default: fp 0)."""
    check_size(shape)
    return torch.zeros(shape) if value is None else value.expand(shape)


@OPS(same=("start", "end", "step"))
def range_1d(start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    """start, start + step, … below end."""
    first, last, stride = start.item(), end.item(), step.item()
    if not stride or not all(math.isfinite(bound) for bound in (first, last, stride)):
        raise ValueError(f"there is no range from {first} to {last} by {stride}")
    count = max(0, math.ceil((last - first) / stride))
    check_size((count,))
    return torch.arange(count, dtype=start.dtype) * stride + first


@OPS(exact=True)
def one_hot(
    indices: Tensor,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: Tensor | None = None,
    off_value: Tensor | None = None,
) -> Tensor:
    """A new axis with on_value (default 1) at each index, and off_value (default 0) elsewhere."""
    check_size((*indices.shape, one_hot_vector_size))
    at = range(indices.ndim + 1)[axis]
    positions = torch.arange(one_hot_vector_size).reshape(-1, *[1] * (indices.ndim - at))
    on = torch.tensor(1, dtype=torch.int32) if on_value is None else on_value
    off = torch.zeros_like(on) if off_value is None else off_value
    return torch.where(indices.unsqueeze(at) == positions, on, off)


@OPS()
def pad(x: Tensor, pad: tuple[int, ...], mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """Pads the last len(pad) / 2 axes by pad[2i] before and pad[2i + 1] after; i = 0 is the first of these axes."""
    pairs = [pad[at : at + 2] for at in range(0, len(pad), 2)]
    if len(pad) % 2 or len(pairs) > x.ndim or any(count < 0 for count in pad):
        raise ValueError(f"padding {list(pad)} doesn't fit a tensor of shape {list(x.shape)}")
    kept = x.ndim - len(pairs)
    check_size((*x.shape[:kept], *(size + sum(pair) for size, pair in zip(x.shape[kept:], pairs, strict=True))))
    if mode == "constant":
        return F.pad(x, [count for pair in reversed(pairs) for count in pair], value=constant_val)
    if mode not in ("reflect", "replicate"):
        raise ValueError(f"pad has no mode {mode!r}")
    for axis, (before, behind) in enumerate(pairs, kept):
        x = x.index_select(axis, _padded_indices(x.shape[axis], before, behind, mode))
    return x


def _padded_indices(size: int, before: int, behind: int, mode: str) -> Tensor:
    """The element for each position from -before to size + behind."""
    positions = torch.arange(-before, size + behind)
    if mode == "replicate":
        return positions.clamp(0, size - 1)
    if max(before, behind) >= size:
        raise ValueError(f"an axis of {size} can't be padded by a reflection of {max(before, behind)}")
    return (size - 1) - ((size - 1) - positions.abs()).abs()
