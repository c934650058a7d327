"""Compiles the kernels of data-aware fitting on import, or loads them from numba's cache. Import this module lazily."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from exporter.compress.kernels.luts import add_costs as _add_costs
from exporter.compress.kernels.luts import factor_rows as _factor_rows
from exporter.compress.kernels.luts import refit_luts as _refit_luts
from exporter.compress.kernels.luts import update_rows as _update_rows
from exporter.compress.kernels.rows import improve_rows as _improve_rows

FACTOR_ROWS = 32  # rows of a factor that are computed before the rest of the matrix is updated; a multiple of 8
ROWS_PER_THREAD = 256  # rows of the rest that one thread updates
MIN_PIVOT = 1e-9  # of the largest pivot: smaller pivots are raised to this

F = TypeVar("F", bound=Callable[..., object])
FLOAT32, FLOAT64, INT64 = types.float32, types.float64, types.int64


def array(dtype: types.Type, rank: int, readonly: bool = False) -> types.Type:
    """Type of a contiguous array."""
    return types.Array(dtype, rank, "C", readonly=readonly)


def _improve() -> types.Type:
    return types.void(
        types.Tuple([array(FLOAT32, rank, True) for rank in (2, 3, 2, 2)]),
        types.Tuple([array(FLOAT32, 3, True), array(FLOAT32, 2, True), array(INT64, 2, True), array(INT64, 1, True)]),
        array(FLOAT32, 2),
        array(types.uint8, 2),
        types.UniTuple(INT64, 3),
        types.Tuple([array(FLOAT64, 3), array(FLOAT64, 2), array(INT64, 1)]),
    )


def _refit() -> types.Type:
    return types.void(
        array(FLOAT32, 2),
        array(types.uint8, 2),
        INT64,
        types.Tuple([array(FLOAT64, 3), array(FLOAT64, 2)]),
        types.Tuple([array(FLOAT64, 2), array(INT64, 2)]),
    )


def compiled(function: F, signature: types.Type) -> F:
    """Compiles `function` to run without the GIL, or loads it from numba's cache."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return cast(F, numba.njit(signature, cache=True, **options)(function))
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError):
        # The cache has no writable folder (numba raises RuntimeError), the disk is full, or the cache is damaged.
        return cast(F, numba.njit(signature, cache=False, **options)(function))


improve_rows = compiled(_improve_rows, _improve())
refit_luts = compiled(_refit_luts, _refit())
factor_rows = compiled(
    _factor_rows, types.void(array(FLOAT64, 2), array(INT64, 1), array(FLOAT64, 1), types.UniTuple(INT64, 2), FLOAT64)
)
update_rows = compiled(_update_rows, types.void(array(FLOAT64, 2), types.UniTuple(INT64, 2), types.UniTuple(INT64, 2)))
add_costs = compiled(
    _add_costs,
    types.void(
        array(FLOAT64, 2),
        array(FLOAT32, 2, True),
        array(FLOAT32, 1, True),
        array(FLOAT64, 1),
        types.UniTuple(array(FLOAT64, 2), 2),
    ),
)


def factorize(pool: ThreadPoolExecutor, matrix: NDArray[np.float64]) -> NDArray[np.int64]:
    """Factors a symmetric matrix with pivoting and returns the order of its columns: in that order it is about UᵀU.

    The upper half of `matrix` becomes U. Each pivot is the smallest remaining one, so that the columns which a search
    fixes first have the most conditional curvature.
    """
    order, remaining = np.arange(len(matrix)), matrix.diagonal().copy()
    least = MIN_PIVOT * float(remaining.max())
    for start in range(0, len(matrix), FACTOR_ROWS):
        span = start, min(start + FACTOR_ROWS, len(matrix))
        factor_rows(matrix, order, remaining, span, least)
        rows = [
            (first, min(first + ROWS_PER_THREAD, len(matrix))) for first in range(span[1], len(matrix), ROWS_PER_THREAD)
        ]
        update = functools.partial(update_rows, matrix, span)
        list(pool.map(update, rows) if len(rows) > 1 else map(update, rows))
    return order
