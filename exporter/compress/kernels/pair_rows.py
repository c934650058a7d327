"""Fits LUTs of pairs, compiled: one index for the weights of two neighbouring output rows in a column.

`improve_pairs` does for pairs what `fit_kernel.improve_rows` does for scalars: a search through a Cholesky factor, then
coordinate descent. Rows don't interact in the cost, so the two weights of a pair only share the choice of an entry,
weighed by their rows.

numba's cache notices changes of this file only, so all that is compiled into it is here. No sum depends on threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exporter.compress.kernels.inlined import inlined

Doubles = NDArray[np.float64]
Singles = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Problem = tuple[Singles, Singles, Singles, Singles]
Factors = tuple[Singles, Singles, Ints, Ints]
Table = tuple[Singles, Singles, Singles]  # a LUT, how far its entries are `_apart`, and what rows count

PAIRS = 16  # that are worked on together: a row of H that was read serves them all
BLOCK = 32  # columns that the search chooses one by one, before it passes their errors on together
TILE = 512  # columns of a sum of rows: 6 rows of as many floats are in the first cache
MARGIN = np.float32(0.9998)  # a change must gain more than rounding errors, or two entries could alternate


@inlined
def _nearest(lut: Singles, x: float, y: float, a: float, b: float) -> int:
    """The entry of `lut` `[entries, 2]` that is nearest to (x, y), whose sides count a and b; ties: the first."""
    best, least = 0, np.float32(np.inf)
    for k in range(lut.shape[0]):
        u, v = x - lut[k, 0], y - lut[k, 1]
        distance = a * u * u + b * v * v
        if distance < least:
            best, least = k, distance
    return best


@inlined
def _add_four(out: Singles, shares: Singles, j: int, matrix: Singles, start: int) -> None:
    """out += shares[j : j + 4] @ matrix[:4, start:]."""
    stop = start + out.size
    m0, m1, m2, m3 = matrix[0, start:stop], matrix[1, start:stop], matrix[2, start:stop], matrix[3, start:stop]
    s0, s1, s2, s3 = shares[j], shares[j + 1], shares[j + 2], shares[j + 3]
    for c in range(out.size):
        out[c] = out[c] + s0 * m0[c] + s1 * m1[c] + s2 * m2[c] + s3 * m3[c]


@inlined
def _spread(out: Singles, shares: Singles, matrix: Singles, inner: tuple[int, int, int]) -> None:
    """out[:, :stop] += shares[:, begin:end] @ matrix[begin:end, :stop]; inner: begin, end, stop."""
    begin, end, stop = inner
    whole = begin + (end - begin) // 4 * 4
    for start in range(0, stop, TILE):
        tile = min(start + TILE, stop)
        for j in range(begin, whole, 4):
            for i in range(out.shape[0]):
                _add_four(out[i, start:tile], shares[i], j, matrix[j : j + 4], start)
        for j in range(whole, end):
            source = matrix[j, start:tile]
            for i in range(out.shape[0]):
                target, share = out[i, start:tile], shares[i, j]
                for c in range(target.size):
                    target[c] += share * source[c]


@inlined
def _search(weight: Singles, factors: Factors, table: Table, out: Bytes, work: Singles) -> None:
    """Babai's nearest plane for some pairs: `out`, their indices, is set. work: scratch, `[2, rows, in]`."""
    lower, inverse, orders, which = factors
    lut, _, counts = table
    sums, errors = work[0], work[1]
    pairs, columns = out.shape
    sums[: 2 * pairs] = 0
    for start in range((columns - 1) // BLOCK * BLOCK, -1, -BLOCK):
        stop = min(start + BLOCK, columns)
        for j in range(stop - 1, start - 1, -1):
            for p in range(pairs):
                f, i = which[p], 2 * p
                c, scale = orders[f, j], inverse[f, j]
                x, y = weight[i, c] + sums[i, j] * scale, weight[i + 1, c] + sums[i + 1, j] * scale
                k = _nearest(lut, x, y, counts[i], counts[i + 1])
                out[p, c] = k
                source = lower[f, j, start:stop]  # 0 right of the diagonal
                for side in range(2):
                    error, target = weight[i + side, c] - lut[k, side], sums[i + side, start:stop]
                    errors[i + side, j] = error
                    for d in range(target.size):
                        target[d] += error * source[d]
        first = 0
        while first < pairs and start:
            last = first + 1
            while last < pairs and which[last] == which[first]:
                last += 1
            rows = slice(2 * first, 2 * last)
            _spread(sums[rows], errors[rows], lower[which[first]], (start, stop, start))
            first = last


@inlined
def _apart(lut: Singles) -> Singles:
    """For each entry, half the distance to the nearest other one, squared."""
    found = np.empty(lut.shape[0], np.float32)
    for k in range(lut.shape[0]):
        least = np.float32(np.inf)
        for m in range(lut.shape[0]):
            u, v = lut[m, 0] - lut[k, 0], lut[m, 1] - lut[k, 1]
            if m != k and u * u + v * v < least:
                least = u * u + v * v
        found[k] = least / 4
    return found


@inlined
def _better(
    lut: Singles, old: int, apart: Singles, residual: tuple[float, float], curvature: tuple[float, float]
) -> int:
    """The entry that a column does best with, all others staying as they are; `old` where nothing is gained."""
    a, b = curvature
    u = residual[0] / a if a > 0 else np.float32(0)  # how far the target is from the entry
    v = residual[1] / b if b > 0 else np.float32(0)
    cost = a * u * u + b * v * v
    if cost <= min(a, b) * apart[old]:
        return old  # all others are farther
    x, y = lut[old, 0] + u, lut[old, 1] + v
    new = _nearest(lut, x, y, a, b)
    s, t = x - lut[new, 0], y - lut[new, 1]
    return new if a * s * s + b * t * t < MARGIN * cost else old


@inlined
def _descend(
    problem: Problem, p: int, table: Table, state: tuple[Bytes, Singles], curvature: Singles, sweeps: int
) -> None:
    """Coordinate descent in a pair of rows, at most `sweeps` times over all columns; ends when nothing changes.

    state: indices and residuals of all rows, kept up to date. curvature: scratch, `[2, in]`.
    """
    _, bases, diagonals, coefficients = problem
    lut, apart, _ = table
    indices, residuals = state[0][p], state[1][2 * p : 2 * p + 2]
    shares = coefficients[2 * p : 2 * p + 2]
    curvature[:] = 0
    for side in range(2):
        for m in range(bases.shape[0]):
            for c in range(indices.size):
                curvature[side, c] += shares[side, m] * diagonals[m, c]
    for _ in range(sweeps):
        changed = False
        for c in range(indices.size):
            old = indices[c]
            here = (residuals[0, c], residuals[1, c])
            new = _better(lut, old, apart, here, (curvature[0, c], curvature[1, c]))
            if new != old:
                changed, indices[c] = True, new
                for m in range(bases.shape[0]):
                    source = bases[m, c]
                    for side in range(2):
                        step, target = shares[side, m] * (lut[old, side] - lut[new, side]), residuals[side]
                        for d in range(source.size):
                            target[d] += step * source[d]
        if not changed:
            break


@inlined
def _settle(problem: Problem, table: Table, state: tuple[Bytes, Singles], work: Singles, sweeps: int) -> None:
    """Descends from some pairs' indices. state: indices, in and out, and residuals, out. work: `[2, rows, in]`."""
    weight, bases, _, coefficients = problem
    lut = table[0]
    indices, residuals = state
    pairs, columns = indices.shape
    rows = 2 * pairs
    residuals[:rows] = 0
    for b in range(bases.shape[0]):
        for i in range(rows):
            share = coefficients[i, b]
            for c in range(columns):
                work[0, i, c] = share * (weight[i, c] - lut[indices[i // 2, c], i % 2])
        _spread(residuals[:rows], work[0, :rows], bases[b], (0, columns, columns))
    curvature = np.empty((2, columns), np.float32)
    for p in range(pairs):
        _descend(problem, p, table, state, curvature, sweeps)


@inlined
def _cost(weight: Singles, lut: Singles, indices: Bytes, residuals: Singles) -> float:
    """Σ eᵀ H e of a pair of rows."""
    total = 0.0
    for side in range(2):
        for c in range(indices.size):
            total += np.float64(weight[side, c] - lut[indices[c], side]) * np.float64(residuals[side, c])
    return total


@inlined
def _improve(
    problem: Problem,
    factors: Factors,
    table: Table,
    states: tuple[tuple[Bytes, Singles], tuple[Bytes, Singles]],
    work: Singles,
    steps: tuple[int, bool],
) -> None:
    """Better indices for a few pairs. states: theirs, first in and out, the other scratch: indices and residuals.

    steps: sweeps, and whether there are no indices yet.
    """
    weight, lut = problem[0], table[0]
    (indices, residuals), (found, others) = states
    _search(weight, factors, table, found, work)
    _settle(problem, table, (found, others), work, steps[0])
    if not steps[1]:
        _settle(problem, table, (indices, residuals), work, steps[0])
    for p in range(indices.shape[0]):
        two = slice(2 * p, 2 * p + 2)
        cost = _cost(weight[two], lut, found[p], others[two])
        if steps[1] or cost < _cost(weight[two], lut, indices[p], residuals[two]):
            indices[p], residuals[two] = found[p], others[two]


@inlined
def _counts(coefficients: Singles) -> Singles:
    """What rows count in the choice of an entry; rows that cost nothing still want one near them."""
    counts: Singles = coefficients.sum(axis=1)
    for first in range(0, counts.size, 2):
        least = max(np.float32(1e-6) * max(counts[first], counts[first + 1]), np.float32(1e-30))
        for i in range(first, first + 2):
            counts[i] = max(counts[i], least)
    return counts


def improve_pairs(
    problem: Problem, factors: Factors, lut: Singles, indices: Bytes, steps: tuple[int, int], gradient: Doubles
) -> int:
    """Better indices for a group of rows, and the gradient of its LUT; how many indices changed, which all did where
    there were none.

    problem, factors: as `fit_kernel.improve_rows` takes them, but that pairs have a factor, not rows.
    lut: `[entries, 2]`; indices: `[rows / 2, in]`, in and out. steps: sweeps of descent, and whether there are no
        indices yet (0 or 1). gradient: Σ Pᵀ H e, float64 `[2, entries]`, set.
    """
    weight, bases, diagonals, coefficients = problem
    lower, inverse, orders, which = factors
    sweeps, fresh = steps
    columns, apart, changes = weight.shape[1], _apart(lut), 0
    own, found = np.empty((PAIRS, columns), np.uint8), np.empty((PAIRS, columns), np.uint8)
    residuals, others = np.empty((2 * PAIRS, columns), np.float32), np.empty((2 * PAIRS, columns), np.float32)
    work = np.empty((2, 2 * PAIRS, columns), np.float32)
    gradient[:] = 0.0
    for first in range(0, indices.shape[0], PAIRS):
        stop = min(first + PAIRS, indices.shape[0])
        pairs, rows = stop - first, slice(2 * first, 2 * stop)
        part = (weight[rows], bases, diagonals, coefficients[rows])
        table = (lut, apart, _counts(part[3]))
        own[:pairs] = indices[first:stop]
        states = ((own[:pairs], residuals[: 2 * pairs]), (found[:pairs], others[: 2 * pairs]))
        _improve(part, (lower, inverse, orders, which[first:stop]), table, states, work, (sweeps, fresh != 0))
        for p in range(pairs):
            for c in range(columns):
                k = own[p, c]
                changes += fresh != 0 or indices[first + p, c] != k
                indices[first + p, c] = k
                gradient[0, k] += np.float64(residuals[2 * p, c])
                gradient[1, k] += np.float64(residuals[2 * p + 1, c])
    return changes
