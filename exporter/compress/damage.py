"""Finds NaN and infinity in tensors that are kept as they are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from exporter.compress.decisions import Candidate
from exporter.errors import InputError, KogataError
from exporter.graph.palette import BLOCK


def first_place(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """The index of the first true element."""
    return tuple(int(i) for i in np.unravel_index(int(mask.argmax()), mask.shape))


def not_finite(name: str, message: str) -> KogataError:
    """The error for a tensor with values that are not finite. message: which value, and where."""
    hint = "the checkpoint is damaged, or its training diverged"
    return InputError.of("compress.not_finite", message, where=name, hint=hint)


def damage(candidate: Candidate) -> KogataError | None:
    """The error for a tensor that holds NaN, or infinity if it is open. A few rows are in memory at a time."""
    if not candidate.shape or not candidate.parameters:
        return None
    step = max(1, BLOCK * candidate.shape[0] // candidate.parameters)
    for first in range(0, candidate.shape[0], step):
        rows = candidate.load(slice(first, first + step))
        bad = ~np.isfinite(rows) if candidate.open else np.isnan(rows)
        if bad.any():
            row, *rest = first_place(bad)
            return not_finite(candidate.name, f"{rows[row, *rest]} at {[first + row, *rest]}")
    return None


def require_undamaged(candidates: Iterable[Candidate]) -> None:
    """Raises InputError that names all damaged tensors."""
    problems = [problem for candidate in candidates if (problem := damage(candidate)) is not None]
    InputError.raise_all([diagnostic for problem in problems for diagnostic in problem.diagnostics])
