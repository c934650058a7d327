"""Grids that keep a matrix well: integers with one scale for each row and block of columns.

`round_grid` minimizes the squared error of the matrix. `fit_grid` minimizes what errors cost the model, as
`fitting.fit_palette` does for palettes: levels by error feedback through the Cholesky factor of the cost (GPTQ, arXiv
2210.17323) and coordinate descent, and scales by least squares, in turns. The kernels are in `kernels/grid_rows.py`.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.compress.damage import first_place, not_finite
from exporter.compress.fit_task import ROWS_PER_TASK, Decoder, FitOptions, Task, check_fit, decoded_costs, fit_task
from exporter.compress.kmeans import cores
from exporter.graph.grid import Grid, GridBits
from exporter.graph.moments import Moments

Dense = NDArray[np.float32]
Levels = NDArray[np.int8]


@dataclass(frozen=True)
class GridFit:
    """grid: each row is the better of the fitted and the rounded one. row_costs: its costs, float64 `[out]`.

    plain_cost: cost of the rounded grid, which ignores the moments. Costs exclude the damping.
    """

    grid: Grid
    row_costs: NDArray[np.float64]
    plain_cost: float

    @property
    def cost(self) -> float:
        """Σ_i e_iᵀ H_i e_i of the grid; at most `plain_cost`."""
        return float(self.row_costs.sum())


def round_grid(weight: Dense, bits: GridBits, block: int) -> Grid:
    """The grid of a weight `[out, in]` whose scales leave the smallest squared error, found by search in each block.

    Raises InputError for a weight with NaN or infinity.
    """
    require_finite(weight)
    exponent = _exponent(weight)
    scales, levels = _searched(np.ldexp(weight, -exponent), np.ones((1, weight.shape[1]), np.float32), bits, block)
    return _grid(levels, np.ldexp(scales, exponent), bits, block)


def fit_grid(weight: Dense, bits: GridBits, block: int, moments: Moments, options: FitOptions | None = None) -> GridFit:
    """Fits the grid of a weight `[out, in]` to its moments: alternation finds a local minimum of the cost.

    Rows that `round_grid` stores at the same or a lower cost are stored as it does, so the cost is never higher. The
    result is deterministic, for any number of threads. Raises the errors of `round_grid`, and ValueError for moments of
    another shape, negative or not finite.
    """
    check_fit(weight, moments)
    require_finite(weight)
    options = options or FitOptions()
    exponent = _exponent(weight)
    normal = np.ldexp(weight, -exponent)
    plain_scales, plain_levels = _searched(normal, np.ones((1, weight.shape[1]), np.float32), bits, block)
    plain_costs = decoded_costs(normal, _decoder(plain_scales, plain_levels, block), moments)
    task = fit_task(normal, moments, options)
    scales, levels = _fitted(task, bits, block, options)
    costs = decoded_costs(normal, _decoder(scales, levels, block), moments)
    worse = ~(costs < plain_costs)
    scales[worse], levels[worse], costs[worse] = plain_scales[worse], plain_levels[worse], plain_costs[worse]
    unit = math.ldexp(1.0, 2 * exponent)
    return GridFit(
        _grid(levels, np.ldexp(scales, exponent), bits, block), costs * unit, float(plain_costs.sum()) * unit
    )


def require_finite(weight: Dense, name: str = "") -> None:
    """Raises InputError where a weight holds NaN or infinity."""
    finite = np.isfinite(weight)
    if not finite.all():
        place = first_place(~finite)
        raise not_finite(name, f"{weight[place]} at {list(place)}; {np.count_nonzero(~finite)} such values")


def _exponent(weight: Dense) -> int:
    """The power of two that brings the largest weight to 0.5 to 1: products stay within the range of float32."""
    return int(np.frexp(np.abs(weight).max(initial=0))[1])


def _searched(weight: Dense, importance: Dense, bits: GridBits, block: int) -> tuple[Dense, Levels]:
    """Scales that minimize the squared error times the importance, and the nearest levels."""
    from exporter.compress.kernels import grid_compiled

    rows, columns = weight.shape
    scales, levels = np.empty((rows, -(-columns // block)), np.float32), np.empty((rows, columns), np.int8)
    weight = np.require(weight, np.float32, ["C", "A"])

    def run(first: int) -> None:
        part = slice(first, first + ROWS_PER_TASK)
        masses = importance if len(importance) == 1 else importance[part]
        grid_compiled.search_scales(weight[part], masses, scales[part], levels[part], _steps(bits, block))

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(run, range(0, rows, ROWS_PER_TASK)))
    return scales, levels


def _fitted(task: Task, bits: GridBits, block: int, options: FitOptions) -> tuple[Dense, Levels]:
    from exporter.compress.kernels import grid_compiled

    rows, columns = task.weight.shape
    scales, levels = np.empty((rows, -(-columns // block)), np.float32), np.empty((rows, columns), np.int8)
    steps = _steps(bits, block, options)

    def run(first: int) -> None:
        part = slice(first, first + ROWS_PER_TASK)
        weight, importance = task.weight[part], task.importance(part)
        grid_compiled.search_scales(weight, importance, scales[part], levels[part], steps)
        problem = weight, task.bases, task.diagonals, task.coefficients[part]
        factors = task.lower, task.inverse, task.orders, task.factor_of[part]
        grid_compiled.fit_rows(problem, factors, scales[part], levels[part], steps)

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(run, range(0, rows, ROWS_PER_TASK)))
    return scales, levels


def _steps(bits: GridBits, block: int, options: FitOptions | None = None) -> tuple[int, int, int, int]:
    """The argument `steps` of the kernels."""
    options = options or FitOptions()
    return block, 1 << (bits - 1), options.rounds, options.sweeps


def _decoder(scales: Dense, levels: Levels, block: int) -> Decoder:
    def decoded(part: slice) -> Dense:
        columns = levels.shape[1]
        return levels[part].astype(np.float32) * np.repeat(scales[part], block, axis=1)[:, :columns]

    return decoded


def _grid(levels: Levels, scales: Dense, bits: GridBits, block: int) -> Grid:
    integers = (levels.astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)
    return Grid.of(integers, scales.astype(np.float32), bits, block)
