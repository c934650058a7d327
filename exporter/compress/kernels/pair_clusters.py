"""k-means of pairs, compiled: the weights of two neighbouring output rows in a column are a point in the plane.

Cells are split until there are enough (Linde, Buzo and Gray), with steps of Lloyd's algorithm after each split.
numba's cache notices changes of this file only, so all that is compiled into it is here. No sum depends on threads.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from exporter.compress.kernels.inlined import inlined

Doubles = NDArray[np.float64]
Singles = NDArray[np.float32]
Bytes = NDArray[np.uint8]

SAMPLE = 1 << 14  # pairs of a group that entries are first made from
SPLITTING, SETTLING, FINAL = 4, 24, 2  # steps of Lloyd: after each split, after the last, and on all pairs
LARGEST = 65504.0  # of float16


@inlined
def _half(x: float) -> float:
    """The float16 value nearest to x (ties to even), at most the largest."""
    if x == 0.0:
        return 0.0
    _, exponent = math.frexp(x)
    unit = math.ldexp(1.0, max(exponent - 11, -24))  # 11 significant bits; subnormal values are multiples of 2**-24
    return float(min(max(np.rint(x / unit) * unit, -LARGEST), LARGEST))


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
def _gathered(weight: Singles, masses: Singles, step: int) -> Singles:
    """Every `step`-th pair of rows that begin a group: both values and both masses, `[4, pairs]`."""
    rows, columns = weight.shape
    count = rows // 2 * columns
    points = np.empty((4, -(-count // step)), np.float32)
    for n in range(points.shape[1]):
        row, c = 2 * (n * step // columns), n * step % columns
        points[0, n], points[1, n] = weight[row, c], weight[row + 1, c]
        points[2, n] = masses[row, c] if masses.size else np.float32(1)
        points[3, n] = masses[row + 1, c] if masses.size else np.float32(1)
    return points


@inlined
def _lloyd(points: Singles, lut: Singles, sums: Doubles) -> None:
    """One step: entries move to the means of what is nearest to them. sums: `[6, entries]`, of the cells before it.

    The first entry that nothing is nearest to takes the place of the pair that fares worst.
    """
    sums[:] = 0.0
    worst, place = -1.0, 0
    for n in range(points.shape[1]):
        x, y, a, b = points[0, n], points[1, n], points[2, n], points[3, n]
        k = _nearest(lut, x, y, a, b)
        u, v = x - lut[k, 0], y - lut[k, 1]
        cost = a * u * u + b * v * v
        if cost > worst:
            worst, place = cost, n
        sums[0, k] += a
        sums[1, k] += b
        sums[2, k] += np.float64(a) * x
        sums[3, k] += np.float64(b) * y
        sums[4, k] += np.float64(a) * u * u
        sums[5, k] += np.float64(b) * v * v
    free = True
    for k in range(lut.shape[0]):
        if sums[0, k] > 0.0:
            lut[k, 0] = np.float32(sums[2, k] / sums[0, k])
        if sums[1, k] > 0.0:
            lut[k, 1] = np.float32(sums[3, k] / sums[1, k])
        if free and sums[0, k] + sums[1, k] == 0.0 and worst > 0.0:
            lut[k, 0], lut[k, 1] = points[0, place], points[1, place]
            free = False


@inlined
def _split(lut: Singles, count: int, sums: Doubles) -> None:
    """Cells 0 … count - 1 become twice as many: each is cut across the side on which it is wider."""
    for k in range(count):
        lut[count + k, 0], lut[count + k, 1] = lut[k, 0], lut[k, 1]
        side = 0 if sums[4, k] >= sums[5, k] else 1
        mass = sums[side, k]
        apart = np.float32(0.5 * math.sqrt(sums[4 + side, k] / mass)) if mass > 0.0 else np.float32(0)
        lut[k, side] -= apart
        lut[count + k, side] += apart


def cluster_pairs(
    weight: Singles, masses: Singles, group_size: int, out: tuple[Singles, Bytes, Doubles], entries: int
) -> None:
    """k-means of pairs, group by group.

    weight: `[rows, in]`, whole groups of an even number of rows, of which the last may be smaller. masses: of the
    weights, of the same shape, or of size 0 where all are alike. out: LUTs `[groups, entries, 2]`, of float16 values;
    indices `[rows / 2, in]`; and Σ (weight - decoded)² of each group, not weighted by masses.
    """
    luts, indices, errors = out
    rows, columns = weight.shape
    sums, both = np.empty((6, entries)), np.empty(2, np.float32)
    for g in range(luts.shape[0]):
        first, last = g * group_size, min((g + 1) * group_size, rows)
        here, own = weight[first:last], masses[first:last] if masses.size else masses
        pairs = (last - first) // 2 * columns
        points, lut = _gathered(here, own, max(1, pairs // SAMPLE)), luts[g]
        if masses.size and points[2:].max() == 0:
            points[2:] = 1
        lut[:] = 0
        count = 1
        _lloyd(points, lut[:1], sums[:, :1])
        _lloyd(points, lut[:1], sums[:, :1])  # again: spreads are around the means before a step
        while count < entries:
            _split(lut, count, sums)
            count *= 2
            for _ in range(SPLITTING if count < entries else SETTLING):
                _lloyd(points, lut[:count], sums[:, :count])
        if points.shape[1] < pairs:
            points = _gathered(here, own, 1)
            for _ in range(FINAL):
                _lloyd(points, lut, sums)
        for k in range(entries):
            lut[k, 0], lut[k, 1] = np.float32(_half(lut[k, 0])), np.float32(_half(lut[k, 1]))
        errors[g] = 0.0
        for n in range(pairs):
            i, c = n // columns, n % columns
            x, y = here[2 * i, c], here[2 * i + 1, c]
            both[:] = 1
            if masses.size and own[2 * i, c] + own[2 * i + 1, c] > 0:
                both[0], both[1] = own[2 * i, c], own[2 * i + 1, c]
            k = _nearest(lut, x, y, both[0], both[1])
            indices[first // 2 + i, c] = k
            errors[g] += np.float64(x - lut[k, 0]) ** 2 + np.float64(y - lut[k, 1]) ** 2
