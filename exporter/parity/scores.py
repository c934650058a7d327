"""Comparisons of independent classes and of free numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exporter.parity.metrics import TIE_DB, Difference, Floats, difference


def two_classes(logits: Floats) -> Floats:
    """Logits of independent yes-or-no questions `[n, labels]` as `[n · labels, 2]`: softmax gives each its sigmoid."""
    flat = logits.reshape(-1)
    return np.stack([np.zeros_like(flat), flat], axis=1)


@dataclass
class ScoreComparison:
    """Free numbers, `[1, outputs]` for each prompt: what a regression or a reranker gives."""

    error: Difference = field(default_factory=Difference)
    references: list[Floats] = field(default_factory=list)
    artifacts: list[Floats] = field(default_factory=list)
    psnr_by_prompt: list[float] = field(default_factory=list)

    def add(self, reference: Floats, artifact: Floats) -> None:
        """Adds a prompt."""
        self.error.add(reference, artifact)
        self.psnr_by_prompt.append(difference(reference, artifact).psnr_db)
        self.references.append(reference[0])
        self.artifacts.append(artifact[0])

    def metrics(self, tie_db: float = TIE_DB) -> dict[str, float]:
        """`tie_db`: reference scores nearer to each other than the error of that PSNR are the same.

        Such scores have no order. The same value is the least spread that scores are measured by: a reranker gives
        texts that all don't fit almost the same score.
        """
        a, b = (np.stack(rows).astype(np.float64) for rows in (self.references, self.artifacts))
        tie = self.error.peak * 10 ** (-tie_db / 20)
        lost = float(np.square(a - b).sum())
        spread = max(float(np.square(a - a.mean(0)).sum()) or float(np.square(a).sum()), a.size * tie**2)
        return {
            "unexplained": lost / spread if spread else (math.inf if lost else 0.0),
            "order": same_order(a, b, tie),
            "psnr_db": self.error.psnr_db,
            "max_abs_error": self.error.max_abs,
            "relative_error": self.error.relative,
            "non_finite": float(self.error.non_finite),
            "prompts": float(len(self.references)),
        }


def same_order(reference: NDArray[np.float64], artifact: NDArray[np.float64], tie: float) -> float:
    """Share of pairs of rows of `[n, outputs]`, column by column, that both sides put in the same order.

    Pairs whose reference values are not more than `tie` apart are left out; 1 where no pair is left.
    """
    apart = reference[:, None] - reference[None]
    counted = apart > tie
    agree = artifact[:, None] > artifact[None]
    return float(agree[counted].mean()) if counted.any() else 1.0
