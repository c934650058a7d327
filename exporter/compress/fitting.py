"""Data-aware palettes: LUTs and indices that minimize the cost of a matrix's errors, not the errors themselves.

The cost is that of `Moments`, Σ_i e_iᵀ H_i e_i. From LUTs of weighted k-means, two steps alternate: indices by a
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
    ROWS_PER_TASK,
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

MAX_GROUP_ROWS_PER_THREAD = 128  # a larger group is divided between threads
MAX_PARTS = 32  # of such a group: a fixed number, whatever the number of threads


def fit_palette(
    weight: NDArray[np.float32], bits: int, group_size: int, moments: Moments, options: FitOptions | None = None
) -> Fit:
    """Fits the palette of a weight `[out, in]` to its moments: alternation finds a local minimum of the cost.

    Groups of rows that k-means (`palettize`) fits at the same or a lower cost get its palette, so the cost is never
    higher than that of k-means. The result is deterministic, for any number of threads. Raises the errors of
    `palettize`, and ValueError for moments of another shape, negative or not finite.
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


_Out = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]  # the argument `out` of `improve_rows`


def _alternate(task: Task, state: _State, options: FitOptions) -> None:
    """Improves LUTs and indices in place."""
    rows, size = len(state.indices), state.group_size
    with ThreadPoolExecutor(cores()) as pool:
        if size > MAX_GROUP_ROWS_PER_THREAD:
            for g in range(len(state.luts)):
                _fit_large(pool, task, state.part(g * size, min((g + 1) * size, rows)), options)
            return
        step = size * max(1, ROWS_PER_TASK // size)
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
        """Improves the indices. Adds their normal equations to `out`, and returns it."""
        from exporter.compress.kernels import fit_compiled

        rows = slice(self.first, self.first + len(self.indices))
        problem = task.weight[rows], task.bases, task.diagonals, task.coefficients[rows]
        factors = task.lower, task.inverse, task.orders, task.factor_of[rows]
        steps = self.group_size, sweeps, int(turn == 0)
        fit_compiled.improve_rows(problem, factors, self.luts, self.indices, steps, out)
        return out

    def refit(self, equations: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
        """Fits the LUTs to the indices."""
        from exporter.compress.kernels import fit_compiled

        entries = self.luts.shape[1]
        work = np.empty((5, entries)), np.empty((2, entries), np.int64)
        fit_compiled.refit_luts(self.luts, self.indices, self.group_size, equations, work)


def _out(luts: NDArray[np.float32], changes: NDArray[np.int64]) -> _Out:
    """Sums before any row was added."""
    return np.zeros((*luts.shape, luts.shape[1])), np.zeros(luts.shape), changes


def _fit_span(task: Task, span: _State, options: FitOptions) -> None:
    """Fits whole groups, on this thread."""
    changes = np.ones(len(span.luts), np.int64)
    for turn in range(options.rounds):
        grams, gradients, changes = span.improve(task, options.sweeps, turn, _out(span.luts, changes))
        if not changes.any():
            return
        span.refit((grams, gradients))
    span.improve(task, options.sweeps, options.rounds, _out(span.luts[:0], changes))


def _fit_large(pool: ThreadPoolExecutor, task: Task, group: _State, options: FitOptions) -> None:
    """Fits one group of many rows, in parts; parts, and so sums, don't depend on the number of threads."""
    rows = len(group.indices)
    step = max(ROWS_PER_TASK, -(-rows // MAX_PARTS))
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
