"""Levels and scales of a grid under a quadratic cost, compiled: rows with errors e that cost eᵀ H e.

A weight is scale · level, with one scale for each row and block of columns, and levels from -half to half - 1.
`search_scales` minimizes squared errors, each with its own importance, block by block. `fit_rows` minimizes the cost
itself. Two steps alternate:

1. levels by a search through the Cholesky factor of H, which passes each error on to the columns that are still open
   (GPTQ, arXiv 2210.17323), then by cyclic coordinate descent on H itself, as in `rows.py`;
2. scales by least squares, one block after the other; each block's new scale accounts for those before it.

A scale may be negative: then the level that has no counterpart, -half, is on the side of the positive weights.
No sum is reordered, so results are the same bits for any number of threads. numba's cache notices changes in this file
only: after a change in `rows.py`, empty it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.compress.kernels.inlined import inlined
from exporter.compress.kernels.rows import BLOCK, GAIN_FACTOR, Factors, Problem, Singles, add_product, set_residuals

Levels = NDArray[np.int8]
Steps = tuple[int, int, int, int]  # columns of a block, half the number of levels, rounds, sweeps of descent per round

CANDIDATES = 8  # scales that are tried for each sign
FINEST, COARSEST = 1.06, 0.55  # of them: the level of the largest weight, as a share of `half`
POLISHES = 2  # at most: nearest levels, then the best scale for these levels
SMALLEST = np.float32(1e-30)  # magnitude of a scale: its inverse and its square must be float32 numbers


@inlined
def _level(x: float, half: int) -> Any:
    """The level nearest to x."""
    return min(max(np.rint(x), np.float32(-half)), np.float32(half - 1))


@inlined
def _try_scales(weights: Singles, masses: Singles, inverses: Singles, sums: Singles, half: int) -> None:
    """Adds up, for each candidate's levels q, Σ mass·weight·q and Σ mass·q². sums: `[2, candidates]`, set."""
    sums[:] = 0
    low, high = np.float32(-half), np.float32(half - 1)
    products, squares = sums
    for c in range(weights.size):
        weight, mass = weights[c], masses[c]
        weighted = mass * weight
        for k in range(inverses.size):
            level = np.rint(weight * inverses[k])
            level = low if level < low else level
            level = high if level > high else level
            products[k] += weighted * level
            squares[k] += mass * level * level


@inlined
def _polished(weights: Singles, masses: Singles, scale: Any, half: int) -> Any:
    """The scale after nearest levels and best scales took turns."""
    best, kept = scale, np.float64(-1.0)
    for _ in range(POLISHES):
        product, square = np.float64(0.0), np.float64(0.0)
        for c in range(weights.size):
            level = np.float64(_level(weights[c] / scale, half))
            product += np.float64(masses[c]) * np.float64(weights[c]) * level
            square += np.float64(masses[c]) * level * level
        if not square > 0 or not product * product / square > kept:
            break
        kept, best = product * product / square, np.float32(product / square)
        if not abs(best) >= SMALLEST:
            return scale
        scale = best
    return best


@inlined
def _best_scale(weights: Singles, masses: Singles, inverses: Singles, sums: Singles, half: int) -> Any:
    """The scale of a block that leaves the smallest squared error; 1 for a block of zeros. The rest is scratch."""
    peak = np.float32(0.0)
    for c in range(weights.size):
        peak = max(peak, abs(weights[c]))
    if not peak / half >= SMALLEST:
        return np.float32(1.0)
    for k in range(CANDIDATES):
        share = FINEST + (COARSEST - FINEST) * k / (CANDIDATES - 2)
        share = (half - 1) / half if k == CANDIDATES - 1 else share  # the scale of plain rounding
        inverses[k] = np.float32(share * half / peak)
        inverses[CANDIDATES + k] = -inverses[k]
    _try_scales(weights, masses, inverses, sums, half)
    best, gain = 0, np.float32(-1.0)
    for k in range(inverses.size):
        if sums[1, k] > 0 and sums[0, k] * sums[0, k] / sums[1, k] > gain:
            best, gain = k, sums[0, k] * sums[0, k] / sums[1, k]
    return _polished(weights, masses, 1 / inverses[best], half)


