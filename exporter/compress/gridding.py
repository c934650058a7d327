"""Rounds a model's open matrices to grids, and records a decision for every tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exporter.compress.choices import Choice
from exporter.compress.damage import require_undamaged
from exporter.compress.decisions import Candidate, TensorDecision
from exporter.compress.grids import round_grid
from exporter.compress.palettizer import kept, reason_to_keep
from exporter.graph.grid import Grid, spilled_grid
from exporter.graph.palette import BLOCK
from exporter.graph.spill import InMemory, Spill
from exporter.progress import Progress


@dataclass(frozen=True)
class GridOptions:
    """usual: how a matrix is stored that isn't in `choices`."""

    usual: Choice
    choices: Mapping[str, Choice] = field(default_factory=dict)

    def choice(self, candidate: Candidate) -> Choice:
        """How this tensor is to be stored."""
        asked = self.choices.get(candidate.name, self.usual)
        return asked.fitted(candidate.shape) if candidate.palettizable else asked


@dataclass(frozen=True)
class Gridded:
    """Grids by tensor name, and one decision for every candidate, in the candidates' order."""

    grids: Mapping[str, Grid]
    decisions: tuple[TensorDecision, ...]


def rounded_grids(
    candidates: Sequence[Candidate], options: GridOptions, progress: Progress, spill: Spill | None = None
) -> Gridded:
    """One decision for every candidate, and grids for those that become smaller; some rows are in memory at a time.

    spill: the file for integers; None keeps them in memory. Reports the stage "round weights". Raises InputError that
    names all tensors with NaN or infinity; OSError if the spill's disk is full.
    """
    require_undamaged(candidates)
    progress.stage("round weights", sum(c.open for c in candidates))
    grids: dict[str, Grid] = {}
    decisions: list[TensorDecision] = []
    for candidate in candidates:
        choice = options.choice(candidate)
        reason = reason_to_keep(candidate, choice)
        if reason is not None:
            decisions.append(kept(candidate, reason))
        else:
            grids[candidate.name], decision = _rounded(candidate, choice, spill)
            decisions.append(decision)
        if candidate.open:
            progress.advance(candidate.name)
    return Gridded(grids, tuple(decisions))


def _rounded(candidate: Candidate, choice: Choice, spill: Spill | None) -> tuple[Grid, TensorDecision]:
    bits, block = choice.grid
    rows, columns = candidate.shape
    step = max(1, BLOCK // columns)
    parts: list[NDArray[np.uint8]] = []
    scales: list[NDArray[np.float32]] = []
    lost, peak = 0.0, 0.0
    for first in range(0, rows, step):
        weight = candidate.load(slice(first, min(first + step, rows)))
        part = round_grid(weight, bits, block)
        lost += float(np.square(weight - part.dense(), dtype=np.float64).sum())
        peak = max(peak, float(np.abs(weight).max()))
        parts.append(part.packed.read(0, part.packed.size))
        scales.append(part.scales)
    grid = Grid(InMemory(np.concatenate(parts)), (rows, columns), np.concatenate(scales), bits, block)
    reason = f"integers with a scale for {block} columns"
    decision = TensorDecision(candidate.name, candidate.shape, bits, None, grid.stored_bytes, reason, block=block)
    return grid if spill is None else spilled_grid(grid, spill), decision.measured(lost / candidate.parameters, peak)
