"""Input of the fit of one weight: the cost of its errors, scaled and factored. And the result of a fit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.compress.kmeans import cores, palettize
from exporter.graph.moments import Moments
from exporter.graph.palette import BLOCK, Palette

ROWS_PER_TASK = 32  # approximate
MIN_DIAGONAL = (
    1e-4  # added to the diagonal before factoring, besides the damping: it bounds the factors of bases without data
)
MAX_FACTORS = 8  # Cholesky factors, besides one for each basis


@dataclass(frozen=True)
class FitOptions:
    """damping: added to the diagonal of each basis, as a share of its mean; it stands for unseen data.

    rounds: times that LUTs are fitted to new indices. sweeps: of coordinate descent per round, at most.
    """

    damping: float = 0.01
    rounds: int = 3
    sweeps: int = 10


@dataclass(frozen=True)
class Fit:
    """palette: for each group, the better of the fitted and the k-means palette. row_costs: its costs, float64 `[out]`.

    plain_cost: cost of the k-means palette, which ignores the moments. Costs exclude the damping.
    """

    palette: Palette
    row_costs: NDArray[np.float64]
    plain_cost: float

    @property
    def cost(self) -> float:
        """Σ_i e_iᵀ H_i e_i of the palette; at most `plain_cost`."""
        return float(self.row_costs.sum())


def row_costs(weight: NDArray[np.float32], dense: NDArray[np.float32], moments: Moments) -> NDArray[np.float64]:
    """The cost e_iᵀ H_i e_i of every row, float64 `[out]`; e = weight - dense, both float32 `[out, in]`."""
    return decoded_costs(weight, lambda rows: dense[rows], moments)


Decoder = Callable[[slice], NDArray[np.float32]]
"""Decodes some rows of a palette: all rows would take as much memory as the weight."""


def decoder(lut: NDArray[np.float16], indices: NDArray[np.uint8], group_size: int) -> Decoder:
    """The decoder for a LUT and unpacked indices."""
    luts = lut.astype(np.float32)

    def decoded(part: slice) -> NDArray[np.float32]:
        rows = np.arange(part.start, min(part.stop, len(indices)))
        return np.take_along_axis(luts[rows // group_size], indices[part], 1)

    return decoded


def decoded_costs(weight: NDArray[np.float32], decoded: Decoder, moments: Moments) -> NDArray[np.float64]:
    """`row_costs` of a palette, which is decoded in parts."""
    from exporter.compress.kernels import fit_compiled

    costs = np.zeros(len(weight))
    bases = np.require(moments.bases, np.float32, ["C", "A"])

    def run(first: int) -> None:
        rows = slice(first, first + ROWS_PER_TASK)
        errors = weight[rows].astype(np.float64) - decoded(rows).astype(np.float64)
        work = np.empty_like(errors), np.empty((8, weight.shape[1]))
        for base, shares in zip(bases, moments.coefficients[rows].T, strict=True):
            fit_compiled.add_costs(errors, base, np.ascontiguousarray(shares), costs[rows], work)

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(run, range(0, len(weight), ROWS_PER_TASK)))
    return np.maximum(costs, 0)


def check_fit(weight: NDArray[np.float32], moments: Moments) -> None:
    """Raises ValueError if the moments don't fit the weight."""
    if weight.ndim != 2:
        raise ValueError(f"fit_palette takes a matrix, not {weight.shape}")
    bases, coefficients = moments.bases, moments.coefficients
    if bases.shape[1:] != (weight.shape[1],) * 2 or len(coefficients) != len(weight):
        raise ValueError(f"moments {bases.shape}, {coefficients.shape} of a weight {weight.shape}")
    if not (np.isfinite(bases).all() and np.isfinite(coefficients).all() and coefficients.min(initial=0) >= 0):
        raise ValueError("moments are not finite, or have negative coefficients")
    if np.diagonal(bases, axis1=1, axis2=2).min(initial=0) < 0:
        raise ValueError("moments have a negative diagonal: they are not sums of squares")


