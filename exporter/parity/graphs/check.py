"""The gate for models made of graphs: runs each component's subjects on the same samples and judges the differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from exporter.parity.engine import Engine, Measured
from exporter.parity.graphs.compare import OutputsComparison
from exporter.parity.graphs.limits import decides, lossy_limits
from exporter.parity.graphs.locate import GraphSearch
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

    @property
    def labels(self) -> Sequence[str]:
        """The label of each sample."""
        return [sample.label for sample in self.samples.items]

    @property
    def lossy(self) -> tuple[Limit, ...]:
        """The limits for this graph's outputs."""
        return lossy_limits(self.opener.options.bits, self.opener.subjects.spec)

    def report(self) -> ParityReport:
        """Runs everything and compares it."""
        for key in self.keys:
            self._run(key)
        return self.judge(self.samples.source)

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
        compared = OutputsComparison(decides(self.opener.subjects.spec))
        pairs = zip(self.outputs[comparison.reference], self.outputs[comparison.artifact], strict=True)
        for sample, (reference, artifact) in zip(self.samples.items, pairs, strict=True):
            compared.add(reference, artifact, sample.length)
        metrics = compared.metrics(comparison.psnr_limit)
        several = len(compared.differences) > 1 and not compared.shapes
        note = f"worst output: {compared.worst_output}" if several else ""
        leading = "cosine" if comparison.psnr_limit is None else "psnr_db"
        return Measured(metrics, compared.by_sample, leading, note)

    def locate(self, comparison: Comparison, index: int) -> Divergence | None:
        """The first tensor that diverges on one sample."""
        return GraphSearch(self.opener).find(comparison, self.samples.items[index].feeds)
