"""Sensitivities without calibration text: a stand-in that looks only at the weights; reports say so.

A matrix's cost is its relative squared error, Σ (w - ŵ)² / Σ w², times its number of weights. To first order the loss
grows by Σ a_l · t_l², where t_l² is the relative error of layer l (the linearity theorem of HIGGS, arXiv 2411.17525).
Without data the a_l are unknown. Equal a_l would give a large embedding too few bits: two small decoders then had two
to three times the KL of uniform 4 bits at the same size. With a_l in proportion to the number of weights, KL is about
that of uniform bits. So this stand-in reaches a wanted size, but gives no better model: for that, use calibration text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from exporter.compress.choices import Choice
from exporter.compress.decisions import Candidate
from exporter.compress.grids import round_grid
from exporter.compress.kmeans import cluster_rows, cores, weight_problem
from exporter.compress.search import Choices, ErrorKind, Offer
from exporter.errors import InputError, KogataError, UnsupportedError
from exporter.progress import Progress

ROW_STEP = 2  # runs of rows begin and end at multiples of this: so plans stay the same as in earlier versions
SAMPLE_WEIGHTS = 1 << 20  # of a matrix: enough to estimate its error to within 1 or 2 %


class WeightError:
    """A `Sensitivity` for models without calibration text."""

    @property
    def kind(self) -> ErrorKind:
        """Nothing but the weights."""
        return "weights"

    @property
    def words(self) -> str:
        """For reports."""
        return (
            "squared error of each matrix divided by its mean square, summed over all matrices: "
            "an estimate from the weights alone, without running any text"
        )

    @property
    def measurements(self) -> int:
        """Joint errors can't be measured."""
        return 0

    def costs(self, offers: Sequence[Offer], progress: Progress) -> Mapping[str, Sequence[float]]:
        """Costs of k-means palettes or rounded grids.

        Raises InputError or UnsupportedError for all weights that can't be palettized.
        """
        progress.stage("measure weight errors", len(offers))
        costs: dict[str, Sequence[float]] = {}
        problems: list[KogataError] = []
        with ThreadPoolExecutor(cores()) as pool:
            for offer in offers:
                sample = _sample(offer.candidate)
                problem = weight_problem(offer.candidate.name, sample)
                if problem is not None:
                    problems.append(problem)
                else:
                    costs[offer.candidate.name] = list(
                        pool.map(_error, repeat(sample), offer.choices, repeat(offer.candidate.parameters))
                    )
                progress.advance(offer.candidate.name)
        for kind in (InputError, UnsupportedError):
            kind.raise_all([d for problem in problems if isinstance(problem, kind) for d in problem.diagnostics])
        return costs

    def joint(self, choices: Choices) -> float | None:  # noqa: ARG002
        """Unknown: None."""
        return None


def _sample(candidate: Candidate) -> NDArray[np.float32]:
    rows, columns = candidate.shape
    return np.concatenate(
        [candidate.load(part) for part in spread(rows, max(ROW_STEP, SAMPLE_WEIGHTS // columns), ROW_STEP)]
    )


def spread(rows: int, wanted: int, step: int = 1) -> list[slice]:
    """Evenly spread runs of rows, about `wanted` rows in all. Within a run, rows are neighbours, as in a group.

    step: lengths and first rows are multiples of it; `wanted` is at least `step`.
    """
    if rows <= wanted:
        return [slice(0, rows)]
    runs = max(1, min(16, wanted // 64))
    length = max(step, wanted // runs // step * step)
    starts = [round(i * (rows - length) / max(1, runs - 1)) // step * step for i in range(runs)]
    return [slice(start, start + length) for start in starts]


def _error(sample: NDArray[np.float32], choice: Choice, weights: int) -> float:
    """Squared error divided by the mean square, of a matrix with `weights` weights, estimated from a sample of rows."""
    if choice.kept:
        return 0.0
    total = float(np.square(sample, dtype=np.float64).sum())
    fitted = choice.fitted(sample.shape)
    if fitted.block is None:
        lost = float(cluster_rows(sample, fitted.form).errors.sum())
    else:
        lost = float(np.square(sample - round_grid(sample, *fitted.grid).dense(), dtype=np.float64).sum())
    return lost / total * weights if total else 0.0