def search_scales(weight: Singles, importance: Singles, scales: Singles, levels: Levels, steps: Steps) -> None:
    """Sets the scales, float32 `[rows, blocks]`, and the nearest levels, int8 `[rows, in]`, of some rows.

    importance: of each squared error, float32 `[rows, in]`; of one row, it is every row's.
    """
    block, half, columns = steps[0], steps[1], weight.shape[1]
    inverses, sums = np.empty(2 * CANDIDATES, np.float32), np.empty((2, 2 * CANDIDATES), np.float32)
    for i in range(weight.shape[0]):
        masses = importance[min(i, importance.shape[0] - 1)]
        for b in range(scales.shape[1]):
            begin, end = b * block, min((b + 1) * block, columns)
            scale = _best_scale(weight[i, begin:end], masses[begin:end], inverses, sums, half)
            scales[i, b] = scale
            for c in range(begin, end):
                levels[i, c] = np.int8(_level(weight[i, c] / scale, half))


@inlined
def _nearest_plane(
    weight: Singles, factors: Factors, scales: Singles, levels: Levels, work: Singles, steps: Steps
) -> None:
    """Sets the levels of all rows by Babai's nearest plane. work: scratch, `[2, rows, in]`."""
    lower, inverse, orders, factor_of = factors
    block, half = steps[0], steps[1]
    sums, errors = work[0], work[1]
    rows, columns = weight.shape
    sums[:] = 0
    for start in range((columns - 1) // BLOCK * BLOCK, -1, -BLOCK):
        stop = min(start + BLOCK, columns)
        for j in range(stop - 1, start - 1, -1):
            for i in range(rows):
                f = factor_of[i]
                c = orders[f, j]
                scale = scales[i, c // block]
                level = _level((weight[i, c] + sums[i, j] * inverse[f, j]) / scale, half)
                error = weight[i, c] - level * scale
                levels[i, c], errors[i, j] = np.int8(level), error
                target, source = sums[i, start:stop], lower[f, j, start:stop]  # 0 right of the diagonal
                for d in range(target.size):
                    target[d] += error * source[d]
        first = 0
        while first < rows and start:
            last = first + 1
            while last < rows and factor_of[last] == factor_of[first]:
                last += 1
            add_product(sums, errors, lower[factor_of[first]], (first, last), (start, stop, start))
            first = last


@inlined
def _descend(
    problem: Problem, i: int, scales: Singles, state: tuple[Levels, Singles], curvatures: Singles, steps: Steps
) -> None:
    """Coordinate descent in row i; ends when no level changes. curvatures: scratch, `[in]`."""
    weight, bases, diagonals, coefficients = problem
    shares, levels, residuals = coefficients[i], state[0][i], state[1][i]
    block, half, sweeps = steps[0], steps[1], steps[3]
    curvatures[:] = 0
    for b in range(bases.shape[0]):
        for c in range(levels.size):
            curvatures[c] += shares[b] * diagonals[b, c]
    for c in range(levels.size):
        if not curvatures[c] > 0:  # errors here cost nothing
            levels[c] = np.int8(_level(weight[i, c] / scales[i, c // block], half))
    for _ in range(sweeps):
        changed = False
        for c in range(levels.size):
            scale = scales[i, c // block]
            if abs(residuals[c]) <= np.float32(0.5) * abs(scale) * curvatures[c] or not curvatures[c] > 0:
                continue
            old = np.float32(levels[c])
            target = old + residuals[c] / (curvatures[c] * scale)
            new = _level(target, half)
            if abs(new - target) < GAIN_FACTOR * abs(old - target):
                changed = True
                levels[c] = np.int8(new)
                for b in range(bases.shape[0]):
                    step, source = shares[b] * ((old - new) * scale), bases[b, c]
                    if step:
                        for d in range(source.size):
                            residuals[d] += step * source[d]
        if not changed:
            break


@inlined
def _refine(problem: Problem, scales: Singles, state: tuple[Levels, Singles], work: Singles, steps: Steps) -> None:
    """Improves levels by coordinate descent. state: levels (in, out), residuals H·e (out). work: `[2, rows, in]`."""
    weight, bases, _, coefficients = problem
    levels, residuals = state
    rows, columns = weight.shape
    for i in range(rows):
        for c in range(columns):
            work[0, i, c] = weight[i, c] - np.float32(levels[i, c]) * scales[i, c // steps[0]]
    set_residuals(bases, coefficients, work[0], residuals, work[1])
    for i in range(rows):
        _descend(problem, i, scales, state, work[1, i], steps)


@inlined
def _block_change(problem: Problem, i: int, state: tuple[Levels, Singles], span: tuple[int, int], sums: Singles) -> Any:
    """What to add to the scale of a block of columns in row i, so that the cost is smallest. sums: scratch."""
    bases, shares, levels, residuals = problem[1], problem[3][i], state[0][i], state[1][i]
    begin, end = span
    slope, curvature = np.float64(0.0), np.float64(0.0)
    for c in range(begin, end):
        slope += np.float64(levels[c]) * np.float64(residuals[c])
    for b in range(bases.shape[0]):
        if shares[b] == 0:
            continue
        sums[: end - begin] = 0
        for c in range(begin, end):
            level, source = np.float32(levels[c]), bases[b, c, begin:end]
            if level:
                for d in range(source.size):
                    sums[d] += level * source[d]
        for c in range(begin, end):
            curvature += np.float64(shares[b]) * np.float64(sums[c - begin]) * np.float64(levels[c])
    return np.float32(slope / curvature) if curvature > 0 else np.float32(0.0)


@inlined
def _refit(problem: Problem, scales: Singles, state: tuple[Levels, Singles], work: Singles, block: int) -> None:
    """Fits the scales to the levels, and keeps the residuals up to date. work: scratch, `[2, rows, in]`."""
    weight, bases, _, coefficients = problem
    levels, residuals = state
    rows, columns = weight.shape
    changes, scaled = np.empty(rows, np.float32), work[0]
    for n in range(scales.shape[1]):
        begin, end = n * block, min((n + 1) * block, columns)
        for i in range(rows):
            change = _block_change(problem, i, state, (begin, end), work[1, i])
            moved = scales[i, n] + change
            usable = abs(moved) >= SMALLEST and np.isfinite(moved)
            changes[i] = change if usable else np.float32(0.0)
            scales[i, n] = moved if usable else scales[i, n]
        for b in range(bases.shape[0]):
            for i in range(rows):
                step = -coefficients[i, b] * changes[i]
                for c in range(begin, end):
                    scaled[i, c] = step * np.float32(levels[i, c])
            add_product(residuals, scaled, bases[b], (0, rows), (begin, end, columns))


@inlined
def _cost(weight: Singles, scales: Singles, levels: Levels, residuals: Singles, block: int) -> float:
    """eᵀ H e of a row."""
    total = 0.0
    for c in range(weight.size):
        error = weight[c] - np.float32(levels[c]) * scales[c // block]
        total += np.float64(error) * np.float64(residuals[c])
    return total


def fit_rows(problem: Problem, factors: Factors, scales: Singles, levels: Levels, steps: Steps) -> None:
    """Improves the scales of a few rows, and sets their levels.

    problem, factors: as in `rows.improve_rows`. scales: float32 `[rows, blocks]`, in and out. levels: int8
    `[rows, in]`, out. Rows are independent, but all of them are in memory several times: give some 32 at once.
    """
    weight = problem[0]
    rows, columns = weight.shape
    block, rounds = steps[0], steps[2]
    residuals, work = np.empty((2, rows, columns), np.float32), np.empty((2, rows, columns), np.float32)
    trial_levels = np.empty((rows, columns), np.int8)
    current, trial = (levels, residuals[0]), (trial_levels, residuals[1])
    for turn in range(rounds + 1):
        _nearest_plane(weight, factors, scales, trial_levels, work, steps)
        _refine(problem, scales, trial, work, steps)
        if turn:
            _refine(problem, scales, current, work, steps)
        for i in range(rows):
            cost = _cost(weight[i], scales[i], trial_levels[i], residuals[1, i], block)
            if turn == 0 or cost < _cost(weight[i], scales[i], levels[i], residuals[0, i], block):
                levels[i], residuals[0, i] = trial_levels[i], residuals[1, i]
        if turn < rounds:
            _refit(problem, scales, current, work, block)
