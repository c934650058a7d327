"""Compiled: LUT entries for given indices, and the Cholesky factors for assigning indices (see `rows.py`).

`fit_compiled.py` compiles the public functions. numba's cache only notices changes in this file, so everything that is
compiled into those functions is in this file.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from exporter.compress.kernels.inlined import inlined

Doubles = NDArray[np.float64]
Singles = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

MAX_FLOAT16 = 65504.0  # the largest finite float16 value
MAX_STEPS = 96  # of conjugate gradients; starting from the last LUT, 12 to 24 are usual
TILE = 512  # columns that are summed at once: 9 rows of this length fit the caches
TOLERANCE = 1e-12  # conjugate gradients end where the preconditioned squared residual has fallen by this


@inlined
def _half(x: float) -> float:
    """The float16 value nearest to x (ties to even), at most the largest."""
    if x == 0.0:
        return 0.0
    _, exponent = math.frexp(x)
    unit = math.ldexp(1.0, max(exponent - 11, -24))  # 11 significant bits; subnormal values are multiples of 2**-24
    return float(min(max(np.rint(x / unit) * unit, -MAX_FLOAT16), MAX_FLOAT16))


@inlined
def _solve(gram: Doubles, gradient: Doubles, work: Doubles) -> None:
    """Solves gram·x = gradient into work[0], by conjugate gradients from 0 with the diagonal as preconditioner.

    Every step lowers the cost. Unused entries (a zero row and column) stay unchanged, even where gram is singular.
    """
    x, residual, scaled, direction, image = work[0], work[1], work[2], work[3], work[4]
    entries = gradient.size
    previous = 0.0
    for a in range(entries):
        x[a], residual[a] = 0.0, gradient[a]
        scaled[a] = residual[a] / gram[a, a] if gram[a, a] > 0.0 else 0.0
        direction[a] = scaled[a]
        previous += scaled[a] * residual[a]
    target = TOLERANCE * previous
    for _ in range(MAX_STEPS):
        if not previous > target:
            return
        curvature = 0.0
        image[:] = 0.0
        for a in range(entries):
            if direction[a] != 0.0:
                for b in range(entries):
                    image[b] += gram[a, b] * direction[a]
        for a in range(entries):
            curvature += direction[a] * image[a]
        if not curvature > 0.0:
            return
        step, current = previous / curvature, 0.0
        for a in range(entries):
            x[a] += step * direction[a]
            residual[a] -= step * image[a]
            scaled[a] = residual[a] / gram[a, a] if gram[a, a] > 0.0 else 0.0
            current += scaled[a] * residual[a]
        for a in range(entries):
            direction[a] = scaled[a] + current / previous * direction[a]
        previous = current


@inlined
def _rounded(gram: Doubles, gradient: Doubles, lut: Singles, work: Doubles) -> None:
    """Changes the step in work[0] so that it leads to float16 entries: rounds one by one, later ones compensate."""
    step, image = work[0], work[1]
    entries = lut.size
    image[:] = 0.0
    for a in range(entries):
        for b in range(entries):
            image[b] += gram[a, b] * step[a]
    for _ in range(2):
        for a in range(entries):
            if gram[a, a] > 0.0:
                best = lut[a] + step[a] + (gradient[a] - image[a]) / gram[a, a]
                move = _half(best) - lut[a] - step[a]
                step[a] += move
                if move != 0.0:
                    for b in range(entries):
                        image[b] += gram[a, b] * move
    gain = 0.0
    for a in range(entries):
        gain += step[a] * (2 * gradient[a] - image[a])
    if not gain > 0.0:
        step[:] = 0.0


def refit_luts(
    luts: Singles, indices: Bytes, group_size: int, equations: tuple[Doubles, Doubles], work: tuple[Doubles, Ints]
) -> None:
    """Least-squares LUTs for the indices, as float16 values and ascending; the indices follow their entries.

    luts: float32 `[groups, entries]`; indices: uint8 `[rows, in]`; equations: the sums of `improve_rows`.
    work: float64 `[5, entries]` and int64 `[2, entries]`. A group's cost never grows by more than rounding errors.
    """
    grams, gradients = equations
    solution, ranks = work
    groups, entries = luts.shape
    for g in range(groups):
        gram, gradient, lut = grams[g], gradients[g], luts[g]
        for a in range(entries):
            for b in range(a + 1):
                gram[a, b] = gram[b, a] = gram[a, b] + gram[b, a]
        _solve(gram, gradient, solution)
        _rounded(gram, gradient, lut, solution)
        for a in range(entries):
            lut[a] = np.float32(lut[a] + solution[0, a])
        order, position = ranks[0], ranks[1]
        for a in range(entries):  # insertion sort: stable, and fast for nearly sorted entries
            b = a
            while b > 0 and lut[order[b - 1]] > lut[a]:
                order[b] = order[b - 1]
                b -= 1
            order[b] = a
        for a in range(entries):
            position[order[a]] = a
            solution[1, a] = lut[order[a]]
        reordered = False
        for a in range(entries):
            lut[a] = np.float32(solution[1, a])
            reordered = reordered or position[a] != a
        if reordered:
            for i in range(g * group_size, min((g + 1) * group_size, indices.shape[0])):
                for c in range(indices.shape[1]):
                    indices[i, c] = position[indices[i, c]]


@inlined
def _add_rows(out: Doubles, shares: Doubles, matrix: Doubles, start: int) -> None:
    """out += shares · matrix[:, start:], for eight rows."""
    stop = start + out.size
    m0, m1, m2, m3 = matrix[0, start:stop], matrix[1, start:stop], matrix[2, start:stop], matrix[3, start:stop]
    m4, m5, m6, m7 = matrix[4, start:stop], matrix[5, start:stop], matrix[6, start:stop], matrix[7, start:stop]
    s0, s1, s2, s3, s4, s5, s6, s7 = (
        shares[0],
        shares[1],
        shares[2],
        shares[3],
        shares[4],
        shares[5],
        shares[6],
        shares[7],
    )
    for c in range(out.size):
        first = out[c] + s0 * m0[c] + s1 * m1[c] + s2 * m2[c] + s3 * m3[c]
        out[c] = first + s4 * m4[c] + s5 * m5[c] + s6 * m6[c] + s7 * m7[c]


@inlined
def _swap(matrix: Doubles, a: int, b: int) -> None:
    """Exchanges two rows and columns, a < b, of a symmetric matrix; only its upper half is stored."""
    for j in range(a):
        matrix[j, a], matrix[j, b] = matrix[j, b], matrix[j, a]
    for j in range(a + 1, b):
        matrix[a, j], matrix[j, b] = matrix[j, b], matrix[a, j]
    for j in range(b + 1, matrix.shape[0]):
        matrix[a, j], matrix[b, j] = matrix[b, j], matrix[a, j]
    matrix[a, a], matrix[b, b] = matrix[b, b], matrix[a, a]


def factor_rows(matrix: Doubles, order: Ints, remaining: Doubles, span: tuple[int, int], least: float) -> None:
    """Computes some rows of the factor U of a matrix UᵀU, in its upper half; each pivot is the smallest remaining one.

    The share of the rows before them must be subtracted already: see `update_rows`.
    order: the column of each row; remaining: the rest of the diagonal. Both are in and out.
    span: first row, and end. least: smaller pivots are raised to this, and the rest of their rows is set to 0.
    """
    size = order.size
    for j in range(span[0], span[1]):
        pivot = j + int(np.argmin(remaining[j:]))
        if pivot != j:
            order[j], order[pivot] = order[pivot], order[j]
            remaining[j], remaining[pivot] = remaining[pivot], remaining[j]
            _swap(matrix, j, pivot)
        row, rest = matrix[j, j + 1 :], remaining[j + 1 :]
        for k in range(span[0], j):
            factor, source = matrix[k, j], matrix[k, j + 1 :]
            for c in range(row.size):
                row[c] -= factor * source[c]
        matrix[j, j] = np.sqrt(max(remaining[j], least))
        if remaining[j] > least:
            for c in range(size - j - 1):
                row[c] /= matrix[j, j]
                rest[c] -= row[c] * row[c]
        else:
            row[:] = 0.0  # a positive semidefinite matrix has about 0 there


def update_rows(matrix: Doubles, span: tuple[int, int], rows: tuple[int, int]) -> None:
    """Subtracts the share of a span of factor rows (a multiple of 8) from some rows of the upper half."""
    shares = np.empty(8)
    for tile in range(rows[0], matrix.shape[0], TILE):
        end = min(tile + TILE, matrix.shape[0])
        for k in range(span[0], span[1], 8):
            for a in range(rows[0], min(rows[1], end)):
                for m in range(8):
                    shares[m] = -matrix[k + m, a]
                begin = max(a, tile)
                _add_rows(matrix[a, begin:end], shares, matrix[k : k + 8], begin)


def add_costs(
    errors: Doubles, base: Singles, coefficients: Singles, costs: Doubles, work: tuple[Doubles, Doubles]
) -> None:
    """Adds coefficient · eᵀ B e of each row to `costs`, summed in float64. errors: `[rows, in]`.

    work: `[rows, in]` and `[8, in]`. B is symmetric: elements of its upper half are read, and count twice.
    """
    sums, panel = work
    rows, columns = errors.shape
    sums[:] = 0.0
    for start in range(0, columns, 8):
        stop = min(start + 8, columns)
        panel[:] = 0.0
        for j in range(start, stop):
            for c in range(start, columns):
                panel[j - start, c] = base[j, c]
        for i in range(rows):
            total = 0.0
            for c in range(start, stop):
                inside = 2 * sums[i, c]
                for j in range(start, stop):
                    inside += errors[i, j] * panel[j - start, c]
                total += errors[i, c] * inside
            costs[i] += np.float64(coefficients[i]) * total
        if stop - start == 8:
            for tile in range(stop, columns, TILE):
                end = min(tile + TILE, columns)
                for i in range(rows):
                    if coefficients[i] != 0.0:
                        _add_rows(sums[i, tile:end], errors[i, start:stop], panel, tile)
