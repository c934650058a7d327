"""The cost of errors in a matrix: calibration measures it and compression minimizes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """The quadratic cost of errors in a matrix `[out, in]`: an error e in row i costs eᵀ H_i e.

    H_i = Σ_k coefficients[i, k] · bases[k]. For a linear layer, a basis is the sum of x xᵀ over its inputs x, weighted
    by saliency. For an embedding, an error in a row is an error in the output, and the basis is Σ g gᵀ of gradients.

    bases: float32 `[k, in, in]`, symmetric and positive semidefinite. coefficients: float32 `[out, k]`, ≥ 0.
    """

    bases: NDArray[np.float32]
    coefficients: NDArray[np.float32]

    def __post_init__(self) -> None:
        count, columns, same = self.bases.shape
        if columns != same or self.coefficients.shape[1:] != (count,):
            raise ValueError(f"bases {self.bases.shape} don't fit coefficients {self.coefficients.shape}")
        if self.bases.dtype != np.float32 or self.coefficients.dtype != np.float32:
            raise ValueError(f"moments must be float32, not {self.bases.dtype} and {self.coefficients.dtype}")
