"""The distance between outputs of an artifact and of the reference, for logits and embeddings, summed in float64.

Both comparisons take one prompt at a time, so that the logits of only one prompt are in memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TIE_DB = 40.0  # differences below this PSNR are within the error allowed for float16 hardware
EQUAL_DB = 300.0  # stands for an infinite PSNR: one wrong bit among 10**12 float32 values gives less
_ROWS = 64  # positions converted to float64 at a time: 77 MB for a vocabulary of 150,000


@dataclass(frozen=True)
class Metric:
    """The label of a number in a report. `unit` is empty for shares and cosines."""

    label: str
    unit: str = ""
    higher_is_better: bool = False


METRICS: dict[str, Metric] = {
    "kl": Metric("KL divergence, mean over positions", "nats"),
    "kl_max": Metric("KL divergence, largest of all positions", "nats"),
    "top1": Metric("top-1 agreement", higher_is_better=True),
    "top1_ties": Metric("positions that differ in top-1, but are near-ties in the reference", "positions"),
    "top1_or_tie": Metric("top-1 agreement, near-ties in the reference count as agreement", higher_is_better=True),
    "psnr_db": Metric("PSNR", "dB", higher_is_better=True),
    "sentence_psnr_db": Metric("PSNR of the sentence embedding", "dB", higher_is_better=True),
    "max_abs_error": Metric("largest absolute error"),
    "relative_error": Metric("largest absolute error, divided by the largest reference value"),
    "cosine_mean": Metric("cosine, mean over prompts", higher_is_better=True),
    "cosine_min": Metric("cosine, lowest of all prompts", higher_is_better=True),
    "unexplained": Metric("squared error, divided by the variance of the reference's outputs"),
    "order": Metric("pairs of prompts whose scores are in the same order", higher_is_better=True),
    "self_retrieval": Metric(
        "prompts whose embedding is nearest to the same prompt's reference", higher_is_better=True
    ),
    "greedy_equal": Metric("prompts with the same greedy continuation", higher_is_better=True),
    "greedy_first_difference": Metric("earliest step at which a greedy continuation differs", "step"),
    "decisions": Metric("decisions that stay (yes or no, sign, first class), without near-ties", higher_is_better=True),
    "unequal": Metric("whole numbers that differ, as a share"),
    "non_finite": Metric("values that are NaN or infinite", "values"),
    "same_non_finite": Metric("values that are the same NaN or infinity on both sides, not compared", "values"),
    "undefined": Metric("metrics that are not a number", "metrics"),
    "shapes": Metric("prompts whose outputs have the wrong shape", "prompts"),
    "overflow": Metric("tensors with values beyond ±65504", "tensors"),
    "weight_error": Metric("worst weight matrix: squared error divided by variance"),
    "positions": Metric("positions compared", "positions"),
    "prompts": Metric("prompts compared", "prompts"),
    "ids_differ": Metric("texts whose token ids differ", "texts"),
    "marks_differ": Metric("texts whose token types or special tokens differ", "texts"),
    "missing": Metric("vectors without a result", "vectors"),
    "inconsistent": Metric("results that contradict themselves", "vectors"),
    "continuations_differ": Metric("continuations that contradict the device's own logits", "vectors"),
    "vectors_beyond": Metric("vectors with a larger error than the exported file had, and a margin", "vectors"),
    "special_differ": Metric("special tokens with another id", "tokens"),
    "texts": Metric("texts compared", "texts"),
}


def shown(value: float, digits: int = 4) -> str:
    """Four significant digits, or more."""
    return "not a number" if math.isnan(value) else f"{value:.{digits}g}"


def shown_beside(value: float, limit: float) -> tuple[str, str]:
    """Both with as many digits, four or more, as it takes to tell them apart."""
    for digits in range(4, 18):
        pair = shown(value, digits), shown(limit, digits)
        if pair[0] != pair[1] or value == limit:
            break
    return pair


def psnr(peak: float, squared_error: float, count: int) -> float:
    """`20·log10(peak / rmse)` in dB, where rmse = sqrt(squared_error / count); `EQUAL_DB` when there is no error."""
    if not math.isfinite(peak) or not math.isfinite(squared_error):
        return math.nan
    if squared_error == 0 or count == 0:
        return EQUAL_DB
    if peak == 0:
        return -EQUAL_DB
    return min(EQUAL_DB, 20 * math.log10(peak / math.sqrt(squared_error / count)))


@dataclass
class Difference:
    """Elementwise difference of tensors, summed over all added pairs."""

    peak: float = 0.0
    squared_error: float = 0.0
    count: int = 0
    max_abs: float = 0.0
    non_finite: int = 0

    def add(self, reference: NDArray[Any], artifact: NDArray[Any]) -> None:
        """Both of the same shape. Elements that are NaN or infinite on either side are counted, not summed."""
        if reference.shape != artifact.shape:
            raise ValueError(f"shapes differ: {reference.shape} and {artifact.shape}")
        a, b = reference.astype(np.float64), artifact.astype(np.float64)
        finite = np.isfinite(a) & np.isfinite(b)
        bad = int(finite.size - np.count_nonzero(finite))
        if bad:
            self.non_finite += bad
            a, b = a[finite], b[finite]
        if a.size == 0:
            return
        error = a - b
        self.peak = max(self.peak, float(np.abs(a).max()))
        self.max_abs = max(self.max_abs, float(np.abs(error).max()))
        self.squared_error += float(np.square(error).sum())
        self.count += a.size

    @property
    def psnr_db(self) -> float:
        """PSNR in dB; NaN if any element was not finite."""
        return math.nan if self.non_finite else psnr(self.peak, self.squared_error, self.count)

    @property
    def relative(self) -> float:
        """Largest absolute error over the largest reference value."""
        if self.non_finite:
            return math.nan
        return self.max_abs / self.peak if self.peak else (math.inf if self.max_abs else 0.0)


def difference(reference: NDArray[Any], artifact: NDArray[Any]) -> Difference:
    """The difference of one pair of tensors."""
    result = Difference()
    result.add(reference, artifact)
    return result


@dataclass
class LogitsComparison:
    """Decoder logits `[positions, vocab]`, reference against artifact.

    `gaps`: for each position whose top-1 differs, the reference's logit of its own choice minus that of the artifact's
    choice. Whether that is a near-tie depends on the error that the row allows (`metrics`).
    """

    error: Difference = field(default_factory=Difference)
    kl_sum: float = 0.0
    kl_max: float = 0.0
    positions: int = 0
    agreeing: int = 0
    gaps: list[float] = field(default_factory=list)
    kl_by_prompt: list[float] = field(default_factory=list)
    psnr_by_prompt: list[float] = field(default_factory=list)
    greedy_total: int = 0
    greedy_equal: int = 0
    greedy_first: int = 0  # 1-based step of the earliest difference over all prompts; 0: none

    def add(self, reference: Floats, artifact: Floats, greedy_from: int | None = None) -> None:
        """Adds a prompt. From position `greedy_from` on, the reference's argmax is its own greedy continuation."""
        error = difference(reference, artifact)
        self.error.add(reference, artifact)
        self.psnr_by_prompt.append(error.psnr_db)
        kl = np.concatenate(
            [_kl(reference[i : i + _ROWS], artifact[i : i + _ROWS]) for i in range(0, len(reference), _ROWS)]
        )
        self.kl_by_prompt.append(float(kl.mean()))
        self.kl_sum += float(kl.sum())
        self.kl_max = max(self.kl_max, float(kl.max())) if not math.isnan(self.kl_max) else math.nan
        if np.isnan(kl).any():
            self.kl_max = math.nan
        first, second = reference.argmax(-1), artifact.argmax(-1)
        differs = np.flatnonzero(first != second)
        self.positions += len(reference)
        self.agreeing += len(reference) - len(differs)
        for at in differs:
            self.gaps.append(float(reference[at, first[at]]) - float(reference[at, second[at]]))
        if greedy_from is not None:
            self._add_greedy(differs, greedy_from)

    def _add_greedy(self, differs: NDArray[np.intp], start: int) -> None:
        steps = differs[differs >= start]
        self.greedy_total += 1
        self.greedy_equal += steps.size == 0
        if steps.size:
            step = int(steps[0]) - start + 1
            self.greedy_first = min(self.greedy_first or step, step)

    def metrics(self, tie_db: float = TIE_DB) -> dict[str, float]:
        """All metrics. tie_db: a disagreement is a tie if the reference's gap is below the error at that PSNR."""
        ties = sum(gap < self.error.peak * 10 ** (-tie_db / 20) for gap in self.gaps)
        result = {
            "kl": self.kl_sum / self.positions,
            "kl_max": self.kl_max,
            "top1": self.agreeing / self.positions,
            "top1_ties": float(ties),
            "top1_or_tie": (self.agreeing + ties) / self.positions,
            "psnr_db": self.error.psnr_db,
            "max_abs_error": self.error.max_abs,
            "relative_error": self.error.relative,
            "non_finite": float(self.error.non_finite),
            "positions": float(self.positions),
            "prompts": float(len(self.kl_by_prompt)),
        }
        if self.greedy_total:
            result["greedy_equal"] = self.greedy_equal / self.greedy_total
            if self.greedy_first:
                result["greedy_first_difference"] = float(self.greedy_first)
        return result


