"""What a batch of texts tells about one use of a weight, as sums that add up over batches."""

from __future__ import annotations

import torch
from torch import Tensor

from exporter.calibration.feeds import Batch
from exporter.calibration.weights import WeightUse


def at_positions(value: Tensor, use: WeightUse, batch: Batch) -> Tensor:
    """`[n, width]` of what goes into or comes out of a use, without padding; the same order for both."""
    if use.window is not None:
        return value.movedim(1, -1).reshape(-1, value.shape[1])
    real = batch.real.to(value.device)
    if value.dim() > 2 and value.shape[:2] == real.shape:
        value = value[real]
    return value.reshape(-1, value.shape[-1])


def columns(use: WeightUse, x: Tensor, batch: Batch) -> Tensor:
    """What the matrix is multiplied with, `[n, in]`, in the order of `at_positions`."""
    return use.columns(x) if use.window is not None else at_positions(x, use, batch)


def statistic(use: WeightUse, x: Tensor, share: Tensor, batch: Batch, rows: int) -> Tensor:
    """float64, of a weight with so many rows: for a lookup how often each was looked up, `[rows]`; for a product
    Σ share · x xᵀ, `[in, in]`, or Σ share · x², `[rows]`, where rows are inputs. share: float32 `[n]`."""
    if use.kind == "embedding":
        ids = (x[batch.real.to(x.device)] if x.shape == batch.real.shape else x).reshape(-1).cpu()
        return torch.bincount(torch.where(ids < 0, ids + rows, ids), minlength=rows).double()
    flat = columns(use, x, batch)
    if use.transposed:
        return gram(flat, flat, share)
    return (flat.float() ** 2 * share.to(x.device)[:, None]).sum(0).cpu().double()


def gram(x: Tensor, y: Tensor, share: Tensor) -> Tensor:
    """Σ share · x yᵀ, float64 `[in, in]`; summed in float32, a batch at a time."""
    return ((x.float() * share.to(x.device)[:, None]).T @ y.float()).cpu().double()
