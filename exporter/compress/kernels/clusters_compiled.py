"""Compiles the k-means kernel on import, or loads it from numba's cache. Import this module lazily."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import cast

import numba
import numpy as np
from numba import types

from exporter.compress.kernels.clusters import BINS, BINS_PER_CLUSTER, CODES, Out, Weights, Work, cluster_groups

Kernel = Callable[[Weights, tuple[int, int, int], Out, Work], None]


def buffers(size: int, entries: int, weighted: bool) -> Work:
    """Scratch memory for groups of up to `size` weights: about 12 bytes per weight (20 if weighted), and up to 2 MB."""
    length = min(size, CODES) + 1
    width = 2 * (BINS + BINS_PER_CLUSTER * entries) + 2  # at least 257: sorting counts in the first row of steps
    return (
        np.empty((2, size), np.uint16),
        np.empty((2, size), np.float32),
        np.empty((2, size if weighted else 0), np.float32),
        np.empty((3, length)),
        np.empty((4, width)),
        np.empty((5, width), np.int64),
        np.empty(entries),
        np.empty(entries, np.float32),
    )


def _array(dtype: types.Type, rank: int = 1, readonly: bool = False) -> types.Type:
    return types.Array(dtype, rank, "C", readonly=readonly)


def _signature() -> types.Type:
    """The types of `cluster_groups`: it is compiled once, here, and not by the first threads that call it."""
    single, double, matrix = types.float32, types.float64, 2
    scratch = [_array(kind, matrix) for kind in (types.uint16, single, single, double, double, types.int64)]
    return types.void(
        types.Tuple([_array(kind, readonly=True) for kind in (single, types.uint32, single, double)]),
        types.UniTuple(types.int64, 3),
        types.Tuple([_array(single, matrix), _array(types.uint8), _array(double)]),
        types.Tuple([*scratch, _array(double), _array(single)]),
    )


def compile_kernel(*, cache: bool) -> Kernel:
    """Compiles `cluster_groups`; it runs without the GIL. Takes about 2 s, or 0.2 s from the cache."""
    return cast(Kernel, numba.njit(_signature(), nogil=True, error_model="numpy", cache=cache)(cluster_groups))


def _kernel() -> Kernel:
    try:
        return compile_kernel(cache=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError):
        # The cache has no writable folder (numba raises RuntimeError), the disk is full, or the cache is damaged.
        return compile_kernel(cache=False)


run_groups = _kernel()