@dataclass
class EmbeddingComparison:
    """Encoder outputs, reference against artifact: token embeddings `[n, hidden]`, sentence embedding `[hidden]`.

    The cosine is that of the sentence embeddings; without pooling, a prompt's cosine is the mean over its tokens.
    """

    tokens: Difference = field(default_factory=Difference)
    sentence: Difference = field(default_factory=Difference)
    cosines: list[float] = field(default_factory=list)
    sentences: tuple[list[Floats], list[Floats]] = field(default_factory=lambda: ([], []))
    psnr_by_prompt: list[float] = field(default_factory=list)

    def add(self, reference: tuple[Floats, Floats | None], artifact: tuple[Floats, Floats | None]) -> None:
        """Adds a prompt; each side is `(tokens, sentence or None)`."""
        self.tokens.add(reference[0], artifact[0])
        self.psnr_by_prompt.append(difference(reference[0], artifact[0]).psnr_db)
        if reference[1] is not None and artifact[1] is not None:
            self.sentence.add(reference[1], artifact[1])
            self.cosines.append(float(cosine(reference[1][None], artifact[1][None])[0]))
            self.sentences[0].append(reference[1])
            self.sentences[1].append(artifact[1])
        else:
            self.cosines.append(float(cosine(reference[0], artifact[0]).mean()))

    def metrics(self) -> dict[str, float]:
        """All metrics; those of the sentence embedding only where there is one."""
        cosines = np.asarray(self.cosines)
        result = {
            "cosine_mean": float(cosines.mean()),
            "cosine_min": float(cosines.min()),
            "psnr_db": self.tokens.psnr_db,
            "max_abs_error": max(self.tokens.max_abs, self.sentence.max_abs),
            "relative_error": max(self.tokens.relative, self.sentence.relative),
            "non_finite": float(self.tokens.non_finite + self.sentence.non_finite),
            "prompts": float(len(self.cosines)),
        }
        if self.sentence.count:
            result["sentence_psnr_db"] = self.sentence.psnr_db
            result["self_retrieval"] = self_retrieval(np.stack(self.sentences[0]), np.stack(self.sentences[1]))
        return result


