"""Data-aware palettes: LUTs and indices that minimize what a matrix's errors cost, not the errors themselves.

The cost is that of `Moments`, Σ_i e_iᵀ H_i e_i. From the LUTs of weighted k-means, two steps alternate: indices by a
search through the Cholesky factor of H and by coordinate descent on H itself (`kernels/rows.py`), and LUT entries by
least squares over the rows that share them (`kernels/luts.py`). Layer-wise non-uniform quantization (LNQ) of
GuidedQuant, arXiv 2505.07004, is such an alternation; the search is GPTQ's, over LUT entries.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.compress.fit_task import (
    ROWS,
    Fit,
    FitOptions,
    Task,
    check_fit,
    decoded_costs,
    decoder,
    first_luts,
    fit_task,
)
from exporter.compress.kmeans import cores, palettize
from exporter.graph.moments import Moments
from exporter.graph.palette import Palette

LARGE = 128  # a group with more rows is divided between threads
PARTS = 32  # parts of such a group: their number never depends on the threads


def fit_palette(
    weight: NDArray[np.float32], bits: int, group_size: int, moments: Moments, options: FitOptions | None = None
) -> Fit:
    """The palette of a weight `[out, in]` that costs least by its moments, as far as alternation finds it.

    Takes and refuses what `palettize` does, whose palette of the same size it never exceeds in cost; that one is kept
    for groups of rows that it suits better, and where no error costs anything. The result is deterministic, for any
    number of threads. ValueError where the moments are those of another shape, are negative or not finite.
    """
    check_fit(weight, moments)
    options = options or FitOptions()
    plain = palettize(weight, bits, group_size)
    group_size, plain_indices = plain.group_size, plain.indices
    plain_costs = decoded_costs(weight, decoder(plain.lut, plain_indices, group_size), moments)
    task = fit_task(weight, moments, options)
    luts, indices = first_luts(task, bits, group_size), np.zeros(weight.shape, np.uint8)
    _alternate(task, _State(luts, indices, group_size), options)
    half = luts.astype(np.float16)
    costs = decoded_costs(weight, decoder(half, indices, group_size), moments)
    starts = np.arange(0, len(weight), group_size)
    worse = ~(np.add.reduceat(costs, starts) < np.add.reduceat(plain_costs, starts))
    rows = np.repeat(worse, group_size)[: len(weight)]
    half[worse] = plain.lut[worse]
    indices[rows] = plain_indices[rows]
    costs[rows] = plain_costs[rows]
    return Fit(Palette.of(indices, half, bits, group_size), costs, float(plain_costs.sum()))


_Out = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]  # what `improve_rows` calls `out`


def _alternate(task: Task, state: _State, options: FitOptions) -> None:
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

    def improve(self, task: Task, sweeps: int, turn: int, out: _Out) -> _Out:
        """Better indices. What they say of the LUTs is added to `out`, which is returned."""
        from exporter.compress.kernels import fit_compiled

        rows = slice(self.first, self.first + len(self.indices))
        problem = task.weight[rows], task.bases, task.diagonals, task.coefficients[rows]
        factors = task.lower, task.inverse, task.orders, task.which[rows]
        steps = self.group_size, sweeps, int(turn == 0)
        fit_compiled.improve_rows(problem, factors, self.luts, self.indices, steps, out)
        return out

    def refit(self, equations: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
        """Better LUTs."""
        from exporter.compress.kernels import fit_compiled

        entries = self.luts.shape[1]
        work = np.empty((5, entries)), np.empty((2, entries), np.int64)
        fit_compiled.refit_luts(self.luts, self.indices, self.group_size, equations, work)


def _out(luts: NDArray[np.float32], changes: NDArray[np.int64]) -> _Out:
    """Of no rows yet."""
    return np.zeros((*luts.shape, luts.shape[1])), np.zeros(luts.shape), changes


def _fit_span(task: Task, span: _State, options: FitOptions) -> None:
    """Whole groups, on this thread."""
    changes = np.ones(len(span.luts), np.int64)
    for turn in range(options.rounds):
        grams, gradients, changes = span.improve(task, options.sweeps, turn, _out(span.luts, changes))
        if not changes.any():
            return
        span.refit((grams, gradients))
    span.improve(task, options.sweeps, options.rounds, _out(span.luts[:0], changes))


def _fit_large(pool: ThreadPoolExecutor, task: Task, group: _State, options: FitOptions) -> None:
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
