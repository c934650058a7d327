"""Sensitivities without calibration text: a stated stand-in that looks at nothing but the weights.

A matrix's cost is its relative squared error, Σ (w - ŵ)² / Σ w², times its number of weights. To first order the loss
grows by Σ a_l · t_l², with t_l² the relative error of layer l (the linearity theorem of HIGGS, arXiv 2411.17525), and
without data the a_l are unknown. All a_l alike would starve a large embedding: on two small decoders, at the bytes of
uniform 4 bits, they get two to three times the KL. In proportion to the size it is about that of uniform bits: what
this offers is a size that is met, not a better model. That takes calibration text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from exporter.compress.choices import Choice
from exporter.compress.decisions import Candidate
from exporter.compress.kmeans import cluster_rows, cores, weight_problem
from exporter.compress.search import Choices, ErrorKind, Offer
from exporter.errors import InputError, KogataError, UnsupportedError
from exporter.progress import Progress

STEP = 2  # rows that runs begin and end on: costs, and with them plans, stay those of earlier versions
SAMPLE = 1 << 20  # weights of a matrix that are clustered: enough for an error to within a percent or two


class WeightError:
    """A `Sensitivity` for models without calibration text."""

    @property
    def kind(self) -> ErrorKind:
        """Nothing was run."""
        return "weights"

    @property
    def words(self) -> str:
        """For reports."""
        return (
            "squared error of each matrix over its mean square, summed over all matrices: "
            "a stand-in that no text was run for"
        )

    @property
    def measurements(self) -> int:
        """No joint error is known."""
        return 0

    def costs(self, offers: Sequence[Offer], progress: Progress) -> Mapping[str, Sequence[float]]:
        """Of k-means palettes. Raises InputError and UnsupportedError, naming all weights that can't be palettized."""
        progress.stage("measure weight errors", len(offers))
        found: dict[str, Sequence[float]] = {}
        problems: list[KogataError] = []
        with ThreadPoolExecutor(cores()) as pool:
            for offer in offers:
                sample = _sample(offer.candidate)
                problem = weight_problem(offer.candidate.name, sample)
                if problem is not None:
                    problems.append(problem)
                else:
                    found[offer.candidate.name] = list(
                        pool.map(_error, repeat(sample), offer.choices, repeat(offer.candidate.parameters))
                    )
                progress.advance(offer.candidate.name)
        for kind in (InputError, UnsupportedError):
            kind.raise_all([d for problem in problems if isinstance(problem, kind) for d in problem.diagnostics])
        return found

    def joint(self, choices: Choices) -> float | None:  # noqa: ARG002
        """Unknown."""
        return None


def _sample(candidate: Candidate) -> NDArray[np.float32]:
    rows, columns = candidate.shape
    return np.concatenate([candidate.load(part) for part in spread(rows, max(STEP, SAMPLE // columns), STEP)])


def spread(rows: int, wanted: int, step: int = 1) -> list[slice]:
    """Runs of rows, evenly spread, about `wanted` in all: neighbours stay neighbours, as they are within a group.

    step: of which lengths and beginnings are multiples; `wanted` is at least that.
    """
    if rows <= wanted:
        return [slice(0, rows)]
    runs = max(1, min(16, wanted // 64))
    length = max(step, wanted // runs // step * step)
    starts = [round(i * (rows - length) / max(1, runs - 1)) // step * step for i in range(runs)]
    return [slice(start, start + length) for start in starts]


def _error(sample: NDArray[np.float32], choice: Choice, weights: int) -> float:
    """Squared error over the mean square, of a matrix of so many weights with these rows among them."""
    if choice.group_size is None:
        return 0.0
    total = float(np.square(sample, dtype=np.float64).sum())
    errors = cluster_rows(sample, choice.fitted(sample.shape).form).errors
    return float(errors.sum()) / total * weights if total else 0.0
