"""The gate for one component of a model made of graphs, and the report of all of them together."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from exporter.errors import Diagnostic, InputError
from exporter.parity import thresholds
from exporter.parity.graphs.compare import OutputsComparison, worst
from exporter.parity.graphs.limits import LOWERING_COREML, decides, lossy_limits
from exporter.parity.graphs.locate import locate
from exporter.parity.graphs.samples import Materials, Sample, Samples, make_samples
from exporter.parity.graphs.subjects import GraphSubjects
from exporter.parity.locate.mil_values import OverflowScan
from exporter.parity.options import ParityOptions
from exporter.parity.results import Artifact, Check, ParityReport, PromptScore, Row
from exporter.parity.rows import Comparison
from exporter.parity.subjects import TITLES, Key, fixed_threads
from exporter.parity.thresholds import Limit
from exporter.parity.weights import WeightError, weight_errors
from exporter.progress import NoProgress, Progress
from exporter.runners import coreml
from exporter.runners.graphs import CoreMLGraph, GraphRunner, MilGraph, OnnxGraph
from exporter.runners.ort import OnnxSource
from exporter.runners.reference_graph import TorchGraph

if TYPE_CHECKING:
    from exporter.runners.mil import MilModel

Array = NDArray[Any]
Outputs = Mapping[str, Array]

_WORST = 3  # samples shown per row
_LARGE = 200_000_000  # bytes of weights: below that, single ops are too short to share among threads
_KEYS: tuple[Key, ...] = ("checkpoint", "hub", "compressed", "onnx", "coreml unrounded", "coreml")
_EXPLAINED = {  # rows that fail because an earlier one did
    "onnx": ("import", "compression", "onnx lowering"),
    "coreml": ("import", "compression", "coreml lowering", "fp16"),
    "onnx vs coreml": ("onnx lowering", "coreml lowering", "fp16"),
}


def check_graphs(
    components: Sequence[GraphSubjects], options: ParityOptions, progress: Progress | None = None
) -> dict[str, ParityReport]:
    """Component → its report; a component that feeds another comes before it.

    A failed gate is in a report's verdict and findings, not raised. Raises InputError for samples that don't fit the
    graph and for files that no runtime can load, UnsupportedError for programs with unknown ops, RuntimeMissingError
    where Core ML itself was asked for and is not there.
    """
    upstream: dict[str, list[tuple[Sample, Outputs]]] = {}
    reports = {}
    for subjects in components:
        check = _Check(subjects, options, progress or NoProgress())
        with fixed_threads(check.threads):
            materials = Materials(subjects.tokenizer, subjects.preprocessor, upstream)
            samples = make_samples(subjects.spec, options.depth, options.prompts, materials)
            reports[subjects.spec.component] = check.report(samples)
            if len(components) > 1:
                first = check.outputs[check.keys[0]]
                upstream[subjects.spec.component] = list(zip(samples.items, first, strict=True))
    return reports


@dataclass
class _Check:
    """One component: its subjects are run one after the other, their outputs kept until the rows are made."""

    subjects: GraphSubjects
    options: ParityOptions
    progress: Progress
    outputs: dict[Key, list[Outputs]] = field(default_factory=dict)
    runners: dict[Key, str] = field(default_factory=dict)
    overflow: dict[str, float] = field(default_factory=dict)

    @cached_property
    def threads(self) -> int:
        """How many threads every runtime uses."""
        if self.options.threads is not None:
            return self.options.threads
        hub = self.subjects.hub
        values = hub.model.graph.initializers.values() if hub else ()
        size = sum(value.const_value.nbytes for value in values if value.const_value is not None)
        return 1 if size < _LARGE else min(4, os.cpu_count() or 1)

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """What there is to compare, from the checkpoint outwards."""
        s = self.subjects
        compressed = s.compressed is not None and s.compressed is not s.hub and bool(s.compressed.palettes)
        there = (s.reference, s.hub, compressed or None, s.onnx, s.coreml, s.coreml)
        return tuple(key for key, present in zip(_KEYS, there, strict=True) if present is not None)

    @cached_property
    def mil(self) -> MilModel:
        """The shipped program, read back from disk."""
        from exporter.runners.mil import load_mlpackage

        assert self.subjects.coreml is not None
        return load_mlpackage(self.subjects.coreml)

    def report(self, samples: Samples) -> ParityReport:
        """Runs everything and compares it."""
        if not self.keys:
            raise InputError.of("parity.nothing", "there is nothing to compare")
        component = self.subjects.spec.component
        for key in self.keys:
            self.progress.stage(f"parity: {component}, {TITLES[key]}", len(samples.items))
            runner = self._open(key)
            self.runners[key] = runner.name
            self.outputs[key] = []
            for sample in samples.items:
                self.outputs[key].append(runner.run(sample.feeds))
                self.progress.advance(sample.label)
        errors = self._weight_errors()
        planned = self._comparisons()
        rows = [self._row(comparison, samples, errors) for comparison in planned]
        return ParityReport(
            depth=self.options.depth,
            bits=self.options.bits,
            prompts=len(samples.items),
            prompt_source=samples.source,
            rows=tuple(rows),
            findings=tuple(self._findings(planned, rows, samples)),
        )

    def _open(self, key: Key) -> GraphRunner:
        s = self.subjects
        if key == "checkpoint":
            assert s.reference is not None
            return TorchGraph(s.reference, s.spec)
        if key in ("hub", "compressed", "onnx"):
            return OnnxGraph(self.source(key), self.threads)
        if key == "coreml unrounded":
            scan = OverflowScan(self.mil)
            self.overflow = scan.largest
            return MilGraph(self.mil, s.spec, rounding=False, observe=scan)
        asked = self.options.coreml_runner
        if asked == "system" or (asked == "auto" and coreml.available()):
            assert s.coreml is not None
            return CoreMLGraph(s.coreml, s.spec)
        return MilGraph(self.mil, s.spec)

    def source(self, key: Key) -> OnnxSource:
        """The ONNX graph behind one of the keys."""
        s = self.subjects
        hub = s.hub if key == "hub" else s.compressed
        return OnnxSource(path=s.onnx) if key == "onnx" else OnnxSource(model=hub.model if hub else None)

    def _comparisons(self) -> list[Comparison]:
        """Every row that can be made. Without a checkpoint, the uncompressed graph is the reference."""
        options, spec = self.options, self.subjects.spec
        onnx: tuple[Artifact, ...] = ("onnx",) if "onnx" in self.keys else ()
        coreml: tuple[Artifact, ...] = ("coreml",) if "coreml" in self.keys else ()
        lossy = lossy_limits(options.bits, spec)
        graph: Key = "compressed" if "compressed" in self.keys else "hub"
        origin: Key = "checkpoint" if "checkpoint" in self.keys else "hub"
        end = _overridden(lossy, options.limits)
        stored = thresholds.ONNX_ROUNDED if options.onnx_weights == "fp16" else thresholds.LOWERING_ONNX
        lowered = (
            Comparison("onnx lowering", graph, "onnx", onnx, stored),
            Comparison("coreml lowering", graph, "coreml unrounded", coreml, LOWERING_COREML),
        )
        rows = [
            Comparison("import", "checkpoint", "hub", (*onnx, *coreml), thresholds.IMPORT),
            Comparison("compression", "hub", "compressed", (*onnx, *coreml), lossy),
            *(lowered if self.subjects.compressed is not None else ()),
            Comparison("fp16", "coreml unrounded", "coreml", coreml, thresholds.FP16),
            Comparison("onnx", origin, "onnx", onnx, end),
            Comparison("coreml", origin, "coreml", coreml, end),
            Comparison("onnx vs coreml", "onnx", "coreml", (*onnx, *coreml), thresholds.ARTIFACTS),
        ]
        return [row for row in rows if row.reference in self.keys and row.artifact in self.keys]

    def _weight_errors(self) -> Sequence[WeightError]:
        s = self.subjects
        return weight_errors(s.hub, s.compressed) if "compressed" in self.keys and s.hub and s.compressed else ()

    def _row(self, comparison: Comparison, samples: Samples, errors: Sequence[WeightError]) -> Row:
        compared = OutputsComparison(decides(self.subjects.spec))
        pairs = zip(self.outputs[comparison.reference], self.outputs[comparison.artifact], strict=True)
        for sample, (reference, artifact) in zip(samples.items, pairs, strict=True):
            compared.add(reference, artifact, sample.length)
        metrics = compared.metrics(comparison.psnr_limit)
        limits, note = comparison.limits, ""
        if compared.shapes:
            limits = (Limit("shapes", 0, "outputs must have the reference's shape"),)
        elif len(compared.differences) > 1:
            note = f"worst output: {compared.worst_output}"
        if comparison.name == "compression" and errors:
            metrics["weight_error"] = errors[0].error
            limits, note = (*limits, errors[0].limit), f"worst weight: {errors[0].name}"
        if comparison.name == "fp16":
            metrics["overflow"] = float(len(self.overflow))
        checks = tuple(Check(limit, metrics[limit.metric]) for limit in limits if limit.metric in metrics)
        leading = "psnr_db" if comparison.psnr_limit is not None else "cosine"
        values = compared.by_sample[leading]
        return Row(
            comparison.name,
            comparison.compares,
            comparison.artifacts,
            (self.runners[comparison.reference], self.runners[comparison.artifact]),
            metrics,
            checks,
            tuple(PromptScore(i, samples.items[i].label, leading, values[i]) for i in worst(values, _WORST)),
            compared.by_sample,
            note,
        )

    def _findings(self, planned: Sequence[Comparison], rows: Sequence[Row], samples: Samples) -> list[Diagnostic]:
        failed = {row.name for row in rows if row.verdict == "failed"}
        found = []
        for comparison, row in zip(planned, rows, strict=True):
            if row.name not in failed:
                continue
            causes = [name for name in _EXPLAINED.get(row.name, ()) if name in failed]
            where, detail = "", f"because of: {', '.join(causes)}"
            if not causes:
                where, detail = self._blame(comparison, row, samples)
            found.append(_failure(row, where, detail))
        return found

    def _blame(self, comparison: Comparison, row: Row, samples: Samples) -> tuple[str, str]:
        """The tensor to blame, and how that is known."""
        if row.name == "fp16" and self.overflow:
            name, value = next(iter(self.overflow.items()))
            return name, f"first tensor beyond ±65504: {name}, largest value {value:.6g}"
        if any(check.limit.metric == "weight_error" and not check.passed for check in row.checks):
            return row.note.removeprefix("worst weight: "), row.note
        feeds = samples.items[row.worst[0].index if row.worst else 0].feeds
        needs_mil = comparison.artifact in ("coreml", "coreml unrounded")
        found = locate(self.subjects, comparison, feeds, self.threads, self.mil if needs_mil else None)
        if found is None:
            return "", row.note or "no intermediate tensor that both sides name diverges"
        return found.tensor, found.describe()


def _overridden(limits: Sequence[Limit], asked: Mapping[str, float]) -> tuple[Limit, ...]:
    """What a target or budget asks for goes before."""
    own = tuple(Limit(metric, value, "asked for by the budget or target") for metric, value in asked.items())
    return (*(limit for limit in limits if limit.metric not in asked), *own)


def _failure(row: Row, where: str, detail: str) -> Diagnostic:
    from exporter.parity.metrics import METRICS

    broken = [check for check in row.checks if not check.passed]
    shown = ", ".join(
        f"{METRICS[c.limit.metric].label} {'not a number' if math.isnan(c.value) else f'{c.value:.4g}'} "
        f"(limit {c.limit.value:g})"
        for c in broken
    )
    message = f"parity row '{row.name}' failed ({row.compares}): {shown}"
    reason = broken[0].limit.reason if broken else ""
    code = f"parity.{row.name.replace(' ', '-')}"
    return Diagnostic(code, f"{message}; {detail}" if detail else message, where, f"why that limit: {reason}")
