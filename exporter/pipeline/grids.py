"""Grids fitted to calibration text: integers with a scale for each block, which a runtime reads as they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.compress import Candidate, Compression
from exporter.compress.fit_task import FitOptions
from exporter.compress.gridding import GridOptions, rounded_grids
from exporter.compress.grids import fit_grid
from exporter.graph.grid import Grid, spilled_grid
from exporter.graph.spill import Spill
from exporter.pipeline.fit import Better, Dense, Fitted, fit_matrices, fit_within, of_plain
from exporter.progress import Progress

if TYPE_CHECKING:
    from exporter.calibration.session import FitRequest, Session


def fitted_grids(
    session: Session | None, candidates: Sequence[Candidate], options: GridOptions, progress: Progress, spill: Spill
) -> Fitted:
    """Grids fitted to the session's texts, or rounded ones where they change the outputs less; rounded ones without a
    session. The compression has their decisions, and no palettes.

    Raises as `rounded_grids`.
    """
    plain = rounded_grids(candidates, options, progress, spill)
    if session is None or not plain.grids:
        return Fitted(Compression({}, plain.decisions), grids=plain.grids)

    def fit(request: FitRequest, old: Grid) -> Better[Grid] | None:
        found = fit_within(request, lambda target, tried: _tried(target, old, request, tried))
        return None if found is None else replace(found, matrix=spilled_grid(found.matrix, spill))

    grids, decisions, judged = fit_matrices(session, (plain.grids, plain.decisions), fit, progress, "grids")
    return replace(judged, compression=Compression({}, decisions), grids=grids)


def _tried(target: Dense, old: Grid, request: FitRequest, options: FitOptions) -> Better[Grid]:
    fit = fit_grid(target, old.bits, old.block, request.moments, options)
    return Better(fit.grid, fit.grid.dense(), of_plain(fit.cost, fit.plain_cost))
