"""What fitting one weight starts from: the cost of its errors, scaled and factored, and what a fit yields."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.compress.kmeans import cores, palettize
from exporter.graph.moments import Moments
from exporter.graph.palette import BLOCK, Palette

ROWS = 32  # rows that a thread takes at once, about
RIDGE = 1e-4  # besides the damping, on the diagonal of what is factored: without data there are no large numbers
FACTORS = 8  # Cholesky factors, at most, besides one for each basis


@dataclass(frozen=True)
class FitOptions:
    """damping: added to the diagonal of each basis, as a share of its mean; it stands for data that was not seen.

    rounds: of LUTs refitted to new indices. sweeps: of coordinate descent in each, at most.
    """

    damping: float = 0.01
    rounds: int = 3
    sweeps: int = 10


@dataclass(frozen=True)
class Fit:
    """palette: the better of the fitted and the plain one, group by group. row_costs: float64 `[out]`, of the palette.

    plain_cost: of the k-means palette that ignores the moments. Costs are without damping.
    """

    palette: Palette
    row_costs: NDArray[np.float64]
    plain_cost: float

    @property
    def cost(self) -> float:
        """Σ_i e_iᵀ H_i e_i of the palette; at most `plain_cost`."""
        return float(self.row_costs.sum())


def row_costs(weight: NDArray[np.float32], dense: NDArray[np.float32], moments: Moments) -> NDArray[np.float64]:
    """e_iᵀ H_i e_i of every row, float64 `[out]`, with e = weight - dense, both float32 `[out, in]`."""
    return decoded_costs(weight, lambda rows: dense[rows], moments)


Decoder = Callable[[slice], NDArray[np.float32]]
"""Some rows of a decoded palette: all of them would take as much memory as the weight."""


def decoder(lut: NDArray[np.float16], indices: NDArray[np.uint8], group_size: int) -> Decoder:
    """Of a palette that isn't one yet."""
    luts = lut.astype(np.float32)

    def decoded(part: slice) -> NDArray[np.float32]:
        rows = np.arange(part.start, min(part.stop, len(indices)))
        return np.take_along_axis(luts[rows // group_size], indices[part], 1)

    return decoded


def decoded_costs(weight: NDArray[np.float32], decoded: Decoder, moments: Moments) -> NDArray[np.float64]:
    """`row_costs` of a palette."""
    from exporter.compress.kernels import fit_compiled

    costs = np.zeros(len(weight))
    bases = np.require(moments.bases, np.float32, ["C", "A"])

    def run(first: int) -> None:
        rows = slice(first, first + ROWS)
        errors = weight[rows].astype(np.float64) - decoded(rows).astype(np.float64)
        work = np.empty_like(errors), np.empty((8, weight.shape[1]))
        for base, shares in zip(bases, moments.coefficients[rows].T, strict=True):
            fit_compiled.add_costs(errors, base, np.ascontiguousarray(shares), costs[rows], work)

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(run, range(0, len(weight), ROWS)))
    return np.maximum(costs, 0)


def check_fit(weight: NDArray[np.float32], moments: Moments) -> None:
    """Raises ValueError where the moments are not those of the weight."""
    if weight.ndim != 2:
        raise ValueError(f"fit_palette takes a matrix, not {weight.shape}")
    bases, coefficients = moments.bases, moments.coefficients
    if bases.shape[1:] != (weight.shape[1],) * 2 or len(coefficients) != len(weight):
        raise ValueError(f"moments {bases.shape}, {coefficients.shape} of a weight {weight.shape}")
    if not (np.isfinite(bases).all() and np.isfinite(coefficients).all() and coefficients.min(initial=0) >= 0):
        raise ValueError("moments are not finite, or have negative coefficients")
    if np.diagonal(bases, axis1=1, axis2=2).min(initial=0) < 0:
        raise ValueError("moments have a negative diagonal: they are no sums of squares")


@dataclass(frozen=True)
class Task:
    """What the kernels take as problem and as factors, for all rows; the bases are scaled and damped.

    weight: float32 `[out, in]`; bases: `[k, in, in]`, their diagonals `[k, in]`, coefficients `[out, k]`. lower: of the
    factors `[f, in, in]`; inverse of their diagonals `[f, in]`; orders of their columns, int64 `[f, in]`; which factor
    each row has, int64 `[out]`.
    """

    weight: NDArray[np.float32]
    bases: NDArray[np.float32]
    diagonals: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    lower: NDArray[np.float32]
    inverse: NDArray[np.float32]
    orders: NDArray[np.int64]
    which: NDArray[np.int64]

    def importance(self, rows: slice) -> NDArray[np.float32]:
        """The diagonals of H, float32 `[rows, in]`."""
        found = np.zeros(self.weight[rows].shape, np.float32)
        for shares, diagonal in zip(self.coefficients[rows].T, self.diagonals, strict=True):
            found += shares[:, None] * diagonal  # BLAS might reorder sums, depending on the machine's threads
        return found


def fit_task(weight: NDArray[np.float32], moments: Moments, options: FitOptions) -> Task:
    """The bases scaled, damped and factored. What it takes has passed `check_fit`."""
    # Scaled to a mean curvature of 1 per basis and 1 in the strongest row, so that float32 holds what is computed.
    means = np.diagonal(moments.bases, axis1=1, axis2=2).mean(axis=1, dtype=np.float64)
    bases = np.empty_like(moments.bases, order="C")
    for scaled, base, mean in zip(bases, moments.bases, means, strict=True):
        np.multiply(base, np.float64(1 / mean if mean else 0), out=scaled, casting="same_kind")
        scaled.flat[:: len(scaled) + 1] += np.float32(options.damping)
    diagonals = np.diagonal(bases, axis1=1, axis2=2).copy()
    scales = moments.coefficients * means
    mixes, which = _mixes(scales)
    lower, orders = _factors(bases, mixes)
    inverse = np.reciprocal(np.diagonal(lower, axis1=1, axis2=2))
    coefficients = (scales / (scales.max(initial=0) or 1)).astype(np.float32, order="C")
    weight = np.require(weight, np.float32, ["C", "A"])
    return Task(weight, bases, diagonals, coefficients, lower, np.ascontiguousarray(inverse), orders, which)


def _mixes(scales: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A few mixes of the bases, `[f, k]`, each of sum 1, and for each row of scales the one that is most like it."""
    rows, count = scales.shape
    totals = scales.sum(axis=1, keepdims=True)
    shares = np.sqrt(np.divide(scales, totals, out=np.zeros_like(scales), where=totals > 0))
    chosen: list[NDArray[np.float64]] = []
    which, nearest = np.zeros(rows, np.int64), np.where(totals[:, 0] > 0, np.inf, 0.0)
    while not chosen or (nearest.max() > 1e-3 and len(chosen) < count + FACTORS):
        far = int(nearest.argmax())  # the row that is least like any mix so far (distance of Hellinger)
        chosen.append(shares[far])
        distance = ((shares - shares[far]) ** 2).sum(axis=1)
        which[distance < nearest] = len(chosen) - 1
        nearest = np.minimum(nearest, distance)
    return np.square(chosen), which


def _factors(bases: NDArray[np.float32], mixes: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Lower Cholesky factors of mixes of the bases, `[f, in, in]`, and the columns that their rows stand for."""
    from exporter.compress.kernels import fit_compiled

    size = bases.shape[1]
    lower, orders = np.empty((len(mixes), size, size), np.float32), np.empty((len(mixes), size), np.int64)
    with ThreadPoolExecutor(cores()) as pool:
        for f, mix in enumerate(mixes):
            matrix = np.zeros((size, size))
            for base, share in zip(bases, mix, strict=True):
                if share:
                    matrix += share * base
            matrix.flat[:: size + 1] += RIDGE
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
