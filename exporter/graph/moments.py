"""How much an error in each weight of a matrix costs: what calibration measures and compression minimizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """The quadratic cost of errors in a matrix `[out, in]`, row by row: an error e in row i costs eᵀ H_i e.

    H_i = Σ_k coefficients[i, k] · bases[k]. For a linear layer a basis is Σ x xᵀ over its inputs, maybe weighted by
    what its outputs matter; for an embedding that is looked up, the rows' errors are the outputs' themselves.

    bases: float32 `[k, in, in]`, symmetric and positive semidefinite. coefficients: float32 `[out, k]`, ≥ 0.
    """

    bases: NDArray[np.float32]
    coefficients: NDArray[np.float32]

    def __post_init__(self) -> None:
        count, columns, same = self.bases.shape
        if columns != same or self.coefficients.shape[1:] != (count,):
            raise ValueError(f"bases {self.bases.shape}, coefficients {self.coefficients.shape}")
        if self.bases.dtype != np.float32 or self.coefficients.dtype != np.float32:
            raise ValueError(f"moments are float32, not {self.bases.dtype} and {self.coefficients.dtype}")
