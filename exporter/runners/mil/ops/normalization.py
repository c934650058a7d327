"""Normalizations and softmax. Statistics are computed in float32; only the result is rounded."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from exporter.runners.mil.ops.registry import OpTable

OPS = OpTable()


@OPS()
def layer_norm(
    x: Tensor,
    axes: tuple[int, ...] | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) · gamma + beta over `axes` (default: all)."""
    over = sorted(range(x.ndim)[axis] for axis in (range(x.ndim) if axes is None else axes))
    if over == list(range(x.ndim - len(over), x.ndim)):
        return F.layer_norm(x, [x.shape[axis] for axis in over], gamma, beta, epsilon)
    shape = [size if axis in over else 1 for axis, size in enumerate(x.shape)]
    variance, mean = torch.var_mean(x, over, correction=0, keepdim=True)
    normal = (x - mean) / torch.sqrt(variance + epsilon)
    scaled = normal if gamma is None else normal * gamma.reshape(shape)
    return scaled if beta is None else scaled + beta.reshape(shape)


@OPS()
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) · gamma + beta per channel of x `[n, channels, …]`."""
    return F.batch_norm(x, mean, variance, gamma, beta, training=False, eps=epsilon)


@OPS()
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`."""
    return torch.softmax(x, axis)
