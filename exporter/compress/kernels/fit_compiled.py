"""Compiles the kernels of data-aware fitting, or loads them from numba's cache, when imported. Import it lazily."""

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

BLOCK = 32  # rows of a factor that are made before what is left of the matrix is updated; a multiple of 8
SHARE = 256  # rows of what is left for a thread
PIVOT = 1e-9  # smaller pivots of a factor, as a share of the largest, are lifted

F = TypeVar("F", bound=Callable[..., object])
SINGLE, DOUBLE, WHOLE = types.float32, types.float64, types.int64


def array(dtype: types.Type, rank: int, readonly: bool = False) -> types.Type:
    """Type of a contiguous array."""
    return types.Array(dtype, rank, "C", readonly=readonly)


def _improve() -> types.Type:
    return types.void(
        types.Tuple([array(SINGLE, rank, True) for rank in (2, 3, 2, 2)]),
        types.Tuple([array(SINGLE, 3, True), array(SINGLE, 2, True), array(WHOLE, 2, True), array(WHOLE, 1, True)]),
        array(SINGLE, 2),
        array(types.uint8, 2),
        types.UniTuple(WHOLE, 3),
        types.Tuple([array(DOUBLE, 3), array(DOUBLE, 2), array(WHOLE, 1)]),
    )


def _refit() -> types.Type:
    return types.void(
        array(SINGLE, 2),
        array(types.uint8, 2),
        WHOLE,
        types.Tuple([array(DOUBLE, 3), array(DOUBLE, 2)]),
        types.Tuple([array(DOUBLE, 2), array(WHOLE, 2)]),
    )


def compiled(function: F, signature: types.Type) -> F:
    """`function` compiled, without the GIL; from the cache where there is one."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return cast(F, numba.njit(signature, cache=True, **options)(function))
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError):
        # No writable folder for the cache (numba says RuntimeError), a full disk, or a damaged cache: do without.
        return cast(F, numba.njit(signature, cache=False, **options)(function))


improve_rows = compiled(_improve_rows, _improve())
refit_luts = compiled(_refit_luts, _refit())
factor_rows = compiled(
    _factor_rows, types.void(array(DOUBLE, 2), array(WHOLE, 1), array(DOUBLE, 1), types.UniTuple(WHOLE, 2), DOUBLE)
)
update_rows = compiled(_update_rows, types.void(array(DOUBLE, 2), types.UniTuple(WHOLE, 2), types.UniTuple(WHOLE, 2)))
add_costs = compiled(
    _add_costs,
    types.void(
        array(DOUBLE, 2),
        array(SINGLE, 2, True),
        array(SINGLE, 1, True),
        array(DOUBLE, 1),
        types.UniTuple(array(DOUBLE, 2), 2),
    ),
)


def factorize(pool: ThreadPoolExecutor, matrix: NDArray[np.float64]) -> NDArray[np.int64]:
    """The order of columns for which `matrix`, symmetric, is about UᵀU; U is its upper half then.

    Each pivot is the smallest that is left: the columns that a search fixes first have the most conditional curvature.
    """
    order, left = np.arange(len(matrix)), matrix.diagonal().copy()
    least = PIVOT * float(left.max())
    for start in range(0, len(matrix), BLOCK):
        span = start, min(start + BLOCK, len(matrix))
        factor_rows(matrix, order, left, span, least)
        rows = [(first, min(first + SHARE, len(matrix))) for first in range(span[1], len(matrix), SHARE)]
        update = functools.partial(update_rows, matrix, span)
        list(pool.map(update, rows) if len(rows) > 1 else map(update, rows))
    return order
