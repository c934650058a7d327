"""The cost of errors in a weight, as `Moments`, from the weight's inputs and its saliency.

An error E in a weight `[out, in]` changes its output by E·x. The distance of the model's outputs then grows by
½ Σ g² (E·x)², where g² is the product of a token's and a row's saliency (`saliency.py`). So `Fit.cost` divided by twice
the number of output rows predicts the distance: in nats for a decoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exporter.calibration.feeds import Batch
from exporter.calibration.saliency import UseSaliency
from exporter.calibration.statistics import chunks, columns, statistic
from exporter.graph.moments import Moments
from exporter.runners.torch_graph.products import WeightUse

SMOOTHING = 0.1  # of the mean, added to every row's saliency: a row that these few texts don't use may still matter
RIDGE = 0.3  # of the mean curvature, added to the diagonal: keeps a corrected weight close to the original


def use_moments(use: WeightUse, total: Tensor, saliency: UseSaliency) -> Moments:
    """The moments of one use of a weight. total: the use's `statistic` over all batches."""
    if use.kind == "embedding":
        assert saliency.outer is not None
        return _moments(saliency.outer / total.sum(), total)
    if not use.transposed:  # rows are inputs: an error in a row reaches every output; only squares can be kept by row
        return _moments(torch.diag(saliency.rows / saliency.rows.mean().clamp_min(1e-30)), total)
    return _moments(total, saliency.rows / saliency.rows.mean().clamp_min(1e-30))


def total_statistic(
    use: WeightUse, inputs: Sequence[Tensor], batches: Sequence[Batch], saliency: UseSaliency, rows: int
) -> Tensor:
    """The use's `statistic` over all batches. inputs: the input of the use in each batch."""
    if saliency.total is not None:
        return saliency.total
    return statistic(use, zip(inputs, saliency.tokens, batches, strict=True), rows)


def sum_moments(moments: Sequence[Moments]) -> Moments:
    """The moments of several uses of one weight: their costs add up."""
    if len(moments) == 1:
        return moments[0]
    bases = np.concatenate([m.bases for m in moments])
    return Moments(bases, np.concatenate([m.coefficients for m in moments], axis=1))


def corrected_weight(
    use: WeightUse, weight: Tensor, inputs: tuple[Sequence[Tensor], Sequence[Tensor]], total: Tensor,
    batches: Sequence[Batch], saliency: UseSaliency,
) -> NDArray[np.float32]:  # fmt: skip
    """A weight T, float32 `[out, in]`, that corrects errors in its inputs: T·y is close to W·x.

    W is the original weight, x its exact inputs and y its actual ones, after earlier weights were replaced. T minimizes
    the squares of W·x - T·y, weighted as in `use_moments`, with a ridge penalty on T - W.

    inputs: exact, actual, one tensor for each batch. total: the `statistic` of the actual inputs, float64 `[in, in]`;
    overwritten to save memory.
    """
    parts = zip(*inputs, saliency.tokens, batches, strict=True)
    vectors = ((columns(use, x, batch), columns(use, y, batch), share) for x, y, share, batch in parts)
    missed = _output_error(weight, vectors)
    weight = weight.double().cpu()
    diagonal = total.diagonal()
    diagonal += RIDGE * diagonal.mean().clamp_min(1e-30)
    factor, failed = torch.linalg.cholesky_ex(total)
    moved = weight if failed else weight + torch.cholesky_solve(missed.T, factor).T
    target: NDArray[np.float32] = moved.float().numpy()
    return target


def _output_error(weight: Tensor, parts: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Σ share · W (x - y) yᵀ, float64 `[out, in]`, over parts of exact x and actual y `[n, in]`, and share `[n]`."""
    rows, size = weight.shape
    first = 2 * rows < size  # computing W·(x - y) first takes fewer operations than Σ (x - y) yᵀ `[in, in]`
    matrix = weight.float()
    total: Tensor | float = 0.0
    for x, y, share in chunks(parts):
        error = (x.float() - y.float()) * share.to(x.device)[:, None]
        error = error @ matrix.T if first else error
        total = (error.T @ y.float()).cpu().double() + total
    assert isinstance(total, Tensor)  # every session has texts
    return total if first else weight.double().cpu() @ total


def _moments(base: Tensor, rows: Tensor) -> Moments:
    rows = rows + SMOOTHING * rows.mean()
    base = (base + base.T).div_(2).float()
    return Moments(base.numpy()[None], rows.float().numpy()[:, None])
