"""What errors in a weight cost, from its inputs and from what matters: `Moments` in the unit of the objective.

An error E in a weight `[out, in]` changes an output by E·x; half of Σ g² (E·x)² is what the answer's distance grows by,
with g² as `saliency.py` measures it: a token's share times a row's. So `Fit.cost` over twice the number of rows of the
answers predicts the distance, in nats for a decoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exporter.calibration.feeds import Batch
from exporter.calibration.saliency import UseSaliency
from exporter.calibration.statistics import columns, runs, statistic
from exporter.graph.moments import Moments
from exporter.runners.torch_graph.products import WeightUse

SMOOTHING = 0.1  # of the mean, added to each row's share: texts are few, and a row that none of them needs may matter
PULL = 0.3  # of the mean curvature: how much a shifted weight is drawn to the original


def use_moments(use: WeightUse, total: Tensor, matters: UseSaliency) -> Moments:
    """Of one use of a weight. total: its `statistic` over all batches."""
    if use.kind == "embedding":
        assert matters.outer is not None
        return _moments(matters.outer / total.sum(), total)
    if not use.transposed:  # rows are inputs: their errors meet in every output, and only their squares stay apart
        return _moments(torch.diag(matters.rows / matters.rows.mean().clamp_min(1e-30)), total)
    return _moments(total, matters.rows / matters.rows.mean().clamp_min(1e-30))


def total_of(
    use: WeightUse, inputs: Sequence[Tensor], batches: Sequence[Batch], matters: UseSaliency, rows: int
) -> Tensor:
    """The `statistic` over all batches. inputs: of the use, one a batch."""
    if matters.total is not None:
        return matters.total
    return statistic(use, zip(inputs, matters.tokens, batches, strict=True), rows)


def joined(moments: Sequence[Moments]) -> Moments:
    """Of several uses of one weight, whose costs add up."""
    if len(moments) == 1:
        return moments[0]
    bases = np.concatenate([m.bases for m in moments])
    return Moments(bases, np.concatenate([m.coefficients for m in moments], axis=1))


def shifted(
    use: WeightUse, weight: Tensor, inputs: tuple[Sequence[Tensor], Sequence[Tensor]], total: Tensor,
    batches: Sequence[Batch], matters: UseSaliency,
) -> NDArray[np.float32]:  # fmt: skip
    """The weight `[out, in]` that makes of the inputs it will get what the original made of those without errors.

    inputs: exact, actual; total: the `statistic` of the actual ones, used up: as wide as the inputs in float64, it is
    large. The least squares of W·x - T·y, weighted as in `use_moments`, with T drawn to W.
    """
    parts = zip(*inputs, matters.tokens, batches, strict=True)
    missed = _missed(weight, ((columns(use, x, batch), columns(use, y, batch), share) for x, y, share, batch in parts))
    weight = weight.double().cpu()
    diagonal = total.diagonal()
    diagonal += PULL * diagonal.mean().clamp_min(1e-30)
    factor, failed = torch.linalg.cholesky_ex(total)
    moved = weight if failed else weight + torch.cholesky_solve(missed.T, factor).T
    target: NDArray[np.float32] = moved.float().numpy()
    return target


def _missed(weight: Tensor, parts: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Σ share · W (x - y) yᵀ, float64 `[out, in]`, over parts of exact x and actual y `[n, in]`, and share `[n]`."""
    rows, size = weight.shape
    first = 2 * rows < size  # W·(x - y) before its product with y takes fewer operations than a sum `[in, in]`
    matrix = weight.float()
    total: Tensor | float = 0.0
    for x, y, share in runs(parts):
        error = (x.float() - y.float()) * share.to(x.device)[:, None]
        error = error @ matrix.T if first else error
        total = (error.T @ y.float()).cpu().double() + total
    assert isinstance(total, Tensor)  # there is no session without texts
    return total if first else weight.double().cpu() @ total


def _moments(base: Tensor, rows: Tensor) -> Moments:
    rows = rows + SMOOTHING * rows.mean()
    base = (base + base.T).div_(2).float()
    return Moments(base.numpy()[None], rows.float().numpy()[:, None])
