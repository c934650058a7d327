"""Ops on images: resizing the last two axes, pixel shuffling, normalization across channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from exporter.runners.mil.ops.registry import OpTable, check_size

OPS = OpTable()


@OPS()  # not exact: scales are floats of another type than x
def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0) -> Tensor:
    """Element i of the result is element floor(i / scale) of the last two axes of x."""
    for axis, scale in ((-2, scale_factor_height), (-1, scale_factor_width)):
        size = x.shape[axis]
        if scale <= 0:
            raise ValueError(f"a scale must be positive, not {scale}")
        check_size((*x.shape[:-2], int(size * scale)))
        positions = (torch.arange(int(size * scale)) / scale).floor().to(torch.int64).clamp(max=size - 1)
        x = x.index_select(axis, positions)
    return x


@OPS()
def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    """Linear interpolation along the last two axes of x, at the positions of the sampling mode."""
    check_size((*x.shape[:-2], target_size_height, target_size_width))
    for axis, result in ((-2, target_size_height), (-1, target_size_width)):
        positions = _positions(x.shape[axis], result, sampling_mode)
        low = positions.floor()
        weight = (positions - low).to(x.dtype).reshape(-1, *[1] * (-1 - axis))
        first = x.index_select(axis, low.to(torch.int64))
        second = x.index_select(axis, (low.to(torch.int64) + 1).clamp(max=x.shape[axis] - 1))
        x = first + (second - first) * weight
    return x


def _positions(size: int, result: int, mode: str) -> Tensor:
    """The positions at which an axis is sampled, by the formulas in coremltools' documentation of resize_bilinear."""
    i = torch.arange(result, dtype=torch.float64)
    if mode == "UNALIGN_CORNERS":
        spacing = size / result
        at = i * spacing + 0.5 * spacing - 0.5
    elif mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / result
        at = 0.5 * delta + i * delta
    elif result == 1:  # the modes below divide by result - 1; only ALIGN_CORNERS defines this case
        if mode != "ALIGN_CORNERS":
            raise ValueError(f"{mode} is not defined for a result of one element")
        at = torch.full((1,), (size - 1) / 2, dtype=torch.float64)
    elif mode in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        at = i * (size - 1) / (result - 1)
    elif mode == "DEFAULT":
        at = i * (size - size / result) / (result - 1)
    else:
        raise ValueError(f"resize_bilinear has no sampling mode {mode!r}")
    return at.clamp(0, size - 1)


@OPS(exact=True)
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """`[n, c · f², h, w]` to `[n, c, h · f, w · f]`, like PyTorch's PixelShuffle."""
    return F.pixel_shuffle(x, upscale_factor)


@OPS(exact=True)
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """`[n, c, h, w]` to `[n, c · f², h / f, w / f]`, like PyTorch's PixelUnshuffle."""
    return F.pixel_unshuffle(x, downscale_factor)


@OPS()
def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha / size · Σ x²)^beta, summed over `size` neighbouring channels."""
    if size % 2 == 0:
        raise ValueError(f"local_response_norm needs an odd number of channels, not {size}")
    return F.local_response_norm(x, size, alpha, beta, k)
