"""Reductions. Sums are computed in float32 and rounded once.

Core ML promises no order among equal values: "in case of ties, the identity of the return value is not guaranteed"
(reduce_argmax in coremltools' reference). Here the last of them comes first. So a program that relies on the first one,
as ONNX has it, fails its comparison.
"""

from __future__ import annotations

import torch
from torch import Tensor

from exporter.runners.mil.ops.registry import OpTable

OPS = OpTable()


def _over(x: Tensor, axes: tuple[int, ...] | None) -> tuple[int, ...]:
    """The axes to reduce; None means all. An empty tuple is an error: for torch, unlike MIL, it would mean all."""
    if axes == ():
        raise ValueError("a reduction needs at least one axis")
    return tuple(range(x.ndim)) if axes is None else tuple(range(x.ndim)[axis] for axis in axes)


@OPS()
def reduce_sum(x: Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False) -> Tensor:
    """Sum."""
    return x.sum(_over(x, axes), keepdim=keep_dims, dtype=x.dtype)


@OPS()
def reduce_mean(x: Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False) -> Tensor:
    """Mean. For integers its fraction is dropped, as in coremltools' value inference."""
    if x.is_floating_point():
        return x.mean(_over(x, axes), keepdim=keep_dims)
    return x.to(torch.float64).mean(_over(x, axes), keepdim=keep_dims).to(x.dtype)


@OPS(exact=True)
def reduce_max(x: Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False) -> Tensor:
    """Largest value."""
    return x.amax(_over(x, axes), keepdim=keep_dims)


@OPS(exact=True)
def reduce_min(x: Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False) -> Tensor:
    """Smallest value."""
    return x.amin(_over(x, axes), keepdim=keep_dims)


@OPS()
def reduce_prod(x: Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False) -> Tensor:
    """Product."""
    for axis in sorted(_over(x, axes), reverse=True):
        x = x.prod(axis, keepdim=keep_dims, dtype=x.dtype)
    return x


@OPS()
def reduce_l1_norm(x: Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False) -> Tensor:
    """Sum of absolute values."""
    return x.abs().sum(_over(x, axes), keepdim=keep_dims, dtype=x.dtype)


@OPS()
def reduce_l2_norm(x: Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False) -> Tensor:
    """Square root of the sum of squares."""
    return (x * x).sum(_over(x, axes), keepdim=keep_dims).sqrt().to(x.dtype)


@OPS()
def reduce_sum_square(x: Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False) -> Tensor:
    """Sum of squares."""
    return (x * x).sum(_over(x, axes), keepdim=keep_dims, dtype=x.dtype)


@OPS()
def reduce_log_sum(x: Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False) -> Tensor:
    """Logarithm of the sum."""
    return x.sum(_over(x, axes), keepdim=keep_dims).log()


@OPS()
def reduce_log_sum_exp(x: Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False) -> Tensor:
    """Logarithm of the sum of exponentials."""
    return torch.logsumexp(x, _over(x, axes), keepdim=keep_dims)


@OPS()
def reduce_argmax(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """Index of the largest value; of the last one if several are equal."""
    _index_type(output_dtype)
    return _last(x == x.amax(axis, keepdim=True), axis, keep_dims)


@OPS()
def reduce_argmin(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """Index of the smallest value; of the last one if several are equal."""
    _index_type(output_dtype)
    return _last(x == x.amin(axis, keepdim=True), axis, keep_dims)


@OPS()
def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Cumulative sums. exclusive: without the element itself; reverse: from the end."""
    ordered = x.flip(axis) if reverse else x
    sums = ordered.cumsum(axis, dtype=x.dtype)
    result = sums - ordered if exclusive else sums
    return result.flip(axis) if reverse else result


@OPS(ignores=("sort",))
def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, Tensor]:
    """The k largest (ascending: smallest) values and their indices; k = -1: all. Always sorted.

    Among equal values, those with the highest indices are taken, and come first.
    """
    _index_type(output_indices_dtype)
    size = x.shape[axis]
    count = size if k == -1 else k
    if count > size:
        raise ValueError(f"the {count} largest of {size} values")
    values, places = x.flip(axis).sort(dim=axis, descending=not ascending, stable=True)
    values, indices = values.narrow(axis, 0, count), size - 1 - places.narrow(axis, 0, count)
    return (values, indices.to(torch.int32)) if return_indices else values


def _last(found: Tensor, axis: int, keep_dims: bool) -> Tensor:
    """Index of the last True along an axis; 0 if there is none."""
    places = torch.arange(found.shape[axis], dtype=torch.int32)
    shape = [-1 if i == axis % found.ndim else 1 for i in range(found.ndim)]
    return (found.to(torch.int32) * places.reshape(shape)).amax(axis, keepdim=keep_dims)


def _index_type(name: str) -> None:
    if name not in ("int32", "uint16"):
        raise ValueError(f"indices must be int32 or uint16, not {name!r}")