@dataclass(frozen=True)
class Task:
    """The arguments `problem` and `factors` of the kernels, for all rows. The bases are scaled and damped.

    weight: float32 `[out, in]`; bases: `[k, in, in]`, with diagonals `[k, in]` and coefficients `[out, k]`.
    lower: lower Cholesky factors `[f, in, in]`; inverse: of their diagonals `[f, in]`; orders: of their columns, int64
        `[f, in]`; factor_of: each row's factor, int64 `[out]`.
    """

    weight: NDArray[np.float32]
    bases: NDArray[np.float32]
    diagonals: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    lower: NDArray[np.float32]
    inverse: NDArray[np.float32]
    orders: NDArray[np.int64]
    factor_of: NDArray[np.int64]

    def importance(self, rows: slice) -> NDArray[np.float32]:
        """The diagonals of H, float32 `[rows, in]`."""
        importance = np.zeros(self.weight[rows].shape, np.float32)
        for shares, diagonal in zip(self.coefficients[rows].T, self.diagonals, strict=True):
            importance += shares[:, None] * diagonal  # not BLAS, which may reorder sums with the number of threads
        return importance


def fit_task(weight: NDArray[np.float32], moments: Moments, options: FitOptions) -> Task:
    """Scales, damps and factors the bases. The arguments have passed `check_fit`."""
    # Scaled to a mean curvature of 1 per basis and a largest coefficient of 1, to stay within the range of float32.
    means = np.diagonal(moments.bases, axis1=1, axis2=2).mean(axis=1, dtype=np.float64)
    bases = np.empty_like(moments.bases, order="C")
    for scaled, base, mean in zip(bases, moments.bases, means, strict=True):
        np.multiply(base, np.float64(1 / mean if mean else 0), out=scaled, casting="same_kind")
        scaled.flat[:: len(scaled) + 1] += np.float32(options.damping)
    diagonals = np.diagonal(bases, axis1=1, axis2=2).copy()
    scales = moments.coefficients * means
    mixes, factor_of = _mixes(scales)
    lower, orders = _factors(bases, mixes)
    inverse = np.reciprocal(np.diagonal(lower, axis1=1, axis2=2))
    coefficients = (scales / (scales.max(initial=0) or 1)).astype(np.float32, order="C")
    weight = np.require(weight, np.float32, ["C", "A"])
    return Task(weight, bases, diagonals, coefficients, lower, np.ascontiguousarray(inverse), orders, factor_of)


def _mixes(scales: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A few mixes of the bases, `[f, k]`, each of sum 1, and for each row of `scales` the index of the nearest mix."""
    rows, count = scales.shape
    totals = scales.sum(axis=1, keepdims=True)
    shares = np.sqrt(np.divide(scales, totals, out=np.zeros_like(scales), where=totals > 0))
    chosen: list[NDArray[np.float64]] = []
    factor_of, nearest = np.zeros(rows, np.int64), np.where(totals[:, 0] > 0, np.inf, 0.0)
    while not chosen or (nearest.max() > 1e-3 and len(chosen) < count + MAX_FACTORS):
        farthest = int(nearest.argmax())  # the row farthest from every mix so far (Hellinger distance)
        chosen.append(shares[farthest])
        distance = ((shares - shares[farthest]) ** 2).sum(axis=1)
        factor_of[distance < nearest] = len(chosen) - 1
        nearest = np.minimum(nearest, distance)
    return np.square(chosen), factor_of


def _factors(bases: NDArray[np.float32], mixes: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Lower Cholesky factors of mixes of the bases, `[f, in, in]`, and the order of their columns."""
    from exporter.compress.kernels import fit_compiled

    size = bases.shape[1]
    lower, orders = np.empty((len(mixes), size, size), np.float32), np.empty((len(mixes), size), np.int64)
    with ThreadPoolExecutor(cores()) as pool:
        for f, mix in enumerate(mixes):
            matrix = np.zeros((size, size))
            for base, share in zip(bases, mix, strict=True):
                if share:
                    matrix += share * base
            matrix.flat[:: size + 1] += MIN_DIAGONAL
            orders[f] = fit_compiled.factorize(pool, matrix)
            lower[f] = np.tril(matrix.T)
    return lower, orders


def first_luts(task: Task, bits: int, group_size: int) -> NDArray[np.float32]:
    """LUTs of k-means weighted by the diagonals of H, float32."""
    rows, columns = task.weight.shape
    step = group_size * max(1, BLOCK // (group_size * columns))
    spans = [slice(first, min(first + step, rows)) for first in range(0, rows, step)]
    luts = [palettize(task.weight[s], bits, group_size, task.importance(s)).lut for s in spans]
    return np.concatenate(luts).astype(np.float32)
