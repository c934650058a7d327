"""Compares a graph's outputs: numbers by PSNR, vectors by cosine, logits by what they decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.metrics import EQUAL_DB, TIE_DB, Difference, LogitsComparison, cosine, difference

Array = NDArray[Any]

LOGITS = "logits"


@dataclass
class OutputsComparison:
    """One pair of subjects over all samples. Where a graph has several outputs, the worst of them counts.

    decides: whether `logits` choose between classes or tokens; KL and top-1 are then measured too.
    shapes: samples whose outputs are missing or have another shape; these are not compared any further.
    """

    decides: bool
    shapes: int = 0
    samples: int = 0
    differences: dict[str, Difference] = field(default_factory=dict)
    logits: LogitsComparison = field(default_factory=LogitsComparison)
    cosines: list[float] = field(default_factory=list)
    psnr_by_sample: list[float] = field(default_factory=list)

    def add(self, reference: Mapping[str, Array], artifact: Mapping[str, Array], length: int | None) -> None:
        """Adds a sample; outputs that only the artifact has are left out. length: number of tokens without padding."""
        self.samples += 1
        pairs = {name: (array, artifact[name]) for name, array in reference.items() if name in artifact}
        if not pairs or any(a.shape != b.shape for a, b in pairs.values()):
            self.shapes += 1
            self.cosines.append(np.nan)
            self.psnr_by_sample.append(np.nan)
            return
        cosines, decibels = [], []
        for name, pair in pairs.items():
            a, b = (_real(array, length) for array in pair)
            self.differences.setdefault(name, Difference()).add(a, b)
            cosines.append(_cosine(a, b))
            decibels.append(difference(a, b).psnr_db)
            if self.decides and name == LOGITS:
                self.logits.add(_rows(a), _rows(b))
        self.cosines.append(float(np.min(cosines)))
        self.psnr_by_sample.append(float(np.min(decibels)))

    def metrics(self, tie_db: float | None) -> dict[str, float]:
        """All metrics; with a wrong shape, only how many samples have it."""
        if self.shapes:
            return {"shapes": float(self.shapes), "prompts": float(self.samples)}
        found = list(self.differences.values())
        result = {
            "psnr_db": float(np.min([d.psnr_db for d in found])),
            "cosine_mean": float(np.mean(self.cosines)),
            "cosine_min": float(np.min(self.cosines)),
            "max_abs_error": max(d.max_abs for d in found),
            "relative_error": float(np.max([d.relative for d in found])),
            "non_finite": float(sum(d.non_finite for d in found)),
            "prompts": float(self.samples),
        }
        if self.logits.positions:
            decided = self.logits.metrics(tie_db or TIE_DB)
            result |= {key: decided[key] for key in ("kl", "kl_max", "top1", "top1_ties", "top1_or_tie", "positions")}
        return result

    @property
    def by_sample(self) -> dict[str, tuple[float, ...]]:
        """Metric → one value per sample, for plots."""
        kl = {"kl": tuple(self.logits.kl_by_prompt)} if self.logits.positions and not self.shapes else {}
        return {"cosine": tuple(self.cosines), "psnr_db": tuple(self.psnr_by_sample), **kl}

    @property
    def worst_output(self) -> str:
        """The output with the lowest PSNR; NaN is lower than any."""

        def rank(name: str) -> float:
            db = self.differences[name].psnr_db
            return -EQUAL_DB if np.isnan(db) else db

        return min(self.differences, key=rank, default="")


def _real(array: Array, length: int | None) -> NDArray[np.float32]:
    """float32, without the positions behind a text's own tokens: what stands there means nothing."""
    if length is not None and array.ndim == 3 and array.shape[0] == 1 and array.shape[1] > length:
        array = array[:, :length]
    return np.asarray(array, np.float32)


def _rows(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """`[…, n]` as `[rows, n]`."""
    return array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Mean over vectors of the last axis; of feature maps with more than three axes, of the whole. 1 for two zeros."""
    if a.ndim > 3:
        a, b = a.reshape(1, -1), b.reshape(1, -1)
    rows, others = _rows(a), _rows(b)
    empty = ~rows.any(-1) & ~others.any(-1)
    found = np.where(empty, 1.0, cosine(rows, others))
    return float(found.mean()) if found.size else 1.0
