"""The error of each palettized weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.graph.model import Hub
from exporter.parity.thresholds import WEIGHT_ERROR_REASON, Limit, weight_limit

CONSTANT = 2.0**-20  # of a weight's mean square: with less variance it is measured by that instead


@dataclass(frozen=True)
class WeightError:
    """error: squared error over variance of one weight; 0 equal, 1 as good as its mean, 2 unrelated rows.

    For a weight that is almost constant: over its mean square.
    """

    name: str
    bits: float
    error: float

    @property
    def limit(self) -> Limit:
        """By the palette's own bits per weight."""
        reason = f"worst of all palettized weights: {self.name}, {self.bits:g} bits; {WEIGHT_ERROR_REASON}"
        return Limit("weight_error", weight_limit(self.bits), reason)

    @property
    def excess(self) -> float:
        """Above 1: worse than the limit. NaN counts as infinitely bad."""
        return np.inf if np.isnan(self.error) else self.error / self.limit.value


@dataclass(frozen=True)
class Stored:
    """A matrix as it is stored. bits: per weight. dense: decodes it, float32 `[out, in]`."""

    bits: float
    dense: Callable[[], NDArray[np.float32]]


def weight_errors(hub: Hub, compressed: Hub) -> tuple[WeightError, ...]:
    """As `matrix_errors`, for the palettes of a graph."""
    return matrix_errors(hub, {name: Stored(p.bits, p.dense) for name, p in compressed.palettes.items()})


def matrix_errors(hub: Hub, matrices: Mapping[str, Stored]) -> tuple[WeightError, ...]:
    """One for each matrix, worst first; `hub` has the weights from before."""
    errors = []
    for name, matrix in matrices.items():
        stored = hub.model.graph.initializers[name].const_value
        if stored is None:
            raise ValueError(f"{name} has no value")
        weight = stored.numpy().astype(np.float32)
        lost = np.square(weight - matrix.dense()).sum(dtype=np.float64)
        mean = weight.mean(dtype=np.float64)
        spread = np.square(weight - mean).sum(dtype=np.float64)
        power = spread + weight.size * mean**2
        if spread < CONSTANT * power:  # then rounding to float16 would be told as the palette's error
            spread = power
        errors.append(WeightError(name, matrix.bits, float(lost / spread) if spread else float(lost > 0)))
    return tuple(sorted(errors, key=lambda e: (-e.excess, e.name)))
