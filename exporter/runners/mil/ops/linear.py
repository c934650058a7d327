"""Matrix products and convolution. Products are summed in float32 and rounded once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from exporter.runners.mil.ops.registry import OpTable

OPS = OpTable()


@OPS()
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias: x `[…, in]`, weight `[out, in]`, bias `[out]`."""
    return F.linear(x, weight, bias)


@OPS()
def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """Matrix product with numpy's broadcasting of leading axes; a transposition has no effect on vectors."""
    left = x.transpose(-1, -2) if transpose_x and x.ndim > 1 else x
    right = y.transpose(-1, -2) if transpose_y and y.ndim > 1 else y
    return torch.matmul(left, right)


@OPS()
def conv(  # noqa: PLR0913, PLR0917 - the op's own parameters
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    pad: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    groups: int = 1,
) -> Tensor:
    """Convolution of x `[n, in, d…]` with weight `[out, in / groups, k…]` over 1 to 3 spatial axes."""
    spatial = x.ndim - 2
    if not 1 <= spatial <= 3 or weight.ndim != x.ndim:
        raise ValueError(f"conv of rank {x.ndim} with a weight of rank {weight.ndim}")
    steps, dilation = strides or (1,) * spatial, dilations or (1,) * spatial
    windows = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilation, strict=True)]
    around = spatial_padding(x, windows, steps, (pad_type, pad))
    function = (F.conv1d, F.conv2d, F.conv3d)[spatial - 1]
    return function(F.pad(x, around), weight, bias, stride=steps, dilation=dilation, groups=groups)


@OPS()
def conv_transpose(  # noqa: PLR0913, PLR0917 - the op's own parameters
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    strides: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    groups: int = 1,
) -> Tensor:
    """Transposed convolution of x `[n, in, d…]` with weight `[in, out / groups, k…]`; `pad` is cropped."""
    spatial = x.ndim - 2
    if not 1 <= spatial <= 3 or weight.ndim != x.ndim or pad_type not in ("valid", "custom"):
        raise ValueError(f"conv_transpose of rank {x.ndim} with a weight of rank {weight.ndim}, {pad_type!r}")
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[spatial - 1]
    full: Tensor = function(x, weight, bias, stride=strides or 1, dilation=dilations or 1, groups=groups)
    if pad_type == "custom":
        for axis, (before, behind) in enumerate(zip((pad or ())[::2], (pad or ())[1::2], strict=True), 2):
            full = full.narrow(axis, before, full.shape[axis] - before - behind)
    return full


def spatial_padding(
    x: Tensor, windows: Sequence[int], steps: Sequence[int], padding: tuple[str, tuple[int, ...] | None]
) -> list[int]:
    """The padding of the spatial axes of x, in torch's order (last axis first), for `windows` that move by `steps`.

    padding: MIL's `pad_type` and `pad`.
    """
    pad_type, pad = padding
    spatial = x.ndim - 2
    if pad_type == "custom":
        return [side for axis in reversed(range(spatial)) for side in (pad or ())[2 * axis : 2 * axis + 2]]
    pairs = [_around(x.shape[2 + axis], windows[axis], steps[axis], pad_type) for axis in reversed(range(spatial))]
    return [side for pair in pairs for side in pair]


def _around(size: int, window: int, step: int, pad_type: str) -> tuple[int, int]:
    """Zeros before and after one axis. `same` gives ceil(size / step) results; an odd zero goes to the end."""
    if pad_type == "valid":
        return 0, 0
    if pad_type not in ("same", "same_lower"):
        raise ValueError(f"unknown pad_type {pad_type!r}")
    total = max((-(-size // step) - 1) * step + window - size, 0)
    less, more = total // 2, total - total // 2
    return (less, more) if pad_type == "same" else (more, less)
