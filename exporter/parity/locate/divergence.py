"""Compares two captures of intermediate values in graph order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.metrics import EQUAL_DB

Array = NDArray[Any]

_MASKED = 1e4  # masks differ between runtimes (-inf, -4e4, smallest float): all of them mean "not at all"


@dataclass(frozen=True)
class Divergence:
    """The first tensor that shows an error.

    tensor: hub value name; position: its place (from 1) among the `total` tensors compared, in graph order.
    snr_db: 10·log10(signal energy / error energy) there, NaN where values are not finite.
    before: the last tensor that still agreed, and its ratio; empty where the first one diverges already.
    """

    tensor: str
    position: int
    total: int
    snr_db: float
    before: str = ""
    before_snr_db: float = EQUAL_DB

    def describe(self) -> str:
        """One clause for a diagnostic."""
        there = "not finite" if math.isnan(self.snr_db) else f"{self.snr_db:.1f} dB"
        text = f"first tensor that diverges: {self.tensor} ({self.position} of {self.total} in graph order, {there}"
        if self.before:
            same = self.before_snr_db >= EQUAL_DB
            text += f"; {self.before} before it {'is equal' if same else f'has {self.before_snr_db:.1f} dB'}"
        return text + ")"


def first_divergence(
    reference: Mapping[str, Array], artifact: Mapping[str, Array], limit_db: float
) -> Divergence | None:
    """The first tensor, in the order of `reference`, whose signal-to-noise ratio is below `limit_db`.

    Tensors are compared where both captures have them in the same shape, up to axes of size 1. None where no tensor is
    below the limit (or none could be compared).
    """
    compared: list[tuple[str, float]] = []
    for name, expected in reference.items():
        found = artifact.get(name)
        if found is None or np.squeeze(found).shape != np.squeeze(expected).shape or expected.dtype.kind != "f":
            continue
        compared.append((name, signal_to_noise(np.squeeze(expected), np.squeeze(found))))
    for at, (name, snr) in enumerate(compared):
        if not snr >= limit_db:  # NaN is a divergence too
            before = compared[at - 1] if at else ("", EQUAL_DB)
            return Divergence(name, at + 1, len(compared), snr, *before)
    return None


def signal_to_noise(reference: Array, artifact: Array) -> float:
    """dB; `EQUAL_DB` without error, NaN where only one side is finite. Masked entries (beyond -10⁴) are equal."""
    a, b = reference.astype(np.float64), artifact.astype(np.float64)
    masked = (a < -_MASKED) & (b < -_MASKED)
    if masked.any():
        a, b = a[~masked], b[~masked]
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.nan
    signal, noise = float(np.square(a).sum()), float(np.square(a - b).sum())
    if noise == 0:
        return EQUAL_DB
    return -EQUAL_DB if signal == 0 else min(EQUAL_DB, 10 * math.log10(signal / noise))
