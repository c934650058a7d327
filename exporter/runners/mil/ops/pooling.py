"""Pooling over one to three spatial axes of `[n, channels, d…]`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from exporter.runners.mil.ops.linear import spatial_padding
from exporter.runners.mil.ops.registry import OpTable

OPS = OpTable()


@OPS(exact=True)
def max_pool(
    x: Tensor,
    kernel_sizes: tuple[int, ...],
    pad_type: str,
    strides: tuple[int, ...] | None = None,
    pad: tuple[int, ...] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest value of each window; padding is minus infinity."""
    spatial = _spatial(x, kernel_sizes, ceil_mode)
    around = spatial_padding(x, kernel_sizes, strides or (1,) * spatial, (pad_type, pad))
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[spatial - 1]
    return function(F.pad(x, around, value=-math.inf), kernel_sizes, strides or 1)


@OPS()
def avg_pool(  # noqa: PLR0913, PLR0917 - the op's own parameters
    x: Tensor,
    kernel_sizes: tuple[int, ...],
    pad_type: str,
    strides: tuple[int, ...] | None = None,
    pad: tuple[int, ...] | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """The mean of each window; padding counts as zeros unless `exclude_padding_from_average`."""
    spatial = _spatial(x, kernel_sizes, ceil_mode)
    around = spatial_padding(x, kernel_sizes, strides or (1,) * spatial, (pad_type, pad))
    function = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[spatial - 1]
    means: Tensor = function(F.pad(x, around), kernel_sizes, strides or 1)
    if not exclude_padding_from_average:
        return means
    inside = F.pad(torch.ones((1, 1, *x.shape[2:])), around)
    return means / function(inside, kernel_sizes, strides or 1)


def _spatial(x: Tensor, kernel_sizes: tuple[int, ...], ceil_mode: bool) -> int:
    """The number of spatial axes. Raises ValueError for forms of the op that our writer doesn't emit."""
    spatial = x.ndim - 2
    if not 1 <= spatial <= 3 or len(kernel_sizes) != spatial:
        raise ValueError(f"a pool of shape {list(kernel_sizes)} doesn't fit an input of shape {list(x.shape)}")
    if ceil_mode:
        raise ValueError("the reference runtime has no ceil_mode; use padding instead")
    return spatial
