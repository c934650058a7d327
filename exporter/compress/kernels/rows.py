"""Assignment of weights to LUT entries under a quadratic cost, compiled: rows with errors e that cost eᵀ H e.

Given the LUTs, every row is a closest-vector problem over a box of LUT entries. Two steps approximate its solution:

1. a search through a Cholesky factor H ≈ L·Lᵀ, from the last column to the first: each choice passes its error on to
   the columns that are still open. That is Babai's nearest plane, and GPTQ's recursion (arXiv 2507.18553);
2. cyclic coordinate descent on H itself: r = H·e is kept up to date; an unchanged coordinate costs two comparisons.

`add_product` and `_gram` do the work that is quadratic in the columns, on batches of rows that stay in the caches.
`fit_compiled.py` compiles `improve_rows`; `grid_rows.py` shares some functions. numba's cache only notices changes in
this file, so everything that is compiled into it is in this file. A product may be fused with a sum, but no sum is
reordered, and batches of rows don't depend on threads: results are the same bits for any number of threads.
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
Lookup = tuple[Singles, Singles, Ints]  # LUTs, the upper bounds of their entries, and each row's LUT
Out = tuple[Doubles, Doubles, Ints]

ROWS = 32  # rows that are processed together: each row of H is read once for all of them
BLOCK = 32  # columns whose indices are chosen one by one before their errors are passed on together
PANEL = 64  # columns of H that `_gram` adds up at once: PANEL rows of this length fit the second-level cache
TILE = 512  # columns that are summed at once: 6 rows of this length fit the first-level cache
GAIN_FACTOR = np.float32(0.9999)  # a change must gain more than rounding errors, or two entries could alternate


@inlined
def _nearest(bounds: Singles, x: float) -> int:
    """Position of the entry nearest to x (ties: the lower) in a LUT with these upper bounds; the last is infinite.

    Counting needs no branch that depends on data: it is faster than a binary search for up to 64 entries.
    """
    index = 0
    for k in range(bounds.size):
        index += x > bounds[k]
    return index


@inlined
def _bounds(luts: Singles) -> Singles:
    """The upper end of the interval in which an entry is the nearest: half way to the next entry, or infinity."""
    bounds = np.empty(luts.shape, np.float32)
    for g in range(luts.shape[0]):
        for k in range(luts.shape[1] - 1):
            bounds[g, k] = (luts[g, k] + luts[g, k + 1]) * np.float32(0.5)
        bounds[g, luts.shape[1] - 1] = np.inf
    return bounds


@inlined
def _rows(count: int, group_size: int, changes: Ints) -> Ints:
    """The rows of the groups that may change."""
    chosen, size = np.empty(count, np.int64), 0
    for i in range(count):
        if changes[min(i // group_size, changes.size - 1)]:
            chosen[size] = i
            size += 1
    return chosen[:size]


@inlined
def _add_to_two(out: tuple[Singles, Singles], shares: Singles, j: int, matrix: Singles, start: int) -> None:
    """out += shares[:2, j : j + 4] @ matrix[:4, start:], with few reads and writes per product."""
    a, b = out
    stop = start + a.size
    m0, m1, m2, m3 = matrix[0, start:stop], matrix[1, start:stop], matrix[2, start:stop], matrix[3, start:stop]
    a0, a1, a2, a3 = shares[0, j], shares[0, j + 1], shares[0, j + 2], shares[0, j + 3]
    b0, b1, b2, b3 = shares[1, j], shares[1, j + 1], shares[1, j + 2], shares[1, j + 3]
    for c in range(a.size):
        w, x, y, z = m0[c], m1[c], m2[c], m3[c]
        a[c] = a[c] + a0 * w + a1 * x + a2 * y + a3 * z
        b[c] = b[c] + b0 * w + b1 * x + b2 * y + b3 * z


@inlined
def _add_to_one(out: Singles, shares: Singles, j: int, matrix: Singles, start: int) -> None:
    """out += shares[j : j + 4] @ matrix[:4, start:]."""
    stop = start + out.size
    m0, m1, m2, m3 = matrix[0, start:stop], matrix[1, start:stop], matrix[2, start:stop], matrix[3, start:stop]
    s0, s1, s2, s3 = shares[j], shares[j + 1], shares[j + 2], shares[j + 3]
    for c in range(out.size):
        out[c] = out[c] + s0 * m0[c] + s1 * m1[c] + s2 * m2[c] + s3 * m3[c]


@inlined
def add_product(
    out: Singles, shares: Singles, matrix: Singles, rows: tuple[int, int], inner: tuple[int, int, int]
) -> None:
    """out[first:last, :stop] += shares[first:last, begin:end] @ matrix[begin:end, :stop]; inner: begin, end, stop."""
    (first, last), (begin, end, stop) = rows, inner
    whole = begin + (end - begin) // 4 * 4
    for start in range(0, stop, TILE):
        tile = min(start + TILE, stop)
        for j in range(begin, whole, 4):
            four = matrix[j : j + 4]
            for i in range(first, last - 1, 2):
                _add_to_two((out[i, start:tile], out[i + 1, start:tile]), shares[i : i + 2], j, four, start)
            if (last - first) % 2:
                _add_to_one(out[last - 1, start:tile], shares[last - 1], j, four, start)
        for j in range(whole, end):
            source = matrix[j, start:tile]
            for i in range(first, last):
                target, share = out[i, start:tile], shares[i, j]
                for c in range(target.size):
                    target[c] += share * source[c]


@inlined
def set_residuals(bases: Singles, coefficients: Singles, errors: Singles, residuals: Singles, scaled: Singles) -> None:
    """residuals = H·errors, row by row. scaled: scratch."""
    rows, columns = coefficients.shape[0], errors.shape[1]
    residuals[:rows] = 0
    for b in range(bases.shape[0]):
        first = 0
        while first < rows:
            last = first
            while last < rows and coefficients[last, b] != 0:
                for c in range(columns):
                    scaled[last, c] = coefficients[last, b] * errors[last, c]
                last += 1
            add_product(residuals, scaled, bases[b], (first, last), (0, columns, columns))
            first = last + 1


@inlined
def _nearest_plane(weight: Singles, factors: Factors, lookup: Lookup, indices: Bytes, work: Singles) -> None:
    """Sets the indices of all rows by Babai's nearest plane. work: scratch, `[2, rows, in]`."""
    lower, inverse, orders, factor_of = factors
    luts, bounds, group = lookup
    sums, errors = work[0], work[1]
    rows, columns = weight.shape
    sums[:rows] = 0
    for start in range((columns - 1) // BLOCK * BLOCK, -1, -BLOCK):
        stop = min(start + BLOCK, columns)
        for j in range(stop - 1, start - 1, -1):
            for i in range(rows):
                f, g = factor_of[i], group[i]
                c = orders[f, j]
                k = _nearest(bounds[g], weight[i, c] + sums[i, j] * inverse[f, j])
                error = weight[i, c] - luts[g, k]
                indices[i, c], errors[i, j] = k, error
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
def _set_interval(lut: Singles, bounds: Singles, k: int, limits: Singles) -> None:
    """Sets the interval of residuals in which an entry is the best. limits: curvature, lowest, highest residual."""
    curvature = limits[0]
    limits[1] = (bounds[k - 1] - lut[k]) * curvature if k > 0 and curvature > 0 else -np.inf
    limits[2] = (bounds[k] - lut[k]) * curvature if k + 1 < lut.size and curvature > 0 else np.inf


@inlined
def _descend(
    problem: Problem, i: int, lookup: Lookup, state: tuple[Bytes, Singles], limits: Singles, sweeps: int
) -> None:
    """Coordinate descent in row i, at most `sweeps` times over all columns; ends when no index changes.

    state: indices and residuals of all rows, kept up to date. limits: scratch, `[in, 3]`.
    """
    weight, bases, diagonals, coefficients = problem
    lut, bounds, shares = lookup[0][lookup[2][i]], lookup[1][lookup[2][i]], coefficients[i]
    indices, residuals = state[0][i], state[1][i]
    limits[:] = 0
    for b in range(bases.shape[0]):
        for c in range(indices.size):
            limits[c, 0] += shares[b] * diagonals[b, c]
    for c in range(indices.size):
        if not limits[c, 0] > 0:
            indices[c] = _nearest(bounds, weight[i, c])  # errors here cost nothing
        _set_interval(lut, bounds, indices[c], limits[c])
    for _ in range(sweeps):
        changed = False
        for c in range(indices.size):
            if limits[c, 1] <= residuals[c] <= limits[c, 2]:
                continue
            old = indices[c]
            target = lut[old] + residuals[c] / limits[c, 0]
            new = _nearest(bounds, target)
            if abs(lut[new] - target) < GAIN_FACTOR * abs(lut[old] - target):
                changed = True
                indices[c] = new
                _set_interval(lut, bounds, new, limits[c])
                for b in range(bases.shape[0]):
                    step, source = shares[b] * (lut[old] - lut[new]), bases[b, c]
                    if step:
                        for d in range(source.size):
                            residuals[d] += step * source[d]
        if not changed:
            break


@inlined
def _refine(problem: Problem, lookup: Lookup, state: tuple[Bytes, Singles], work: Singles, sweeps: int) -> None:
    """Improves indices by coordinate descent. state: indices (in, out), residuals (out). work: `[2, rows, in]`."""
    weight, bases, _, coefficients = problem
    luts, _, group = lookup
    indices, residuals = state
    rows, columns = weight.shape
    for i in range(rows):
        lut = luts[group[i]]
        for c in range(columns):
            work[0, i, c] = weight[i, c] - lut[indices[i, c]]
    set_residuals(bases, coefficients, work[0], residuals, work[1])
    limits = np.empty((columns, 3), np.float32)
    for i in range(rows):
        _descend(problem, i, lookup, state, limits, sweeps)


@inlined
def _cost(weight: Singles, lut: Singles, indices: Bytes, residuals: Singles) -> float:
    """eᵀ H e of a row."""
    total = 0.0
    for c in range(weight.size):
        total += np.float64(weight[c] - lut[indices[c]]) * np.float64(residuals[c])
    return total


@inlined
def _improve(
    problem: Problem,
    factors: Factors,
    lookup: Lookup,
    states: tuple[Bytes, Singles],
    work: Singles,
    steps: tuple[int, bool],
) -> None:
    """Better indices for a few rows.

    states: indices and residuals, `[2, rows, in]`; the first are in and out, the second scratch. steps: sweeps, and
    whether there are no indices yet.
    """
    weight, luts, group = problem[0], lookup[0], lookup[2]
    sweeps, fresh = steps
    current, trial = (states[0][0], states[1][0]), (states[0][1], states[1][1])
    _nearest_plane(weight, factors, lookup, trial[0], work)
    _refine(problem, lookup, trial, work, sweeps)
    if not fresh:
        _refine(problem, lookup, current, work, sweeps)
    for i in range(weight.shape[0]):
        lut, cost = luts[group[i]], _cost(weight[i], luts[group[i]], trial[0][i], trial[1][i])
        if fresh or cost < _cost(weight[i], lut, current[0][i], current[1][i]):
            current[0][i], current[1][i] = trial[0][i], trial[1][i]


@inlined
def _gram(base: Singles, shares: Singles, indices: Bytes, group: Ints, grams: Doubles, work: Singles) -> None:
    """Adds, per row, a matrix A with A + Aᵀ = share · Pᵀ B P, where P is the 0/1 matrix of the row's assignment.

    The upper half of B is summed, with half of its diagonal: panel by panel, first its rows, then its columns.
    work: `[entries + in, PANEL]`.
    """
    columns, entries = indices.shape[1], grams.shape[1]
    sums, panel = work[:entries], work[entries:]
    for start in range(0, columns, PANEL):
        stop = min(start + PANEL, columns)
        for j in range(stop):
            target, source = panel[j], base[j, start:stop]
            half = np.float32(1.0 if j < start else 0.5)
            for c in range(source.size):
                target[c] = half * source[c]
            target[source.size :] = 0
        for i in range(indices.shape[0]):
            if shares[i] == 0:
                continue
            sums[:] = 0
            for j in range(stop):
                target, source = sums[indices[i, j]], panel[j]
                for c in range(PANEL):
                    target[c] += source[c]
            gram, share = grams[group[i]], np.float64(shares[i])
            for k in range(entries):
                for c in range(start, stop):
                    gram[k, indices[i, c]] += share * sums[k, c - start]


def improve_rows(
    problem: Problem, factors: Factors, luts: Singles, indices: Bytes, steps: tuple[int, int, int], out: Out
) -> None:
    """Improves the indices of some rows, and adds up the normal equations of their LUTs.

    problem: weight `[rows, in]`, bases `[k, in, in]`, their diagonals `[k, in]`, coefficients `[rows, k]`.
    factors: lower Cholesky factors `[f, in, in]`, their inverse diagonals `[f, in]`, their orders of columns `[f, in]`,
        and each row's factor `[rows]`.
    luts: float32 `[groups, entries]`, ascending. indices: uint8 `[rows, in]`, in and out.
    steps: group size, sweeps of descent, and whether there are no indices yet (0 or 1).
    out: A with A + Aᵀ = Σ Pᵀ H P, float64 `[groups, entries, entries]`, and Σ Pᵀ H e, `[groups, entries]`. Sums are
        added to both, so that rows of one group may come in several calls; arrays of size 0 get none. int64 `[groups]`:
        in, 0 for groups that must not change; out, how many indices changed (all, where there were none).

    The first row must begin a group, unless there is only one group.
    """
    weight, bases, diagonals, coefficients = problem
    lower, inverse, orders, factor_of = factors
    columns, entries = weight.shape[1], luts.shape[1]
    group_size, sweeps, fresh = steps
    weights, shares = np.empty((ROWS, columns), np.float32), np.empty((ROWS, bases.shape[0]), np.float32)
    states = (np.empty((2, ROWS, columns), np.uint8), np.empty((2, ROWS, columns), np.float32))
    work, panel = np.empty((2, ROWS, columns), np.float32), np.empty((entries + columns, PANEL), np.float32)
    factor, group, bounds = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64), _bounds(luts)
    rows = _rows(weight.shape[0], group_size, out[2])
    out[2][:] = 0
    step = max(
        1, -(-rows.size // max(1, -(-rows.size // ROWS)))
    )  # batches of equal size: a small last one would be slow
    for first in range(0, rows.size, step):
        batch = rows[first : first + step]
        for n in range(batch.size):
            i = batch[n]
            weights[n], shares[n], states[0][0, n], factor[n] = weight[i], coefficients[i], indices[i], factor_of[i]
            group[n] = min(i // group_size, luts.shape[0] - 1)
        part = (weights[: batch.size], bases, diagonals, shares[: batch.size])
        lookup = (luts, bounds, group)
        _improve(part, (lower, inverse, orders, factor), lookup, states, work, (sweeps, fresh != 0))
        improved, residuals = states[0][0, : batch.size], states[1][0]
        for n in range(batch.size):
            for c in range(columns):
                out[2][group[n]] += fresh != 0 or indices[batch[n], c] != improved[n, c]
                indices[batch[n], c] = improved[n, c]
        if out[0].size:
            for b in range(bases.shape[0]):
                _gram(bases[b], part[3][:, b].copy(), improved, group, out[0], panel)
            for n in range(batch.size):
                for c in range(columns):
                    out[1][group[n], improved[n, c]] += np.float64(residuals[n, c])
