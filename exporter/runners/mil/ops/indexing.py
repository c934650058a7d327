"""Gather and scatter. Indices count from 0 and must lie inside: negative ones are undefined since iOS 17."""

from __future__ import annotations

import torch
from torch import Tensor

from exporter.runners.mil.ops.registry import OpTable, check_indices, check_size

OPS = OpTable()


@OPS(exact=True, ignores=("validate_indices",))
def gather(x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0) -> Tensor:
    """Slices of x along `axis`: shape x[:axis] + indices[batch_dims:] + x[axis + 1:].

    The first `batch_dims` axes of x and indices belong together. Indices are checked whatever `validate_indices` says:
    without it Core ML reads something undefined, which a reference must not hide.
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
    """For each place of `indices` the element of x that it names along `axis`; other axes agree in size."""
    check_indices(indices, x.shape[axis])
    _check_aligned(x, indices, axis)
    return x.gather(axis, indices.to(torch.int64))


@OPS(exact=True, ignores=("validate_indices",))
def gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0) -> Tensor:
    """x[indices[…, 0], indices[…, 1], …] behind the first `batch_dims` axes, which belong together."""
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
    """Puts each element of `updates` where `indices`, of the same shape, says along `axis` of a copy of data."""
    at = range(data.ndim)[axis]
    check_indices(indices, data.shape[at])
    _check_aligned(data, indices, at)
    if updates.shape != indices.shape:
        raise ValueError(f"updates {list(updates.shape)} at indices {list(indices.shape)}")
    places = torch.meshgrid(*[torch.arange(size) for size in indices.shape], indexing="ij")
    return _put(data, (*places[:at], indices.to(torch.int64), *places[at + 1 :]), updates, mode)


@OPS(same=("data", "updates"), ignores=("validate_indices",))
def scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add") -> Tensor:
    """Puts slices of `updates` at data[indices[…, 0], indices[…, 1], …] of a copy of data."""
    depth = indices.shape[-1]
    if not 0 < depth <= data.ndim or tuple(updates.shape) != (*indices.shape[:-1], *data.shape[depth:]):
        raise ValueError(f"updates {list(updates.shape)} of data {list(data.shape)} at indices {list(indices.shape)}")
    for axis in range(depth):
        check_indices(indices[..., axis], data.shape[axis])
    return _put(data, indices.to(torch.int64).unbind(-1), updates, mode)


def _check_aligned(x: Tensor, indices: Tensor, axis: int) -> None:
    at = range(x.ndim)[axis]
    same = x.ndim == indices.ndim and all(
        place == at or x.shape[place] == indices.shape[place] for place in range(x.ndim)
    )
    if not same:
        raise ValueError(f"indices {list(indices.shape)} along axis {at} of {list(x.shape)}")


def _put(data: Tensor, places: tuple[Tensor | slice, ...], updates: Tensor, mode: str) -> Tensor:
    """Combines `updates` into a copy of data, one after the other where places repeat."""
    flat = torch.arange(data.numel()).reshape(data.shape)[places].reshape(-1)
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
        raise ValueError(f"no scatter of {data.dtype} by {mode!r}")
    return result.reshape(data.shape)
