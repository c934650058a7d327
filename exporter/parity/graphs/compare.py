"""Compares a graph's outputs over all samples: each by the metrics that fit its kind. The worst output counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.graphs.decisions import Decisions
from exporter.parity.graphs.kinds import Origin, OutputKind, kind_of, probability_columns
from exporter.parity.graphs.series import Series
from exporter.parity.metrics import TIE_DB, LogitsComparison

Array = NDArray[Any]

LOGITS = "logits"


def mismatch(reference: Mapping[str, Array], artifact: Mapping[str, Array]) -> str:
    """How the first output with another shape differs, in words; "" where all shapes are the reference's."""
    for name, expected in reference.items():
        if name not in artifact or artifact[name].shape == expected.shape:
            continue
        made = artifact[name].shape
        others = [
            axis for axis in range(expected.ndim) if len(made) == expected.ndim and made[axis] != expected.shape[axis]
        ]
        if len(others) == 1:  # results that a threshold lets through: boxes of a detector, say
            had, has = expected.shape[others[0]], made[others[0]]
            change = f"{abs(has - had)} {'more' if has > had else 'fewer'}"
            return f"output '{name}' has {has} results instead of {had}, {change}"
        return f"output '{name}' has the shape {list(made)} instead of {list(expected.shape)}"
    return "" if set(reference) & set(artifact) else "the outputs have other names"


@dataclass
class OutputsComparison:
    """One pair of subjects over all samples.

    decides: whether `logits` choose between classes or tokens; KL and top-1 are then measured too.
    granted: squared error over variance that the row allows: what is nearer to the other decision than this is a tie.
    origins: output → the op it comes from; None where the graph isn't known.
    shapes: samples whose outputs are missing or have another shape; these are not compared any further.
    """

    decides: bool
    granted: float = 1e-4
    origins: Mapping[str, Origin] | None = None
    shapes: int = 0
    samples: int = 0
    outputs: dict[str, Series] = field(default_factory=dict)
    logits: LogitsComparison = field(default_factory=LogitsComparison)
    _kinds: dict[str, OutputKind] = field(default_factory=dict)

    def add(self, reference: Mapping[str, Array], artifact: Mapping[str, Array], length: int | None) -> None:
        """Adds a sample; outputs that only the artifact has are left out. length: number of tokens without padding."""
        self.samples += 1
        self._kinds.clear()
        pairs = {name: (array, artifact[name]) for name, array in reference.items() if name in artifact}
        if not pairs or any(a.shape != b.shape for a, b in pairs.values()):
            self.shapes += 1
            return
        for name, pair in pairs.items():
            a, b = (_own(array, length) for array in pair)
            self.outputs.setdefault(name, Series()).add(a, b)
            if self.decides and name == LOGITS:
                self.logits.add(_rows(np.asarray(a, np.float32)), _rows(np.asarray(b, np.float32)))

    def metrics(self, tie_db: float | None) -> dict[str, float]:
        """All metrics; with a wrong shape, only how many samples have it."""
        if self.shapes:
            return {"shapes": float(self.shapes), "prompts": float(self.samples)}
        found: dict[str, list[float]] = {}
        for name, series in self.outputs.items():
            for metric, value in self._output(name, series).items():
                found.setdefault(metric, []).append(value)
        result = {metric: _worst(metric, values) for metric, values in found.items()}
        if cosines := self.by_sample.get("cosine"):
            result["cosine_mean"], result["cosine_min"] = float(np.mean(cosines)), float(np.min(cosines))
        result["prompts"] = float(self.samples)
        if self.logits.positions:
            decided = self.logits.metrics(tie_db or TIE_DB)
            result |= {key: decided[key] for key in ("kl", "kl_max", "top1", "top1_ties", "top1_or_tie", "positions")}
        return result

    def _output(self, name: str, series: Series) -> dict[str, float]:
        kind = self.kind(name)
        if kind.kind == "whole":
            return {"unequal": series.unequal}
        metrics = series.metrics(kind.kind)
        if name != LOGITS or not self.decides:
            metrics |= self._decisions(series, kind)
        if self.origins and self.origins.get(name) == "mixed":
            columns = probability_columns(series.references)
            if columns is not None:  # judged by themselves: beside coordinates their errors would not count
                part = series.columns(*columns)
                own = part.metrics("yes-no") | self._decisions(part, OutputKind("yes-no"))
                for metric in ("unexplained", "decisions"):
                    if metric in own:
                        metrics[metric] = _worst(metric, [metrics.get(metric, own[metric]), own[metric]])
        return metrics

    def _decisions(self, series: Series, kind: OutputKind) -> dict[str, float]:
        decided = Decisions.of(series, kind, self.granted)
        return {} if decided is None else {"decisions": decided.kept}

    def kind(self, name: str) -> OutputKind:
        """The kind of an output."""
        if name not in self._kinds:
            origin = None if self.origins is None else self.origins.get(name, "other")
            self._kinds[name] = kind_of(self.outputs[name].references, origin)
        return self._kinds[name]

    @property
    def by_sample(self) -> dict[str, tuple[float, ...]]:
        """Metric → one value per sample, for plots: the lowest of all outputs. Cosines only where an output has any."""
        if self.shapes:
            return {}
        found = {"psnr_db": self._lowest("psnr_by_sample"), "cosine": self._lowest("cosines")}
        if self.logits.positions:
            found["kl"] = tuple(self.logits.kl_by_prompt)
        return {metric: values for metric, values in found.items() if values}

    def _lowest(self, values: str) -> tuple[float, ...]:
        rows = []
        for name, series in self.outputs.items():
            kind = self.kind(name).kind
            if kind != "whole" and not (values == "cosines" and kind == "yes-no"):
                rows += [row for row in [getattr(series, values)] if row]
        return tuple(float(min(column, key=_low)) for column in zip(*rows, strict=True)) if rows else ()

    @property
    def worst_output(self) -> str:
        """The output with the largest error beside the variance of its reference; NaN is larger than any."""

        def rank(name: str) -> float:
            series, kind = self.outputs[name], self.kind(name).kind
            error = series.unequal if kind == "whole" else series.metrics(kind)["unexplained"]
            return math.inf if math.isnan(error) else error

        return max(self.outputs, key=rank, default="")

    @property
    def undecided(self) -> tuple[str, ...]:
        """Outputs that give the same yes or no in all samples: whether a decision flips was not tried."""
        return tuple(
            name
            for name in self.outputs
            if self.kind(name).kind == "yes-no" and not _varies(self.outputs[name].references)
        )


def _varies(references: list[Array]) -> bool:
    yes = [array > 0.5 for array in references if array.size]
    return any(array.any() for array in yes) and not all(array.all() for array in yes)


def _worst(metric: str, values: list[float]) -> float:
    """NaN where any is NaN. Counts are added up."""
    if metric in ("non_finite", "same_non_finite"):
        return float(sum(values))
    lowest = metric in ("psnr_db", "decisions")
    return float(np.min(values)) if lowest else float(np.max(values))


def _low(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _own(array: Array, length: int | None) -> Array:
    """Without the positions behind a text's own tokens: what stands there means nothing."""
    if length is not None and array.ndim == 3 and array.shape[0] == 1 and array.shape[1] > length:
        array = array[:, :length]
    return array


def _rows(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """`[…, n]` as `[rows, n]`."""
    return array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)
