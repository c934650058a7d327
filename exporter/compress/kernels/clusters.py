"""1-D k-means, compiled: one LUT per group of rows, optimal on the weights' float16 values.

A weight is decoded to one of its LUT's float16 entries. So a group is first reduced to its distinct float16 values and
their masses: at most 63,487 points, sorted by two radix passes. Then

1. the points are gathered into a few bins per cluster of about equal distortion (mass · width², the condition that
   optimal cells obey: Panter and Dite, 1951), so tails and outliers get their own bins;
2. a least-weight path over the bins gives the optimal clustering: within-cluster squared error is a Monge cost, so the
   error is convex in the number of clusters, and a penalty per cluster, found by search, gives exactly the wanted
   number (Aggarwal, Schieber and Tokuyama, 1994). The time hardly depends on the number of clusters;
3. Lloyd's steps on prefix sums over the points move the boundaries from bin to point resolution; the last steps keep
   the centroids on the float16 grid, where the value nearest to a cell's mean is optimal for that cell.

There is no random start, and a group's result depends only on that group: any split over threads gives the same bits.
`clusters_compiled.py` compiles `cluster_groups` and caches it on disk. numba's cache only notices changes in that
function's own file, so everything that is compiled into it is in this file. It allocates no memory and takes plain
arrays, which halves the compile time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Halves = NDArray[np.uint16]
Words = NDArray[np.uint32]
Ints = NDArray[np.int64]

ZERO = 31743  # the code of 0.0: codes count float16 values in ascending order, -65504 is 0 and 65504 is 63486
CODES = 2 * ZERO + 1
BINS, BINS_PER_CLUSTER = 256, 16  # bins = BINS + BINS_PER_CLUSTER · clusters: < 0.05 % above the optimum, tests say

# Rows of `points` and `bins`: Σ mass, Σ mass · (value - mean), value | path cost.
MASS, MOMENT, VALUE, COST = 0, 1, 2, 3
EDGE, ORIGIN, CUTS = 0, 1, 2  # rows of `steps`: first point of a bin, predecessor on the path, cuts (three rows)

F = TypeVar("F", bound=Callable[..., object])


def _inlined(function: F) -> F:
    """Compiles `function` for calls from compiled code only; the Python wrapper is left out to save compile time."""
    return cast(F, numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True)(function))


@_inlined
def _to_code(bits: np.uint32) -> int:
    """Code of the float16 nearest to the finite float32 with these bits (ties to even)."""
    magnitude = int(bits & np.uint32(0x7FFFFFFF))
    if magnitude >= 0x38800000:  # 2**-14: normal in float16; rebias the exponent, drop 13 bits of mantissa
        half = (magnitude - 0x38000000 + 0xFFF + ((magnitude >> 13) & 1)) >> 13
    else:  # subnormal: value · 2**24 rounded; the float32 is (mantissa with its hidden bit) · 2**(exponent - 150)
        shift = min(126 - (magnitude >> 23), 40)
        mantissa = (magnitude & 0x7FFFFF) | 0x800000
        half = (mantissa + (1 << (shift - 1)) - 1 + ((mantissa >> shift) & 1)) >> shift
    return ZERO - half if bits >> np.uint32(31) else ZERO + half


@_inlined
def _sort(codes: Halves, samples: Singles, masses: Singles, n: int, count: Ints) -> None:
    """Sorts codes[0, :n] ascending (two stable passes, low byte first); samples[0] and masses[0] move along."""
    for turn in range(2):
        count[:257] = 0
        for i in range(n):
            count[((codes[turn, i] >> (8 * turn)) & 255) + 1] += 1
        for i in range(256):
            count[i + 1] += count[i]
        for i in range(n):
            digit = (codes[turn, i] >> (8 * turn)) & 255
            at = count[digit]
            count[digit] = at + 1
            codes[1 - turn, at] = codes[turn, i]
            samples[1 - turn, at] = samples[turn, i]
            if masses.size:
                masses[1 - turn, at] = masses[turn, i]


@_inlined
def _points(codes: Halves, samples: Singles, masses: Singles, n: int, points: Floats) -> tuple[int, float, float]:
    """Merges the weights that share a float16 value into one point at their mean.

    Fills `points`: values, and prefix sums of mass and of mass · (value - mean). Returns the number of points, the mean
    of all weights, and the squared error of a single cluster.
    """
    count, last, total, moment = -1, -1, 0.0, 0.0
    for i in range(n):
        mass = np.float64(masses[0, i]) if masses.size else 1.0
        if mass > 0.0:
            if codes[0, i] != last:
                last = int(codes[0, i])
                count += 1
                points[MASS, count + 1] = points[MOMENT, count] = 0.0
            points[MASS, count + 1] += mass
            points[MOMENT, count] += mass * samples[0, i]
            total += mass
            moment += mass * samples[0, i]
    count += 1
    mean = moment / total
    squares, moment = 0.0, 0.0
    points[MASS, 0] = 0.0
    for p in range(count):
        points[VALUE, p] = points[MOMENT, p] / points[MASS, p + 1]
        mass = max(points[MASS, p + 1], 1e-13 * total)  # a smaller mass vanishes in the sums: division by zero
        offset = points[VALUE, p] - mean
        points[MOMENT, p] = moment
        moment += mass * offset
        squares += mass * offset * offset
        points[MASS, p + 1] = points[MASS, p] + mass
    points[MOMENT, count] = moment
    return count, mean, squares


@_inlined
def _pack_bins(points: Floats, n: int, limit: float, steps: Ints, capacity: int) -> int:
    """Greedy bins with mass · width² ≤ limit. Returns their number, or -(points covered) if `capacity` is exceeded."""
    bins, start = 0, 0
    steps[EDGE, 0] = 0
    for p in range(1, n):
        width = points[VALUE, p] - points[VALUE, start]
        if (points[MASS, p + 1] - points[MASS, start]) * width * width > limit:
            bins += 1
            if bins == capacity:
                return -p
            steps[EDGE, bins] = p
            start = p
    steps[EDGE, bins + 1] = n
    return bins + 1


@_inlined
def _bins(points: Floats, n: int, wanted: int, steps: Ints) -> int:
    """Writes the first point of each of about `wanted` bins (half to twice as many); few points get one bin each."""
    if n <= wanted:
        for p in range(n + 1):
            steps[EDGE, p] = p
        return n
    # Panter-Dite: equal cells have mass · width² = (Σ ∛(mass · width²) over any fine partition / cells)³.
    spread, start = 0.0, 0
    for p in range(1, n):
        mass = points[MASS, p] - points[MASS, start]
        if mass * 512 >= points[MASS, n] or p == n - 1:
            width = points[VALUE, p] - points[VALUE, start]
            spread += (mass * width * width) ** (1 / 3)
            start = p
    limit, feasible = (spread / wanted) ** 3, np.inf
    for _ in range(12):
        bins = _pack_bins(points, n, limit, steps, 2 * wanted)
        if 2 * bins >= wanted:
            return bins
        if bins > 0:
            feasible = min(feasible, limit)
        estimate = float(bins) if bins > 0 else 2.0 * wanted * n / -bins
        limit *= (estimate / wanted) ** 3
    # The values span too many orders of magnitude for one limit: few bins, but more than clusters (12 rounds cover 40
    # decades).
    return _pack_bins(points, n, feasible, steps, 2 * wanted)


@_inlined
def _path(bins: Floats, n: int, penalty: float, steps: Ints, row: int) -> int:
    """Least-weight path over the bins: a cluster costs its error + penalty. Returns their number; cuts in `row`.

    The error of bins i…j-1 is a constant - (Σ moment)² / Σ mass. The best i never decreases with j (Monge).
    """
    bins[COST, 0], steps[ORIGIN, 0] = 0.0, 0
    for j in range(1, n + 1):
        least, at = np.inf, 0
        for i in range(steps[ORIGIN, j - 1], j):
            moment = bins[MOMENT, j] - bins[MOMENT, i]
            cost = bins[COST, i] - moment * moment / (bins[MASS, j] - bins[MASS, i])
            if cost < least:
                least, at = cost, i
        bins[COST, j], steps[ORIGIN, j] = least + penalty, at
    clusters, j = 0, n
    while j > 0:
        j = steps[ORIGIN, j]
        clusters += 1
    j = n
    for c in range(clusters, -1, -1):
        steps[row, c] = j
        j = steps[ORIGIN, j]
    return clusters


@_inlined
def _splice(few: Ints, n_few: int, many: Ints, n_many: int, clusters: int) -> bool:
    """Combines two paths that are optimal at one penalty, with fewer and with more clusters, into the wanted number.

    Where an edge of `many` lies inside an edge of `few` and the counts add up, the path can change from `few` to `many`
    at no cost. The result is in `few`. Returns whether there is such an edge.
    """
    ahead = n_many - clusters
    for c in range(n_few):
        if few[c] <= many[c + ahead] and many[c + ahead + 1] <= few[c + 1]:
            for d in range(c + 1, clusters + 1):
                few[d] = many[d + ahead]
            return True
    return False


@_inlined
def _split(cuts: Ints, count: int, clusters: int) -> None:
    """Halves the cluster with the most bins until there are enough; used when rounding hides the gain of a split."""
    while count < clusters:
        widest = 0
        for c in range(count):
            if cuts[c + 1] - cuts[c] > cuts[widest + 1] - cuts[widest]:
                widest = c
        for c in range(count, widest, -1):
            cuts[c + 1] = cuts[c]
        cuts[widest + 1] = (cuts[widest] + cuts[widest + 2]) // 2
        count += 1


@_inlined
def _cluster_bins(bins: Floats, n: int, squares: float, clusters: int, steps: Ints) -> int:
    """Optimal clustering of the bins (more bins than clusters). Returns the row of `steps` that holds its cuts."""
    few, many, spare = CUTS, CUTS + 1, CUTS + 2
    high, n_few, few_error = 0.0, 1, 0.0
    low, n_many, many_error = 0.0, 0, 0.0
    steps[few, 0], steps[few, 1] = 0, n
    penalty = 4 * squares / clusters**3  # error falls as 1 / clusters², its slope as 1 / clusters³
    grow = 2.0
    for run in range(100):
        count = _path(bins, n, penalty, steps, spare)
        if count == clusters:
            return spare
        if run > 8 and high and low and not n_few < count < n_many:
            break  # the penalty was a chord's slope, and no point of the convex error curve lies below the chord
        error = bins[COST, n] - penalty * count
        if count < clusters:
            high, n_few, few_error = penalty, count, error
            few, spare = spare, few
        else:
            low, n_many, many_error = penalty, count, error
            many, spare = spare, many
        if high and low and run < 8:
            penalty = low * (high / low) ** (np.log(n_many / clusters) / np.log(n_many / n_few))
        elif high and low:
            penalty = (few_error - many_error) / (n_many - n_few)
        else:
            ratio = (count / clusters) ** 3
            penalty *= max(ratio, grow) if ratio > 1 else min(ratio, 1 / grow)
            grow = min(grow * grow, 1e30)
        if not penalty > 1e-17 * squares:
            break
    if not (low and _splice(steps[few], n_few, steps[many], n_many, clusters)):
        _split(steps[few], n_few, clusters)
    return few


@_inlined
def _lloyd(points: Floats, moments: tuple[float, float], cuts: Ints, centres: Floats, values: Floats) -> None:
    """Lloyd's steps over the points until the error stops falling; `cuts` and `centres` (float64) are both updated.

    moments: mean and squared error of all points. With `values` (the float16 values by code; else of size 0) centres
    stay float16 values.
    """
    mean, squares = moments
    clusters, previous = centres.size, np.inf
    for _ in range(100):
        error = squares
        for c in range(clusters):
            mass = points[MASS, cuts[c + 1]] - points[MASS, cuts[c]]
            if mass > 0.0:
                moment = points[MOMENT, cuts[c + 1]] - points[MOMENT, cuts[c]]
                centre = moment / mass + mean
                if values.size:
                    centre = values[_nearest(values, centre)]
                centres[c] = centre
                offset = centre - mean
                error -= (2 * moment - mass * offset) * offset
        if not error < previous * (1 - 1e-6):
            return
        previous = error
        for c in range(1, clusters):
            boundary, p = (centres[c - 1] + centres[c]) / 2, cuts[c]
            while p > cuts[c - 1] and points[VALUE, p - 1] > boundary:
                p -= 1
            while p < cuts[clusters] and points[VALUE, p] <= boundary:
                p += 1
            cuts[c] = p


@_inlined
def _nearest(values: Floats, x: float) -> int:
    """Position of the entry of ascending `values` nearest to x (ties: the lower)."""
    low, high = 0, values.size - 1
    while low < high:
        middle = (low + high) >> 1
        if x > (values[middle] + values[middle + 1]) / 2:
            low = middle + 1
        else:
            high = middle
    return low


@_inlined
def _assign(weight: Singles, indices: Bytes, lut: Singles, bounds: Singles) -> float:
    """Index of the nearest entry of an ascending float16-valued LUT (ties: the lower); returns the squared error."""
    entries = lut.size
    for e in range(entries):
        bounds[e] = np.inf  # entries that repeat the last stay unused
        if e + 1 < entries and lut[e + 1] > lut[e]:
            middle = (np.float64(lut[e]) + np.float64(lut[e + 1])) / 2  # exact: float16 spans 40 binades
            bounds[e] = middle
            if bounds[e] > middle:  # the largest float32 not above the middle decides as the middle itself would
                bounds[e] = np.nextafter(bounds[e], np.float32(-np.inf))
    error = 0.0
    for i in range(weight.size):
        index, step = 0, entries >> 1
        while step:
            if weight[i] > bounds[index + step - 1]:
                index += step
            step >>= 1
        indices[i] = index
        difference = np.float64(weight[i]) - np.float64(lut[index])
        error += difference * difference
    return error


@_inlined
def _cluster(points: Floats, n_points: int, squares: float, bins: Floats, steps: Ints, clusters: int) -> int:
    """Optimal clustering of the points (more points than clusters). Returns the row of `steps` that holds its cuts."""
    n_bins = _bins(points, n_points, BINS + BINS_PER_CLUSTER * clusters, steps)
    for b in range(n_bins + 1):
        bins[MASS, b], bins[MOMENT, b] = points[MASS, steps[EDGE, b]], points[MOMENT, steps[EDGE, b]]
    row = _cluster_bins(bins, n_bins, squares, clusters, steps)
    for c in range(clusters + 1):
        steps[row, c] = steps[EDGE, steps[row, c]]
    return row


Weights = tuple[Singles, Words, Singles, Floats]
Out = tuple[Singles, Bytes, Floats]
Work = tuple[Halves, Singles, Singles, Floats, Floats, Ints, Floats, Singles]


def cluster_groups(weights: Weights, groups: tuple[int, int, int], out: Out, work: Work) -> None:
    """Clusters groups `first … last - 1` of `size` weights each (the tensor's last group may have fewer).

    weights: the tensor flat as float32 (finite, below 65520 in magnitude), the same memory as uint32, the importances
        (float32 ≥ 0, or of size 0), and the float16 values by code, float64 `[CODES]`.
    groups: first, last, size.
    out: LUTs float32 `[groups, entries]`, indices uint8 flat, squared errors float64 `[groups]`.
    work: the result of `clusters_compiled.buffers`.
    """
    weight, bits, importance, values = weights
    luts, indices, errors = out
    codes, samples, masses, points, bins, steps, centres, bounds = work
    first, last, size = groups
    entries = centres.size
    for group in range(first, last):
        start, end = group * size, min((group + 1) * size, weight.size)
        n, total = end - start, 0.0
        for i in range(n):
            codes[0, i], samples[0, i] = _to_code(bits[start + i]), weight[start + i]
            if importance.size:
                masses[0, i] = importance[start + i]
                total += masses[0, i]
        if importance.size and total == 0.0:  # without any importance, all weights of a group count equally
            masses[0, :n] = 1.0
        _sort(codes, samples, masses, n, steps[EDGE])
        n_points, mean, squares = _points(codes, samples, masses, n, points)
        if n_points > entries:
            cuts = steps[_cluster(points, n_points, squares, bins, steps, entries)]
            for e in range(entries):
                centres[e] = points[VALUE, min(cuts[e], n_points - 1)]  # an empty cell keeps this value
            _lloyd(points, (mean, squares), cuts, centres, values[:0])
            _lloyd(points, (mean, squares), cuts, centres, values)
        else:
            for e in range(entries):
                centres[e] = values[_nearest(values, points[VALUE, min(e, n_points - 1)])]
        for e in range(entries):
            luts[group, e] = centres[e]
        errors[group] = _assign(weight[start:end], indices[start:end], luts[group], bounds)
