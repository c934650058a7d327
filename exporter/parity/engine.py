"""The common part of comparing texts and comparing graphs: subjects that ran become rows, findings and a report."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from exporter.errors import InputError, UnsupportedError
from exporter.parity.findings import findings
from exporter.parity.keys import Decoded, Key
from exporter.parity.locate.divergence import Divergence
from exporter.parity.results import Check, ParityReport, PromptScore, Row
from exporter.parity.rows import Comparison, Lossy, comparisons
from exporter.parity.subjects import Opener
from exporter.parity.thresholds import DEFINED, INTEGER_BITS, SHAPES, Limit
from exporter.parity.weights import Stored, WeightError, matrix_errors, weight_errors
from exporter.progress import Progress

WORST_SHOWN = 3  # prompts or samples shown per row
_WORST_WEIGHT = "worst weight: "


@dataclass(frozen=True)
class Measured:
    """The distance between two subjects.

    metrics: where "shapes" is among them, outputs had different shapes, and no other limit is judged.
    samples: metric → one value per prompt or sample. leading: the metric that says which of them are worst.
    """

    metrics: dict[str, float]
    samples: Mapping[str, tuple[float, ...]]
    leading: str
    note: str = ""


@dataclass
class Engine(ABC):
    """The subjects of one model and the results of running them.

    runners: subject → what ran it. overflow: unrounded program → its float16 tensors with values beyond ±65504, in
    program order, each with its largest value. spent: subject → seconds of its run, until a row has counted them.
    """

    opener: Opener
    progress: Progress
    runners: dict[Key, str] = field(default_factory=dict)
    overflow: dict[Key, Mapping[str, float]] = field(default_factory=dict)
    spent: dict[Key, float] = field(default_factory=dict)

    @property
    @abstractmethod
    def labels(self) -> Sequence[str]:
        """A label for each prompt or sample, for people."""

    @abstractmethod
    def lossy(self, bits: float) -> tuple[Limit, ...]:
        """The limits on what compression to `bits` per weight may cost."""

    @abstractmethod
    def measure(self, comparison: Comparison) -> Measured:
        """Compares the outputs of two subjects that ran."""

    @abstractmethod
    def locate(self, comparison: Comparison, index: int) -> Divergence | None:
        """The first tensor that diverges on the prompt or sample `index`."""

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """Everything there is to compare. Raises InputError where there is nothing."""
        keys = self.opener.keys()
        if not keys:
            raise InputError.of("parity.nothing", "there is nothing to compare")
        return keys

    def judge(self, source: str) -> ParityReport:
        """All rows that compare two subjects, and a finding for each that failed. source: of the prompts or samples."""
        options = self.opener.options
        integers = self.lossy(min(options.bits, INTEGER_BITS))
        planned = comparisons(self.keys, self.opener.subjects, options, Lossy(self.lossy(options.bits), integers))
        rows, found = findings(planned, [self._row(comparison) for comparison in planned], self._blame)
        return ParityReport(options.depth, options.bits, len(self.labels), source, rows, findings=found)

    def weights(self, key: Key) -> Sequence[WeightError]:
        """The errors of all matrices that the compressed graph or a file stores, the worst first."""
        subjects = self.opener.subjects
        hub, compressed = subjects.hub, subjects.compressed
        if hub is None or compressed is None or key not in self.keys:
            return ()
        if not isinstance(key, Decoded):
            return weight_errors(hub, compressed)
        bits = {name: palette.bits for name, palette in compressed.palettes.items()}
        usual, found = self.opener.options.bits, self.opener.matrices(key.form)
        return matrix_errors(hub, {name: Stored(bits.get(name, usual), dense) for name, dense in found.items()})

    def _row(self, comparison: Comparison) -> Row:
        begun = time.perf_counter()
        measured = self.measure(comparison)
        metrics, limits, note = dict(measured.metrics), comparison.limits, measured.note
        if "shapes" in metrics:
            limits = (SHAPES,)
        elif comparison.compresses and (weights := self.weights(comparison.artifact)):
            metrics["weight_error"] = weights[0].error
            limits, note = (*limits, weights[0].limit), f"{_WORST_WEIGHT}{weights[0].name}"
        elif comparison.reference in self.overflow:
            metrics["overflow"] = float(len(self.overflow[comparison.reference]))
        unknown = sum(map(math.isnan, metrics.values()))
        if unknown and not metrics.get("non_finite"):
            metrics["undefined"] = float(unknown)
            limits = (*limits, DEFINED)
        values = measured.samples.get(measured.leading, ())
        runs = self.spent.pop(comparison.reference, 0.0) + self.spent.pop(comparison.artifact, 0.0)
        return Row(
            name=comparison.name,
            compares=comparison.compares,
            artifacts=comparison.artifacts,
            runners=(self.runners[comparison.reference], self.runners[comparison.artifact]),
            metrics=metrics,
            checks=tuple(Check(limit, metrics[limit.metric]) for limit in limits if limit.metric in metrics),
            worst=tuple(
                PromptScore(i, self.labels[i], measured.leading, values[i]) for i in worst(values, measured.leading)
            ),
            samples=measured.samples,
            note=note,
            seconds=time.perf_counter() - begun + runs,
        )

    def _blame(self, comparison: Comparison, row: Row) -> tuple[str, str]:
        """The tensor to blame for a failed row, and how that is known."""
        if overflow := self.overflow.get(comparison.reference):
            name, value = next(iter(overflow.items()))
            return name, f"first tensor beyond ±65504: {name}, largest value {value:.6g}"
        if any(check.limit.metric == "weight_error" and not check.passed for check in row.checks):
            return row.note.removeprefix(_WORST_WEIGHT), row.note
        self.progress.stage(f"parity: locate the error of {row.name}", 1)
        try:
            divergence = self.locate(comparison, row.worst[0].index if row.worst else 0)
        except (InputError, UnsupportedError) as error:  # the row failed, whether or not a tensor can be blamed
            reason = error.diagnostics[0].message.split("\n")[0]
            return "", "; ".join(filter(None, [row.note, f"the first tensor that diverges was not found: {reason}"]))
        if divergence is None:
            return "", row.note or "no intermediate tensor that both sides name diverges"
        differs = row.note if "shapes" in row.metrics else ""
        return divergence.tensor, "; ".join(filter(None, [differs, divergence.describe()]))


def worst(values: Sequence[float], metric: str, count: int = WORST_SHOWN) -> list[int]:
    """Indices of the worst values of `metric`: the highest KL, the lowest of any other; NaN before all."""
    badness = np.asarray(values) if metric == "kl" else -np.asarray(values)
    order = np.argsort(np.where(np.isnan(badness), -np.inf, -badness), kind="stable")
    return [int(i) for i in order[:count]]
