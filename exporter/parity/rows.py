"""The rows of the report: which two subjects each compares, and how their outputs are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from exporter.parity import thresholds
from exporter.parity.metrics import EmbeddingComparison, LogitsComparison
from exporter.parity.options import Judged, ParityOptions
from exporter.parity.outputs import Arrays, Outputs
from exporter.parity.results import Artifact, Check, PromptScore, Row
from exporter.parity.scores import ScoreComparison, two_classes
from exporter.parity.subjects import TITLES, Key
from exporter.parity.texts import Texts
from exporter.parity.thresholds import Limit

if TYPE_CHECKING:
    from exporter.parity.options import OnnxWeights

_WORST = 3  # prompts shown per row
_TIE_DB = 40.0  # what float16 hardware is granted: it can't tell apart what is nearer than that either
_SHAPES = Limit("shapes", 0, "outputs must have the reference's shape")
_BLOCK_BITS: Mapping[OnnxWeights, int] = {"int8": 8, "int4": 4}  # quantized anew, in blocks


@dataclass(frozen=True)
class Comparison:
    """One row to be: reference and artifact by key, and its limits."""

    name: str
    reference: Key
    artifact: Key
    artifacts: tuple[Artifact, ...]
    limits: tuple[Limit, ...]

    @property
    def compares(self) -> str:
        """In words."""
        return f"{TITLES[self.reference]} against {TITLES[self.artifact]}"

    @property
    def psnr_limit(self) -> float | None:
        """Its limit in dB, where it is gated on PSNR."""
        return next((limit.value for limit in self.limits if limit.metric == "psnr_db"), None)


def comparisons(keys: Sequence[Key], options: ParityOptions, judged: Judged) -> tuple[Comparison, ...]:
    """Every row that can be computed from the subjects there are."""
    onnx, coreml = _artifacts(keys, "onnx"), _artifacts(keys, "coreml")
    both = (*onnx, *coreml)
    lossy = thresholds.compression_limits(options.bits, judged)
    blocks = _BLOCK_BITS.get(options.onnx_weights)  # None: the ONNX file decodes to the graph's own numbers
    onnx_bits = options.bits if blocks is None else min(options.bits, blocks)
    graph: Key = "compressed" if "compressed" in keys else "hub"
    end = {
        "onnx": thresholds.end_to_end_limits(onnx_bits, options.limits, judged),
        "coreml": thresholds.end_to_end_limits(options.bits, options.limits, judged),
    }
    rows = [
        Comparison("import", "checkpoint", "hub", both, thresholds.IMPORT),
        Comparison("compression", "hub", "compressed", both, lossy),
        Comparison("onnx lowering", graph, "onnx", onnx, _onnx_limits(options, judged)),
        Comparison("coreml lowering", graph, "coreml unrounded", coreml, thresholds.LOWERING_COREML),
        Comparison("fp16", "coreml unrounded", "coreml", coreml, thresholds.FP16),
        Comparison("onnx", "checkpoint", "onnx", onnx, end["onnx"]),
        Comparison("coreml", "checkpoint", "coreml", coreml, end["coreml"]),
    ]
    if blocks is None:
        rows.append(Comparison("onnx vs coreml", "onnx", "coreml", both, thresholds.ARTIFACTS))
    return tuple(row for row in rows if row.reference in keys and row.artifact in keys)


@dataclass(frozen=True)
class Comparer:
    """Turns comparisons into rows. runners: key → what ran it. sigmoid: each class by itself is a yes or no."""

    texts: Texts
    outputs: Outputs
    runners: Mapping[Key, str]
    judged: Judged
    sigmoid: bool = False

    def row(self, comparison: Comparison, extra: Mapping[str, float] | None = None, note: str = "") -> Row:
        """One row. `extra`: metrics that come from elsewhere than the outputs."""
        wrong = self._wrong_shapes(comparison)
        samples: dict[str, tuple[float, ...]] = {}
        if wrong:
            metrics: dict[str, float] = {"shapes": wrong}
            checks: tuple[Check, ...] = (Check(_SHAPES, wrong),)
        else:
            compare = {"embeddings": self._embeddings, "scores": self._scores}.get(self.judged, self._logits)
            compared, samples = compare(comparison)
            metrics = {**compared, **(extra or {})}
            checks = tuple(
                Check(limit, metrics[limit.metric]) for limit in comparison.limits if limit.metric in metrics
            )
        usual = {"embeddings": "cosine", "scores": "psnr_db"}.get(self.judged, "kl")
        leading = "psnr_db" if comparison.psnr_limit is not None else usual
        return Row(
            comparison.name,
            comparison.compares,
            comparison.artifacts,
            (self.runners[comparison.reference], self.runners[comparison.artifact]),
            metrics,
            checks,
            self._worst(samples.get(leading, ()), leading),
            samples,
            note,
        )

    def _logits(self, comparison: Comparison) -> tuple[dict[str, float], dict[str, tuple[float, ...]]]:
        compared = LogitsComparison()
        for index in range(len(self.texts.ids)):
            reference, artifact = self._pair(comparison, index)
            greedy_from = self.texts.greedy_from[index] if self.texts.greedy_from else None
            assert reference[0] is not None
            assert artifact[0] is not None
            first, second = reference[0], artifact[0]
            if self.sigmoid:
                first, second = two_classes(first), two_classes(second)
            compared.add(first, second, greedy_from)
        tie_db = comparison.psnr_limit or _TIE_DB
        samples = {"kl": tuple(compared.kl_by_prompt), "psnr_db": tuple(compared.psnr_by_prompt)}
        return compared.metrics(tie_db), samples

    def _scores(self, comparison: Comparison) -> tuple[dict[str, float], dict[str, tuple[float, ...]]]:
        compared = ScoreComparison()
        for index in range(len(self.texts.ids)):
            reference, artifact = self._pair(comparison, index)
            assert reference[0] is not None
            assert artifact[0] is not None
            compared.add(reference[0], artifact[0])
        return compared.metrics(comparison.psnr_limit or _TIE_DB), {"psnr_db": tuple(compared.psnr_by_prompt)}

    def _embeddings(self, comparison: Comparison) -> tuple[dict[str, float], dict[str, tuple[float, ...]]]:
        compared = EmbeddingComparison()
        for index in range(len(self.texts.ids)):
            reference, artifact = self._pair(comparison, index)
            assert reference[0] is not None
            assert artifact[0] is not None
            compared.add((reference[0], reference[1]), (artifact[0], artifact[1]))
        samples = {"cosine": tuple(compared.cosines), "psnr_db": tuple(compared.psnr_by_prompt)}
        return compared.metrics(), samples

    def _pair(self, comparison: Comparison, index: int) -> tuple[Arrays, Arrays]:
        return self.outputs.get(comparison.reference, index), self.outputs.get(comparison.artifact, index)

    def _wrong_shapes(self, comparison: Comparison) -> int:
        """Prompts for which the artifact's outputs have other shapes than the reference's, or are missing."""
        pairs = (self._pair(comparison, index) for index in range(len(self.texts.ids)))
        return sum(
            [a if a is None else a.shape for a in x] != [b if b is None else b.shape for b in y] for x, y in pairs
        )

    def _worst(self, values: Sequence[float], metric: str) -> tuple[PromptScore, ...]:
        badness = np.asarray(values) if metric == "kl" else -np.asarray(values)
        order = np.argsort(np.where(np.isnan(badness), -np.inf, -badness), kind="stable")[:_WORST]
        return tuple(PromptScore(int(i), self.texts.prompts[i].shown, metric, values[i]) for i in order)


def _artifacts(keys: Sequence[Key], artifact: Artifact) -> tuple[Artifact, ...]:
    return (artifact,) if artifact in keys else ()


def _onnx_limits(options: ParityOptions, judged: Judged) -> tuple[Limit, ...]:
    match options.onnx_weights:
        case "palette" | "fp32":
            return thresholds.LOWERING_ONNX
        case "fp16":
            return thresholds.ONNX_ROUNDED
        case other:
            return thresholds.compression_limits(_BLOCK_BITS[other], judged)
