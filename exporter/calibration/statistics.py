"""Statistics of the inputs of one use of a weight, as sums over batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from exporter.calibration.feeds import Batch
from exporter.runners.torch_graph.products import WeightUse

CHUNK_TOKENS = 2048  # products of so many tokens are summed in float32, their sums in float64
Part = tuple[Tensor, Tensor, Batch]  # a use's input, the saliency of each of its tokens, the batch


def at_positions(value: Tensor, use: WeightUse, batch: Batch) -> Tensor:
    """A use's input or output as `[n, width]`, without padding; both in the same order."""
    if use.window is not None:
        return value.movedim(1, -1).reshape(-1, value.shape[1])
    real = batch.real.to(value.device)
    if value.dim() > 2 and value.shape[:2] == real.shape:
        value = value[real]
    return value.reshape(-1, value.shape[-1])


def columns(use: WeightUse, x: Tensor, batch: Batch) -> Tensor:
    """The vectors that the matrix is multiplied with, `[n, in]`, in the order of `at_positions`."""
    return use.columns(x) if use.window is not None else at_positions(x, use, batch)


def statistic(use: WeightUse, parts: Iterable[Part], rows: int) -> Tensor:
    """The statistic of a use of a weight with `rows` rows, float64.

    For a lookup: how often each row was looked up, `[rows]`. For a product: Σ share · x xᵀ, `[in, in]`; or, if the
    weight's rows are inputs, Σ share · x², `[rows]`. parts: (x, share float32 `[n]`, batch) for each batch.
    """
    if use.kind == "linear" and use.transposed:
        flat = chunks((columns(use, x, batch), share) for x, share, batch in parts)
        return sum((_squares(x, share) for x, share in flat), torch.zeros(()))
    return sum((_by_row(use, part, rows) for part in parts), torch.zeros(()))


def _by_row(use: WeightUse, part: Part, rows: int) -> Tensor:
    x, share, batch = part
    if use.kind == "embedding":
        ids = (x[batch.real.to(x.device)] if x.shape == batch.real.shape else x).reshape(-1).cpu()
        return torch.bincount(torch.where(ids < 0, ids + rows, ids), minlength=rows).double()
    return (columns(use, x, batch).float() ** 2 * share.to(x.device)[:, None]).sum(0).cpu().double()


def _squares(x: Tensor, share: Tensor) -> Tensor:
    """Σ share · x xᵀ, float64 `[in, in]`, for x `[n, in]`."""
    rooted = x.float() * share.to(x.device).sqrt()[:, None]
    own = rooted.numpy() if x.device.type == "cpu" else None
    # numpy detects that the product is symmetric and computes only half of it
    return (rooted.T @ rooted if own is None else torch.from_numpy(own.T @ own)).cpu().double()


def chunks(parts: Iterable[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
    """The same tensors, joined into chunks of about `CHUNK_TOKENS` rows: fewer large products to sum in float64."""
    waiting: list[tuple[Tensor, ...]] = []
    for part in parts:
        waiting.append(part)
        if sum(len(own[0]) for own in waiting) >= CHUNK_TOKENS:
            yield tuple(map(torch.cat, zip(*waiting, strict=True)))
            waiting = []
    if waiting:
        yield tuple(map(torch.cat, zip(*waiting, strict=True)))
