"""Data-aware palettes: LUTs and indices that minimize what a matrix's errors cost, not the errors themselves.

The cost is that of `Moments`, Σ_i e_iᵀ H_i e_i. From the LUTs of weighted k-means, two steps alternate: indices by a
search through the Cholesky factor of H and by coordinate descent on H itself (`fit_kernel.py`), and LUT entries by
least squares over the rows that share them (`refit_kernel.py`). Layer-wise non-uniform quantization (LNQ) of
GuidedQuant, arXiv 2505.07004, is such an alternation; the search is GPTQ's, over LUT entries.
"""

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
LARGE = 128  # a group with more rows is divided between threads
PARTS = 32  # parts of such a group: their number never depends on the threads
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


def fit_palette(
    weight: NDArray[np.float32], bits: int, group_size: int, moments: Moments, options: FitOptions | None = None
) -> Fit:
    """The palette of a weight `[out, in]` that costs least by its moments, as far as alternation finds it.

    Takes and refuses what `palettize` does, whose palette of the same size it never exceeds in cost; that one is kept
    for groups of rows that it suits better, and where no error costs anything. The result is deterministic, for any
    number of threads. ValueError where the moments are those of another shape, are negative or not finite.
    """
    _check(weight, moments)
    options = options or FitOptions()
    plain = palettize(weight, bits, group_size)
    group_size, plain_indices = plain.group_size, plain.indices
    plain_costs = _costs(weight, _decoder(plain.lut, plain_indices, group_size), moments)
    task = _task(weight, moments, options)
    luts, indices = _first_luts(task, bits, group_size), np.zeros(weight.shape, np.uint8)
    _alternate(task, _State(luts, indices, group_size), options)
    half = luts.astype(np.float16)
    costs = _costs(weight, _decoder(half, indices, group_size), moments)
    starts = np.arange(0, len(weight), group_size)
    worse = ~(np.add.reduceat(costs, starts) < np.add.reduceat(plain_costs, starts))
    rows = np.repeat(worse, group_size)[: len(weight)]
    half[worse] = plain.lut[worse]
    indices[rows] = plain_indices[rows]
    costs[rows] = plain_costs[rows]
    return Fit(Palette.of(indices, half, bits, group_size), costs, float(plain_costs.sum()))


def fitted_cost(weight: NDArray[np.float32], dense: NDArray[np.float32], moments: Moments) -> float:
    """Σ_i e_iᵀ H_i e_i with e = weight - dense, summed in float64; both float32 `[out, in]`."""
    return float(row_costs(weight, dense, moments).sum())


def row_costs(weight: NDArray[np.float32], dense: NDArray[np.float32], moments: Moments) -> NDArray[np.float64]:
    """e_iᵀ H_i e_i of every row, float64 `[out]`, with e = weight - dense, both float32 `[out, in]`."""
    return _costs(weight, lambda rows: dense[rows], moments)


_Decoder = Callable[[slice], NDArray[np.float32]]
"""Some rows of a decoded palette: all of them would take as much memory as the weight."""


def _decoder(lut: NDArray[np.float16], indices: NDArray[np.uint8], group_size: int) -> _Decoder:
    tables, last = lut.astype(np.float32), len(indices)

    def decoded(rows: slice) -> NDArray[np.float32]:
        groups = np.arange(rows.start, min(rows.stop, last)) // group_size
        return np.take_along_axis(tables[groups], indices[rows], 1)

    return decoded


def _costs(weight: NDArray[np.float32], decoded: _Decoder, moments: Moments) -> NDArray[np.float64]:
    """`row_costs` of a palette."""
    from exporter.compress import fit_compiled

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


def _check(weight: NDArray[np.float32], moments: Moments) -> None:
    if weight.ndim != 2:
        raise ValueError(f"fit_palette takes a matrix, not {weight.shape}")
    bases, coefficients = moments.bases, moments.coefficients
    if bases.shape[1:] != (weight.shape[1],) * 2 or len(coefficients) != len(weight):
        raise ValueError(f"moments {bases.shape}, {coefficients.shape} of a weight {weight.shape}")
    if not (np.isfinite(bases).all() and np.isfinite(coefficients).all() and coefficients.min(initial=0) >= 0):
        raise ValueError("moments are not finite, or have negative coefficients")
    if np.diagonal(bases, axis1=1, axis2=2).min(initial=0) < 0:
        raise ValueError("moments have a negative diagonal: they are no sums of squares")


_Out = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]  # what `improve_rows` calls `out`


@dataclass(frozen=True)
class _Task:
    """What `improve_rows` takes as problem and as factors, for all rows; the bases are scaled and damped."""

    weight: NDArray[np.float32]
    bases: NDArray[np.float32]
    diagonals: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    lower: NDArray[np.float32]
    inverse: NDArray[np.float32]
    orders: NDArray[np.int64]
    which: NDArray[np.int64]


