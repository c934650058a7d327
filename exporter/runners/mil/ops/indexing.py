"""Gather and scatter. Indices must be in 0 … size-1: negative indices are undefined since iOS 17."""

from __future__ import annotations

import torch
from torch import Tensor

from exporter.runners.mil.ops.registry import OpTable, check_indices, check_size

OPS = OpTable()


@OPS(exact=True, ignores=("validate_indices",))
def gather(x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0) -> Tensor:
    """Slices of x along `axis`: shape x[:axis] + indices[batch_dims:] + x[axis + 1:].

    The first `batch_dims` axes of x and indices correspond. Indices are always checked: without a check, Core ML
    would read undefined values then, and a reference must report that.
    """
    at = range(x.ndim)[axis]
    check_indices(indices, x.shape[at])
    if not 0 <= batch_dims <= min(at, indices.ndim) or x.shape[:batch_dims] != indices.shape[:batch_dims]:
        raise ValueError(f"{batch_dims} batch axes of {list(x.shape)} and {list(indices.shape)}")
    shape = (*x.shape[:at], *indices.shape[batch_dims:], *x.shape[at + 1 :])
    check_size(shape)
    if batch_dims == 0:
        return x.index_select(at, indices.reshape(-1)).reshape(shape)
    batches = x.shape[:batch_dims].numel()
    grouped = indices.reshape(batches, -1)
    rows = x.reshape(batches, *x.shape[batch_dims:])
    parts = [rows[i].index_select(at - batch_dims, grouped[i]) for i in range(batches)]
    return torch.stack(parts).reshape(shape)


@OPS(exact=True, ignores=("validate_indices",))
def gather_along_axis(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
    """For each position in `indices` the element of x at that index along `axis`; other axes have equal sizes."""
    check_indices(indices, x.shape[axis])
    _check_aligned(x, indices, axis)
    return x.gather(axis, indices.to(torch.int64))


@OPS(exact=True, ignores=("validate_indices",))
def gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0) -> Tensor:
    """x[indices[…, 0], indices[…, 1], …] after the first `batch_dims` axes, which correspond."""
    depth = indices.shape[-1]
    if not 0 <= batch_dims < indices.ndim or batch_dims + depth > x.ndim or depth == 0:
        raise ValueError(f"indices {list(indices.shape)} into {list(x.shape)} with {batch_dims} batch axes")
    if x.shape[:batch_dims] != indices.shape[:batch_dims]:
        raise ValueError(f"{batch_dims} batch axes of {list(x.shape)} and {list(indices.shape)}")
    for axis in range(depth):
        check_indices(indices[..., axis], x.shape[batch_dims + axis])
    check_size((*indices.shape[:-1], *x.shape[batch_dims + depth :]))
    rank = indices.ndim - 1
    batch = [
        torch.arange(x.shape[axis]).reshape([-1 if place == axis else 1 for place in range(rank)])
        for axis in range(batch_dims)
    ]
    return x[(*batch, *indices.to(torch.int64).unbind(-1))]


@OPS(same=("data", "updates"), ignores=("validate_indices",))
def scatter_along_axis(data: Tensor, indices: Tensor, updates: Tensor, axis: int = 0, mode: str = "add") -> Tensor:
    """Combines each element of `updates` into a copy of data, at its index (same shape) along `axis`."""
    at = range(data.ndim)[axis]
    check_indices(indices, data.shape[at])
    _check_aligned(data, indices, at)
    if updates.shape != indices.shape:
        raise ValueError(f"updates {list(updates.shape)} at indices {list(indices.shape)}")
    positions = torch.meshgrid(*[torch.arange(size) for size in indices.shape], indexing="ij")
    return _scatter(data, (*positions[:at], indices.to(torch.int64), *positions[at + 1 :]), updates, mode)


@OPS(same=("data", "updates"), ignores=("validate_indices",))
def scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add") -> Tensor:
    """Combines slices of `updates` into a copy of data, at [indices[…, 0], indices[…, 1], …]."""
    depth = indices.shape[-1]
    if not 0 < depth <= data.ndim or tuple(updates.shape) != (*indices.shape[:-1], *data.shape[depth:]):
        raise ValueError(f"updates {list(updates.shape)} of data {list(data.shape)} at indices {list(indices.shape)}")
    for axis in range(depth):
        check_indices(indices[..., axis], data.shape[axis])
    return _scatter(data, indices.to(torch.int64).unbind(-1), updates, mode)


def _check_aligned(x: Tensor, indices: Tensor, axis: int) -> None:
    at = range(x.ndim)[axis]
    same = x.ndim == indices.ndim and all(
        place == at or x.shape[place] == indices.shape[place] for place in range(x.ndim)
    )
    if not same:
        raise ValueError(f"indices {list(indices.shape)} along axis {at} of {list(x.shape)}")


def _scatter(data: Tensor, positions: tuple[Tensor | slice, ...], updates: Tensor, mode: str) -> Tensor:
    """Combines `updates` into a copy of data, one after the other where positions repeat."""
    flat = torch.arange(data.numel()).reshape(data.shape)[positions].reshape(-1)
    values = updates.reshape(-1)
    result = data.clone().reshape(-1)
    if mode == "update":
        result[flat] = values
    elif mode == "add":
        result.index_add_(0, flat, values)
    elif mode in ("max", "min", "mul"):
        reduce = {"max": "amax", "min": "amin", "mul": "prod"}[mode]
        result.scatter_reduce_(0, flat, values, reduce)
    else:
        raise ValueError(f"scatter has no mode {mode!r}")
    return result.reshape(data.shape)