def cosine(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Row by row cosine of `[n, hidden]`; NaN for a row of zeros or with a value that is not finite."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        result = (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    clipped: NDArray[np.float64] = np.clip(result, -1.0, 1.0)  # rounding alone leaves the range
    return clipped


def self_retrieval(reference: Floats, artifact: Floats) -> float:
    """Share of rows of `artifact` `[n, hidden]` whose nearest row of `reference`, by cosine, is the same row.

    Equal texts count as the same row. Unlike a cosine, this means the same in every embedding space.
    """
    a, b = (x.astype(np.float64) for x in (reference, artifact))
    with np.errstate(invalid="ignore", divide="ignore"):
        a /= np.sqrt(np.square(a).sum(-1, keepdims=True))
        b /= np.sqrt(np.square(b).sum(-1, keepdims=True))
        scores = b @ a.T
    own = np.diagonal(scores)
    return float((own >= scores.max(-1) - 1e-9).mean())


def _kl(reference: Floats, artifact: Floats) -> NDArray[np.float64]:
    """KL(softmax(reference) || softmax(artifact)) per row, in nats; NaN where a logit is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        p, q = log_softmax(reference), log_softmax(artifact)
        result = (np.exp(p) * (p - q)).sum(-1, dtype=np.float64)
    broken = ~(np.isfinite(reference).all(-1) & np.isfinite(artifact).all(-1))
    result[broken] = np.nan
    positive: NDArray[np.float64] = np.maximum(result, 0.0)  # rounding alone makes it negative
    return positive


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """Natural log-probabilities over the last axis; a row with NaN or an infinite logit is all NaN."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))
    return shifted