def _task(weight: NDArray[np.float32], moments: Moments, options: FitOptions) -> _Task:
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
    return _Task(weight, bases, diagonals, coefficients, lower, np.ascontiguousarray(inverse), orders, which)


def _mixes(scales: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A few mixes of the bases, `[f, k]`, each of sum 1, and for each row the one that is most like its own."""
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
    from exporter.compress import fit_compiled

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


def _first_luts(task: _Task, bits: int, group_size: int) -> NDArray[np.float32]:
    """Of k-means weighted by the diagonals of H, float32 `[groups, entries]`."""
    rows, columns = task.weight.shape
    step = group_size * max(1, BLOCK // (group_size * columns))
    spans = [slice(first, min(first + step, rows)) for first in range(0, rows, step)]
    luts = [palettize(task.weight[span], bits, group_size, _importance(task, span)).lut for span in spans]
    return np.concatenate(luts).astype(np.float32)


def _importance(task: _Task, rows: slice) -> NDArray[np.float32]:
    """The diagonals of H, float32 `[rows, in]`."""
    importance = np.zeros(task.weight[rows].shape, np.float32)
    for shares, diagonal in zip(task.coefficients[rows].T, task.diagonals, strict=True):
        importance += shares[:, None] * diagonal  # BLAS might reorder sums, depending on the machine's threads
    return importance


def _alternate(task: _Task, state: _State, options: FitOptions) -> None:
    """Improves LUTs and indices in place."""
    rows, size = len(state.indices), state.group_size
    with ThreadPoolExecutor(cores()) as pool:
        if size > LARGE:
            for g in range(len(state.luts)):
                _fit_large(pool, task, state.part(g * size, min((g + 1) * size, rows)), options)
            return
        step = size * max(1, ROWS // size)
        spans = [state.part(first, min(first + step, rows)) for first in range(0, rows, step)]
        list(pool.map(lambda span: _fit_span(task, span, options), spans))


@dataclass(frozen=True)
class _State:
    """Some rows: whole groups, or some of one group.

    luts: float32 `[groups, entries]`; indices: uint8 `[rows, in]`, both written to. first: the first row's number.
    """

    luts: NDArray[np.float32]
    indices: NDArray[np.uint8]
    group_size: int
    first: int = 0

    def part(self, start: int, stop: int) -> _State:
        """Some of the rows."""
        groups = slice(start // self.group_size, -(-stop // self.group_size))
        return _State(self.luts[groups], self.indices[start:stop], self.group_size, self.first + start)

    def improve(self, task: _Task, sweeps: int, turn: int, out: _Out) -> _Out:
        """Better indices. What they say of the LUTs is added to `out`, which is returned."""
        from exporter.compress import fit_compiled

        rows = slice(self.first, self.first + len(self.indices))
        problem = task.weight[rows], task.bases, task.diagonals, task.coefficients[rows]
        factors = task.lower, task.inverse, task.orders, task.which[rows]
        steps = self.group_size, sweeps, int(turn == 0)
        fit_compiled.improve_rows(problem, factors, self.luts, self.indices, steps, out)
        return out

    def refit(self, equations: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
        """Better LUTs."""
        from exporter.compress import fit_compiled

        entries = self.luts.shape[1]
        work = np.empty((5, entries)), np.empty((2, entries), np.int64)
        fit_compiled.refit_luts(self.luts, self.indices, self.group_size, equations, work)


def _out(luts: NDArray[np.float32], changes: NDArray[np.int64]) -> _Out:
    """Of no rows yet."""
    return np.zeros((*luts.shape, luts.shape[1])), np.zeros(luts.shape), changes


def _fit_span(task: _Task, span: _State, options: FitOptions) -> None:
    """Whole groups, on this thread."""
    changes = np.ones(len(span.luts), np.int64)
    for turn in range(options.rounds):
        grams, gradients, changes = span.improve(task, options.sweeps, turn, _out(span.luts, changes))
        if not changes.any():
            return
        span.refit((grams, gradients))
    span.improve(task, options.sweeps, options.rounds, _out(span.luts[:0], changes))


def _fit_large(pool: ThreadPoolExecutor, task: _Task, group: _State, options: FitOptions) -> None:
    """One group of many rows, in parts that don't depend on the threads, and so neither do sums."""
    rows = len(group.indices)
    step = max(ROWS, -(-rows // PARTS))
    parts = [group.part(first, min(first + step, rows)) for first in range(0, rows, step)]

    def improve(turn: int, luts: NDArray[np.float32]) -> list[_Out]:
        def run(part: _State) -> _Out:
            return part.improve(task, options.sweeps, turn, _out(luts, np.ones(1, np.int64)))

        return list(pool.map(run, parts))

    for turn in range(options.rounds):
        grams, gradients, changes = zip(*improve(turn, group.luts), strict=True)
        if not np.any(changes):
            return
        group.refit((np.sum(grams, axis=0), np.sum(gradients, axis=0)))
    improve(options.rounds, group.luts[:0])
