"""What a model's answer owes to each product with a weight: one pass backwards over the texts.

For every use of a weight with output y, the random loss of the objective gives gradients g = dL/dy. Their squares, on
average over the outputs, say how much a token matters; on average over the tokens, how much an output (a row of the
weight) matters. The products of both stand for g², as in GuidedQuant (arXiv 2505.07004) with one group, and more: its
groups of rows each need a matrix of their own, and on a few ten thousand tokens more of them didn't help.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from exporter.calibration.feeds import Batch
from exporter.calibration.memory import release
from exporter.calibration.objective import Objective
from exporter.calibration.statistics import at_positions, statistic
from exporter.progress import Progress
from exporter.runners.torch_graph.graph import Tap, TorchGraph
from exporter.runners.torch_graph.products import WeightUse


@dataclass(frozen=True)
class UseSaliency:
    """tokens: for each batch, float32 `[n]`: the mean square over a token's gradients. rows: float64 `[out]`, their
    squares summed over all tokens. outer: float64 `[in, in]`, Σ g gᵀ, for lookups only. total: the use's `statistic`
    over all batches, for weights with several uses: these must be known together, before the first of them."""

    tokens: tuple[Tensor, ...]
    rows: Tensor
    outer: Tensor | None = None
    total: Tensor | None = None


@dataclass(frozen=True)
class Saliency:
    """uses: of every use that the answer depends on, by its output's name. count: rows of the answers, each as much as
    it counts."""

    uses: dict[str, UseSaliency]
    count: float


def measure(
    graph: TorchGraph, objective: Objective, batches: Sequence[Batch], progress: Progress, seed: int = 0
) -> Saliency:
    """Runs every batch forwards and backwards, once."""
    progress.stage("measure what matters", len(batches))
    generator = torch.Generator().manual_seed(seed)
    counts = Counter(use.weight for use in graph.uses)
    sums: dict[str, _Sum] = {use.output: _Sum(use, counts[use.weight] > 1) for use in graph.uses}
    head = _head(graph, objective)
    count = 0.0
    for batch in batches:
        tape = _Tape(graph, sums, batch, head)
        outputs = graph.run(batch.feeds, objective.outputs, taps=tape.taps())
        count += objective.count(outputs, batch)
        if head is not None:
            squares = _squares_of_head(head, tape.kept, objective, outputs, batch)
            tape.watch(head, tape.kept.pop(head.output), squares)
            del squares
        loss = objective.random_loss(outputs, batch, generator)
        del outputs  # the logits of a large vocabulary, which nobody reads on the way back
        if loss.requires_grad:  # there is a weight that the answer depends on
            loss.backward()  # type: ignore[no-untyped-call]
        del loss, tape
        release()
        progress.advance()
    found = {name: total.found() for name, total in sums.items() if total.tokens}
    return Saliency(found, count)


@dataclass
class _Tape:
    """Adds gradients to `sums` as they come: none of them is kept, nor what autograd itself doesn't need.

    What is looked up begins the graph. kept: what the head puts out, and what goes into weights with several uses.
    """

    graph: TorchGraph
    sums: dict[str, _Sum]
    batch: Batch
    head: WeightUse | None
    kept: dict[str, Tensor] = field(default_factory=dict)

    def taps(self) -> dict[str, Tap]:
        """For one run."""
        taps = {use.output: self._output(use) for use in self.graph.uses}
        return taps | {use.input: self._input(use.input) for use in self.graph.uses if self.sums[use.output].shared}

    def _input(self, name: str) -> Tap:
        output = next((self._output(use) for use in self.graph.uses if use.output == name), None)

        def tap(value: Tensor) -> Tensor | None:
            self.kept[name] = value.detach()
            return None if output is None else output(value)

        return tap

    def _output(self, use: WeightUse) -> Tap:
        def tap(value: Tensor) -> Tensor | None:
            if not value.is_floating_point():
                return None
            if not value.requires_grad:
                value = value.detach().requires_grad_(True)
            if use is self.head:
                self.kept[use.output] = value
            else:
                self.watch(use, value)
            return value

        return tap

    def watch(self, use: WeightUse, value: Tensor, squares: Tensor | None = None) -> None:
        """Adds the gradient of what the use puts out when it is known. squares: what is expected of them instead."""
        own = self.sums[use.output]
        x = self.kept.get(use.input) if own.shared else None
        hook = partial(own.add, squares=squares, x=x, batch=self.batch, rows=self.graph.shape(use.weight)[0])
        value.register_hook(hook)  # type: ignore[no-untyped-call]


def _head(graph: TorchGraph, objective: Objective) -> WeightUse | None:
    """The last use before a distribution over what it puts out."""
    if objective.link != "softmax" or objective.across or len(objective.outputs) > 1:
        return None
    steps = graph.plan(objective.outputs).steps
    return next((planned.step.use for planned in reversed(steps) if planned.step.use is not None), None)


def _squares_of_head(
    use: WeightUse, kept: dict[str, Tensor], objective: Objective, outputs: dict[str, Tensor], batch: Batch
) -> Tensor | None:
    """The expected squares where the use makes the output, element for element: a drawn label would tell of few rows.

    Between them may be a bias, a scale or a cap: the gradients differ by how fast each number follows.
    """
    value, output = kept[use.output], outputs[objective.outputs[0]]
    if output.shape != value.shape:
        return None
    squares = objective.curvature(output.detach(), batch)
    if value is output:
        return squares
    (slope,) = torch.autograd.grad(output.sum(), value, retain_graph=True)
    (half,) = torch.autograd.grad(output[..., ::2].sum(), value, retain_graph=True)
    if half[..., 1::2].any():  # a classifier with as many labels as its hidden layers have numbers
        return None
    return squares * at_positions(slope, use, batch) ** 2


class _Sum:
    def __init__(self, use: WeightUse, shared: bool) -> None:
        self.use, self.shared = use, shared
        self.tokens: list[Tensor] = []
        self.rows: Tensor | float = 0.0
        self.outer: Tensor | float = 0.0
        self.total: Tensor | float = 0.0

    def add(self, gradient: Tensor, *, squares: Tensor | None, x: Tensor | None, batch: Batch, rows: int) -> None:
        """squares: what is expected of the gradient's, where that is known. x: what goes into a weight with several
        uses."""
        if squares is None or self.use.kind == "embedding":
            flat = at_positions(gradient, self.use, batch).float()
        squares = flat**2 if squares is None else squares
        self.tokens.append(squares.mean(1).cpu())
        self.rows = self.rows + squares.sum(0).cpu().double()
        if self.use.kind == "embedding":
            self.outer = self.outer + (flat.T @ flat).cpu().double()
        if x is not None:
            self.total = self.total + statistic(self.use, [(x, self.tokens[-1], batch)], rows)

    def found(self) -> UseSaliency:
        """All batches together."""
        assert isinstance(self.rows, Tensor)
        outer, total = (sum_ if isinstance(sum_, Tensor) else None for sum_ in (self.outer, self.total))
        return UseSaliency(tuple(self.tokens), self.rows, outer, total)
