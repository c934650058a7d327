"""The gate for models made of graphs: runs each component's subjects on the same samples and judges the differences."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from exporter.errors import Diagnostic, InputError
from exporter.parity.engine import Engine, Measured
from exporter.parity.fit_limits import narrowed
from exporter.parity.graphs.compare import OutputsComparison, mismatch
from exporter.parity.graphs.kinds import Origin, origins
from exporter.parity.graphs.limits import chooses_tokens, decides, lossy_limits
from exporter.parity.graphs.locate import GraphSearch
from exporter.parity.graphs.notes import INPUTS_HINT, inputs_note
from exporter.parity.graphs.samples import Materials, Sample, Samples, make_samples
from exporter.parity.graphs.subjects import GraphOpener, GraphSubjects
from exporter.parity.keys import Key, title
from exporter.parity.locate.divergence import Divergence
from exporter.parity.options import ParityOptions
from exporter.parity.results import ParityReport
from exporter.parity.rows import Comparison
from exporter.parity.thresholds import Limit
from exporter.parity.token_ids import tokenizer_row, with_tokenizer
from exporter.progress import NoProgress, Progress
from exporter.runners.threads import fixed_threads

Outputs = Mapping[str, NDArray[Any]]

UNOPTIMIZED = "the source file ran without onnxruntime's optimization, which changes the numbers of DequantizeLinear"
EXACT_ERROR = 1e-4  # squared error over variance that rows without a limit on it grant, as PSNR has one: 40 dB


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
        opener, name = GraphOpener(subjects, options), subjects.spec.component
        with fixed_threads(opener.threads):
            materials = Materials(subjects.tokenizer, subjects.preprocessor, upstream)
            samples = make_samples(subjects.spec, options.depth, options.prompts, materials)
            engine = GraphEngine(progress or NoProgress(), opener=opener, samples=samples)
            reports[name] = engine.report()
            if len(components) > 1:
                upstream[name] = list(zip(samples.items, engine.outputs[engine.keys[0]], strict=True))
    return {name: _with_tokenizer(reports[name], subjects) for name, subjects in zip(reports, components, strict=True)}


def _with_tokenizer(report: ParityReport, subjects: GraphSubjects) -> ParityReport:
    """The report with the tokenizer's row, for a component that takes token ids."""
    takes_ids = any(port.kind == "ids" for port in subjects.spec.inputs)
    if subjects.folder is None or subjects.tokenizer is None or not takes_ids:
        return report
    return with_tokenizer(report, tokenizer_row(subjects.tokenizer, subjects.folder, tuple(subjects.artifacts)))


@dataclass(kw_only=True)
class GraphEngine(Engine):
    """One component: its subjects run one after the other, and their outputs are kept until the rows are made."""

    opener: GraphOpener
    samples: Samples
    outputs: dict[Key, list[Outputs]] = field(default_factory=dict)
    notes: list[Diagnostic] = field(default_factory=list)

    @property
    def labels(self) -> Sequence[str]:
        """The label of each sample."""
        return [sample.label for sample in self.samples.items]

    def lossy(self, bits: float) -> tuple[Limit, ...]:
        """The limits for this graph's outputs."""
        options, spec = self.opener.options, self.opener.subjects.spec
        limits = lossy_limits(bits, spec)
        return narrowed(limits, options.cost, "tokens", options.depth) if chooses_tokens(spec) else limits

    def report(self) -> ParityReport:
        """Runs everything and compares it."""
        for key in self.keys:
            begun = time.perf_counter()
            if key == "source":
                self._run_source()
            else:
                self._run(key)
            self.spent[key] = time.perf_counter() - begun
        report = self.judge(self.samples.source)
        note, notes = inputs_note(self.samples, self._undecided), list(self.notes)
        if note:
            notes.append(Diagnostic("parity.inputs", note, hint=INPUTS_HINT, level="note"))
        told = [f"{n.message}; {n.hint}" if n.hint else n.message for n in notes]
        return replace(report, findings=(*report.findings, *notes), note="; ".join(told))

    @property
    def _undecided(self) -> tuple[str, ...]:
        compared = OutputsComparison(decides=False, origins=self._origins)
        for outputs in self.outputs[self.keys[0]]:
            compared.add(outputs, outputs, None)
        return compared.undecided

    @cached_property
    def _origins(self) -> Mapping[str, Origin] | None:
        hub = self.opener.subjects.hub
        return None if hub is None else origins(hub.model.graph)

    def _run_source(self) -> None:
        """The source file as it is; where onnxruntime can't run it, a note says so and nothing is compared with it."""
        try:
            self._run("source")
        except InputError as error:
            reason = error.diagnostics[0].message.split("\n")[0]
            message = f"the source file was not compared as it is, only as it was imported: {reason}"
            self.notes.append(Diagnostic("parity.source", message, level="note"))
            self.outputs.pop("source", None)
            self.runners.pop("source", None)
            self.keys = tuple(key for key in self.keys if key != "source")

    def _run(self, key: Key) -> None:
        self.progress.stage(f"parity: {self.opener.subjects.spec.component}, {title(key)}", len(self.samples.items))
        scan = self.opener.scan(key)
        runner = self.opener.open(key, scan)
        self.runners[key] = runner.name
        self.outputs[key] = []
        for sample in self.samples.items:
            self.outputs[key].append(runner.run(sample.feeds))
            self.progress.advance(sample.label)
        if scan is not None:
            self.overflow[key] = scan.largest

    def measure(self, comparison: Comparison) -> Measured:
        """Compares two subjects sample by sample."""
        granted = next((limit.value for limit in comparison.limits if limit.metric == "unexplained"), EXACT_ERROR)
        compared = OutputsComparison(decides(self.opener.subjects.spec), granted, self._origins)
        differs = ""
        pairs = zip(self.outputs[comparison.reference], self.outputs[comparison.artifact], strict=True)
        for sample, (reference, artifact) in zip(self.samples.items, pairs, strict=True):
            compared.add(reference, artifact, sample.length)
            if not differs and (problem := mismatch(reference, artifact)):
                differs = f"{problem} ({sample.label})"
        metrics = compared.metrics(comparison.psnr_limit)
        several = len(compared.outputs) > 1 and not compared.shapes
        note = f"worst output: {compared.worst_output}" if several else differs if compared.shapes else ""
        if comparison.reference == "source" and self.opener.dequantizes:
            note = "; ".join(filter(None, [note, UNOPTIMIZED]))
        samples = compared.by_sample
        leading = "cosine" if comparison.psnr_limit is None and "cosine" in samples else "psnr_db"
        return Measured(metrics, samples, leading, note)

    def locate(self, comparison: Comparison, index: int) -> Divergence | None:
        """The first tensor that diverges on one sample."""
        return GraphSearch(self.opener).find(comparison, self.samples.items[index].feeds)
