"""What a batch of texts tells about one use of a weight, as sums that add up over batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from exporter.calibration.feeds import Batch
from exporter.runners.torch_graph.products import WeightUse

TOGETHER = 2048  # tokens whose products are summed in float32
Part = tuple[Tensor, Tensor, Batch]  # inputs of a use, the share of each of its products, and their batch


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


def statistic(use: WeightUse, parts: Iterable[Part], rows: int) -> Tensor:
    """float64, of a weight with so many rows: for a lookup how often each was looked up, `[rows]`; for a product
    Σ share · x xᵀ, `[in, in]`, or Σ share · x², `[rows]`, where rows are inputs. parts: x, share float32 `[n]`, and
    the batch that they are of."""
    if use.kind == "linear" and use.transposed:
        flat = runs((columns(use, x, batch), share) for x, share, batch in parts)
        return sum((_squares(x, share) for x, share in flat), torch.zeros(()))
    return sum((_by_row(use, part, rows) for part in parts), torch.zeros(()))


def _by_row(use: WeightUse, part: Part, rows: int) -> Tensor:
    x, share, batch = part
    if use.kind == "embedding":
        ids = (x[batch.real.to(x.device)] if x.shape == batch.real.shape else x).reshape(-1).cpu()
        return torch.bincount(torch.where(ids < 0, ids + rows, ids), minlength=rows).double()
    return (columns(use, x, batch).float() ** 2 * share.to(x.device)[:, None]).sum(0).cpu().double()


def _squares(x: Tensor, share: Tensor) -> Tensor:
    """Σ share · x xᵀ, float64 `[in, in]`, of x `[n, in]`."""
    rooted = x.float() * share.to(x.device).sqrt()[:, None]
    own = rooted.numpy() if x.device.type == "cpu" else None
    # numpy sees that the product is symmetric, and takes half of it
    return (rooted.T @ rooted if own is None else torch.from_numpy(own.T @ own)).cpu().double()


def runs(parts: Iterable[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
    """The same tensors, joined to some `TOGETHER` rows: what comes out of a product is large, and summed in float64."""
    waiting: list[tuple[Tensor, ...]] = []
    for part in parts:
        waiting.append(part)
        if sum(len(own[0]) for own in waiting) >= TOGETHER:
            yield tuple(map(torch.cat, zip(*waiting, strict=True)))
            waiting = []
    if waiting:
        yield tuple(map(torch.cat, zip(*waiting, strict=True)))
