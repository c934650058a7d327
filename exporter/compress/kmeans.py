"""Palettizes one weight by k-means, with one float16 LUT per group of output rows."""

from __future__ import annotations

import functools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.compress.damage import first_place, not_finite
from exporter.errors import KogataError, UnsupportedError
from exporter.graph.bits import RUN, pack
from exporter.graph.palette import PALETTE_BITS, Palette
from exporter.graph.spill import InMemory

FP16_OVERFLOW = 65520.0  # float16 rounds this and everything above to infinity (its largest value is 65504)


def palettize(
    weight: NDArray[np.float32], bits: int, group_size: int, importance: NDArray[np.float32] | None = None
) -> Palette:
    """The palette with the least squared error, Σ importance · (weight - decoded)², within 0.1 %.

    weight: float32 `[out, in]`, not empty.
    bits: 1, 2, 3, 4, 6 or 8.
    group_size: rows that share a LUT, ≥ 1; at most the number of rows is used.
    importance: float32 `[out, in]` ≥ 0, one factor per weight; None (or zeros in a group): all equal.

    The bound holds before entries are rounded to float16. If a group has fewer distinct values than entries, its
    decoded weights are its float16 weights, and the LUT repeats its last value. The result is deterministic.
    Raises InputError for NaN or infinity, UnsupportedError where float16 overflows, ValueError for wrong arguments.
    """
    problem = weight_problem("weight", weight)
    if problem is not None:
        raise problem
    return cluster(weight, bits, group_size, importance)[0]


def fits_float16(weight: NDArray[np.float32]) -> bool:
    """Whether all values are finite, in float32 and in float16."""
    lowest, highest = float(weight.min(initial=0)), float(weight.max(initial=0))  # NaN, if there is any
    return lowest > -FP16_OVERFLOW and highest < FP16_OVERFLOW


def weight_problem(name: str, weight: NDArray[np.float32]) -> KogataError | None:
    """The error for a weight that can't be stored as float16, with the index of the first bad value; None if it can."""
    if fits_float16(weight):
        return None
    finite = np.isfinite(weight)
    if finite.all():
        overflow = np.abs(weight) >= FP16_OVERFLOW
        place = first_place(overflow)
        return UnsupportedError.of(
            "compress.fp16_overflow",
            f"{weight[place]:g} at {list(place)} is beyond float16 (±65504); {np.count_nonzero(overflow)} such values",
            where=name,
            hint="phones compute in float16: rescale this weight in the checkpoint",
        )
    place = first_place(~finite)
    return not_finite(name, f"{weight[place]} at {list(place)}; {np.count_nonzero(~finite)} such values")


def cluster(
    weight: NDArray[np.float32], bits: int, group_size: int, importance: NDArray[np.float32] | None
) -> tuple[Palette, float]:
    """The palette of a weight that `weight_problem` accepts, and its unweighted squared error Σ (weight - decoded)²."""
    _check(weight, bits, group_size, importance)
    rows, columns = weight.shape
    group_size, threads = min(group_size, rows), cores()
    period = math.lcm(group_size, RUN)  # rows after which a group and a byte of packed indices both begin
    step = -(-rows // (4 * threads * period)) * period  # a few spans per thread, in case another program slows a core

    def run(first: int) -> Clusters:
        span = slice(first, first + step)
        masses = None if importance is None else importance[span]
        return cluster_rows(weight[span], (bits, group_size), masses)

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(run, range(0, rows, step)))
    packed = InMemory(np.concatenate([part.packed for part in parts]))
    lut = np.concatenate([part.lut for part in parts])
    errors = np.concatenate([part.errors for part in parts])
    return Palette(packed, (rows, columns), lut, bits, group_size), float(errors.sum())


@dataclass(frozen=True)
class Clusters:
    """Some rows of a weight.

    packed: their indices, as `graph.bits` packs them; lut: float16 as `Palette.lut`; errors: float64 `[groups]`,
        Σ (weight - decoded)² of each group.
    """

    packed: NDArray[np.uint8]
    lut: NDArray[np.float16]
    errors: NDArray[np.float64]


def cluster_rows(
    weight: NDArray[np.float32], form: tuple[int, int], importance: NDArray[np.float32] | None = None
) -> Clusters:
    """Palettizes some rows, which begin a group, on the caller's thread, without the GIL.

    form: bits and group size.
    """
    from exporter.compress.kernels import clusters_compiled as compiled  # imports numba and compiles

    bits, group_size = form
    rows, columns = weight.shape
    entries, groups = 2**bits, -(-rows // group_size)
    weight = np.require(weight, np.float32, ["C", "A"])
    masses = np.empty((0, 0), np.float32) if importance is None else np.require(importance, np.float32, ["C", "A"])
    errors = np.empty(groups)
    size, flat = group_size * columns, weight.reshape(-1)
    weights = (flat, flat.view(np.uint32), masses.reshape(-1), _half_values())
    lut, indices = np.empty((groups, entries), np.float32), np.empty(flat.size, np.uint8)
    work = compiled.buffers(min(size, flat.size), entries, importance is not None)
    compiled.run_groups(weights, (0, groups, size), (lut, indices, errors), work)
    return Clusters(pack(indices, bits), lut.astype(np.float16), errors)


def _check(weight: NDArray[np.float32], bits: int, group_size: int, importance: NDArray[np.float32] | None) -> None:
    if weight.ndim != 2 or weight.size == 0 or weight.dtype != np.float32:
        raise ValueError(f"palettize takes a float32 matrix, not {weight.dtype} {weight.shape}")
    if bits not in PALETTE_BITS or group_size < 1:
        raise ValueError(
            f"palettize takes {PALETTE_BITS} bits and groups of 1 or more rows, not {bits} and {group_size}"
        )
    if importance is None:
        return
    if importance.shape != weight.shape or importance.dtype != np.float32:
        raise ValueError(f"importance is {importance.dtype} {importance.shape}, weight {weight.shape}")
    if not (importance.min() >= 0 and importance.max() < np.inf):
        raise ValueError("importances must be finite and not negative")


@functools.cache
def _half_values() -> NDArray[np.float64]:
    """All finite float16 values, ascending, with one zero."""
    magnitudes = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)  # 0x7C00 is infinity
    values = np.concatenate([-magnitudes[:0:-1], magnitudes])
    values.setflags(write=False)
    return values


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
