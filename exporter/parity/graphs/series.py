"""One output of two subjects over all samples, and the size of its error beside what it tells samples apart by."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.graphs.kinds import Kind
from exporter.parity.metrics import Difference, difference

Array = NDArray[Any]

SEVERAL = 4  # elements from which a direction says more than a sign
YES_NO_SCALE = 0.1  # of probabilities that hardly vary: errors are measured by a tenth of full scale
SHARE_OF_PEAK = 0.03  # of numbers that hardly vary: float16 arithmetic alone costs 55 dB below the peak
FEW_COLUMNS = 16  # coordinates, scores: each with its own mean; more are a vector
LEAST_ROWS = 8  # of a column, before its mean is taken for known
_FAINT = 0.1  # of the typical length: a vector below that has no direction to keep


@dataclass
class Series:
    """references[i], artifacts[i]: the output in sample i, of the same shape."""

    references: list[Array] = field(default_factory=list)
    artifacts: list[Array] = field(default_factory=list)

    def add(self, reference: Array, artifact: Array) -> None:
        """Adds a sample."""
        self.references.append(reference)
        self.artifacts.append(artifact)
        for computed in ("_difference", "psnr_by_sample", "cosines"):
            self.__dict__.pop(computed, None)

    def columns(self, axis: int, indices: NDArray[np.intp]) -> Series:
        """Some of the columns along `axis`."""
        return Series(*([array.take(indices, axis) for array in side] for side in (self.references, self.artifacts)))

    @property
    def unequal(self) -> float:
        """Share of elements that differ, of whole numbers."""
        count = sum(array.size for array in self.references)
        pairs = zip(self.references, self.artifacts, strict=True)
        return sum(int(np.count_nonzero(a != b)) for a, b in pairs) / count if count else 0.0

    def metrics(self, kind: Kind) -> dict[str, float]:
        """Errors, absolute and relative. With no finite number to compare, all of them are NaN."""
        total = self._difference
        nothing = any(array.size for array in self.references) and not total.count and not total.non_finite
        found = {
            "psnr_db": math.nan if nothing else total.psnr_db,
            "unexplained": math.nan if nothing else self._unexplained(kind),
            "max_abs_error": math.nan if nothing else total.max_abs,
            "relative_error": math.nan if nothing else total.relative,
            "non_finite": float(total.non_finite),
        }
        same = sum(array.size for array in self.references) - total.count - total.non_finite
        return {**found, "same_non_finite": float(same)} if same else found

    @cached_property
    def psnr_by_sample(self) -> list[float]:
        """dB; NaN where one side alone isn't finite."""
        return [difference(a, b).psnr_db for a, b in self._pairs]

    @cached_property
    def cosines(self) -> list[float]:
        """Per sample: the lower one of the whole tensor's and of the mean over its vectors. Empty for few elements.

        1 for what is faint beside the other samples: its direction is noise, and its error is counted elsewhere.
        """
        pairs = self._pairs
        if not all(a.size >= SEVERAL for a, _ in pairs):
            return []
        lengths = [float(np.linalg.norm(a)) for a, _ in pairs]
        typical = math.sqrt(float(np.mean(np.square(lengths))))
        return [_cosine(a, b, _FAINT * typical) for a, b in pairs]

    @property
    def _pairs(self) -> list[tuple[Array, Array]]:
        """Both sides in float64, 0 where both hold the same NaN or infinity."""
        return [_finite_pair(a, b) for a, b in zip(self.references, self.artifacts, strict=True)]

    @cached_property
    def _difference(self) -> Difference:
        total = Difference()
        for pair in zip(self.references, self.artifacts, strict=True):
            a, b = (np.asarray(side, np.float64).reshape(-1) for side in pair)
            counted = ~_same_non_finite(a, b)
            total.add(a[counted], b[counted])
        return total

    def _unexplained(self, kind: Kind) -> float:
        """Squared error over the variance of the reference in all samples; what hardly varies has a least variance."""
        if self._difference.non_finite:
            return math.nan
        count, spread = self._difference.count, self.spread(kind)
        lost = self._difference.squared_error
        return lost / (count * spread**2) if count and spread else (math.inf if lost else 0.0)

    def spread(self, kind: Kind) -> float:
        """Standard deviation of the reference over all samples, or the least one that errors are measured by.

        Around the mean of each class or column where these are few: that one is always larger tells nothing.
        """
        columns = self._columns(kind)
        count, total, squares = (np.zeros(columns) for _ in range(3))
        for array in self.references:
            rows = np.asarray(array, np.float64).reshape(-1, columns)
            finite = np.isfinite(rows)
            rows = np.where(finite, rows, 0)
            count, total, squares = count + finite.sum(0), total + rows.sum(0), squares + np.square(rows).sum(0)
        within = squares - np.square(total) / np.maximum(count, 1)
        deviation = math.sqrt(max(float(within.sum()) / max(float(count.sum()), 1), 0.0))
        return max(deviation, YES_NO_SCALE if kind == "yes-no" else SHARE_OF_PEAK * self._difference.peak)

    def _columns(self, kind: Kind) -> int:
        widths = {array.shape[-1] if array.ndim else 1 for array in self.references}
        width = max(widths)
        rows = sum(array.size for array in self.references) // max(width, 1)
        few = kind == "shares" or (kind == "numbers" and width <= FEW_COLUMNS)
        return width if len(widths) == 1 and width and few and rows >= LEAST_ROWS else 1


def _same_non_finite(a: Array, b: Array) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (np.isnan(a) & np.isnan(b)) | (np.isinf(a) & (a == b))
    return same


def _finite_pair(reference: Array, artifact: Array) -> tuple[Array, Array]:
    a, b = np.asarray(reference, np.float64), np.asarray(artifact, np.float64)
    same = _same_non_finite(a, b)
    return (np.where(same, 0, a), np.where(same, 0, b)) if same.any() else (a, b)


def _cosine(a: Array, b: Array, faint: float) -> float:
    whole = float(_cosines(a.reshape(1, -1), b.reshape(1, -1))[0])
    length = float(np.linalg.norm(a))
    if length < faint and float(np.linalg.norm(b)) < faint:
        return 1.0
    if a.ndim < 2 or a.ndim > 3 or a.shape[-1] < SEVERAL:
        return whole
    rows, others = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    least = _FAINT * length / math.sqrt(len(rows))
    found = _cosines(rows, others)
    small = (np.linalg.norm(rows, axis=-1) < least) & (np.linalg.norm(others, axis=-1) < least)
    return min(whole, float(np.where(small, 1.0, found).mean()))


def _cosines(a: Array, b: Array) -> NDArray[np.float64]:
    """Row by row; 1 for two rows of zeros, 0 where one alone is; NaN only for values that are not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.sqrt(np.square(a).sum(-1)) * np.sqrt(np.square(b).sum(-1))
        products = (a * b).sum(-1)
    zeros = lengths == 0
    found = np.where(zeros, ~a.any(-1) & ~b.any(-1), products / np.where(zeros, 1, lengths))
    clipped: NDArray[np.float64] = np.clip(found, -1.0, 1.0)  # rounding alone leaves the range
    return clipped
