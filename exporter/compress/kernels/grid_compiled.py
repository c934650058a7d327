"""Compiles the kernels of grids on import, or loads them from numba's cache. Import this module lazily."""

from __future__ import annotations

from numba import types

from exporter.compress.kernels.fit_compiled import FLOAT32, INT64, array, compiled
from exporter.compress.kernels.grid_rows import fit_rows as _fit_rows
from exporter.compress.kernels.grid_rows import search_scales as _search_scales

_STEPS = types.UniTuple(INT64, 4)

search_scales = compiled(
    _search_scales,
    types.void(array(FLOAT32, 2, True), array(FLOAT32, 2, True), array(FLOAT32, 2), array(types.int8, 2), _STEPS),
)
fit_rows = compiled(
    _fit_rows,
    types.void(
        types.Tuple([array(FLOAT32, rank, True) for rank in (2, 3, 2, 2)]),
        types.Tuple([array(FLOAT32, 3, True), array(FLOAT32, 2, True), array(INT64, 2, True), array(INT64, 1, True)]),
        array(FLOAT32, 2),
        array(types.int8, 2),
        _STEPS,
    ),
)
