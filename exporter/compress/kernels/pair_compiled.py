"""Compiles the kernels for LUTs of pairs, or loads them from numba's cache, when imported. Import it lazily."""

from __future__ import annotations

from numba import types

from exporter.compress.kernels.fit_compiled import DOUBLE, SINGLE, WHOLE, array, compiled
from exporter.compress.kernels.pair_clusters import cluster_pairs as _cluster_pairs
from exporter.compress.kernels.pair_rows import improve_pairs as _improve_pairs
from exporter.compress.kernels.rows import add_gram as _add_gram
from exporter.compress.kernels.tables import refit_pairs as _refit_pairs

cluster_pairs = compiled(
    _cluster_pairs,
    types.void(
        array(SINGLE, 2, True),
        array(SINGLE, 2, True),
        WHOLE,
        types.Tuple([array(SINGLE, 3), array(types.uint8, 2), array(DOUBLE, 1)]),
        WHOLE,
    ),
)
improve_pairs = compiled(
    _improve_pairs,
    WHOLE(
        types.Tuple([array(SINGLE, rank, True) for rank in (2, 3, 2, 2)]),
        types.Tuple([array(SINGLE, 3, True), array(SINGLE, 2, True), array(WHOLE, 2, True), array(WHOLE, 1, True)]),
        array(SINGLE, 2),
        array(types.uint8, 2),
        types.UniTuple(WHOLE, 2),
        array(DOUBLE, 2),
    ),
)
refit_pairs = compiled(
    _refit_pairs,
    types.void(array(SINGLE, 2), types.Tuple([array(DOUBLE, 3), array(DOUBLE, 2)]), array(DOUBLE, 2)),
)
add_gram = compiled(
    _add_gram,
    types.void(array(SINGLE, 2, True), array(SINGLE, 1, True), array(types.uint8, 2), array(DOUBLE, 2)),
)
