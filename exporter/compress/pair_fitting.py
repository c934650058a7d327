"""Fits LUTs of pairs and their indices to the cost of `Moments`, as `fitting.py` does those of scalars."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from exporter.compress.fit_task import FitOptions, Task
from exporter.compress.kmeans import cores


def fit_pairs(
    task: Task, luts: NDArray[np.float32], indices: NDArray[np.uint8], group_size: int, options: FitOptions
) -> None:
    """Improves LUTs `[groups, entries, 2]` in place, and sets the indices, uint8 `[out / 2, in]`."""

    def fit(g: int) -> None:
        rows = slice(g * group_size, min((g + 1) * group_size, len(task.weight)))
        _fit_group(task, rows, luts[g], indices[rows.start // 2 : rows.stop // 2], options)

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(fit, range(len(luts))))


def _fit_group(
    task: Task, rows: slice, lut: NDArray[np.float32], indices: NDArray[np.uint8], options: FitOptions
) -> None:
    from exporter.compress.kernels import pair_compiled

    problem = task.weight[rows], task.bases, task.diagonals, task.coefficients[rows]
    factors = task.lower, task.inverse, task.orders, task.which[rows.start // 2 : rows.stop // 2]
    entries = len(lut)
    gradient = np.empty((2, entries))
    for turn in range(options.rounds + 1):
        steps = options.sweeps, int(turn == 0)
        changes = pair_compiled.improve_pairs(problem, factors, lut, indices, steps, gradient)
        if turn == options.rounds or not changes:
            return
        grams = np.zeros((2, entries, entries))
        for side in range(2):
            for base, shares in zip(task.bases, problem[3][side::2].T, strict=True):
                pair_compiled.add_gram(base, np.ascontiguousarray(shares), indices, grams[side])
        pair_compiled.refit_pairs(lut, (grams, gradient), np.empty((5, entries)))
