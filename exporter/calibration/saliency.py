"""Saliency: how much the model's outputs depend on the output of each weight, from one backward pass over the texts.

For every use of a weight with output y, the objective's random loss gives gradients g = dL/dy. The mean of g² over the
outputs is the saliency of a token; the mean over the tokens is the saliency of an output, that is, of a row of the
weight. Their product approximates g², as in GuidedQuant (arXiv 2505.07004) with one group of rows. More groups need a
matrix each, and with some ten thousand tokens they didn't lower the error.
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
    """The saliency of one use of a weight.

    tokens: for each batch, float32 `[n]`: the mean of a token's squared gradients. rows: float64 `[out]`: squared
    gradients summed over all tokens. outer: float64 `[in, in]`, Σ g gᵀ, for lookups only. total: the use's `statistic`
    over all batches, only for weights with several uses: all of them must be known when the first use is visited.
    """

    tokens: tuple[Tensor, ...]
    rows: Tensor
    outer: Tensor | None = None
    total: Tensor | None = None


@dataclass(frozen=True)
class Saliency:
    """uses: output name of a use → its saliency, for every use that the model's outputs depend on. count: the number of
    output rows, weighted as in `Objective.count`."""

    uses: dict[str, UseSaliency]
    count: float


def measure_saliency(
    graph: TorchGraph, objective: Objective, batches: Sequence[Batch], progress: Progress, seed: int = 0
) -> Saliency:
    """Runs every batch once forwards and once backwards. Returns the saliency of every use of a weight."""
    progress.stage("measure saliency", len(batches))
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
        del outputs  # the backward pass doesn't need the logits, which are large
        if loss.requires_grad:  # false if the outputs depend on no weight
            loss.backward()  # type: ignore[no-untyped-call]
        del loss, tape
        release()
        progress.advance()
    uses = {name: total.result() for name, total in sums.items() if total.tokens}
    return Saliency(uses, count)


@dataclass
class _Tape:
    """Adds gradients to `sums` during one backward pass, so that they needn't be stored.

    kept: value name → tensor: the head's output, and the inputs of weights with several uses.
    """

    graph: TorchGraph
    sums: dict[str, _Sum]
    batch: Batch
    head: WeightUse | None
    kept: dict[str, Tensor] = field(default_factory=dict)

    def taps(self) -> dict[str, Tap]:
        """The taps for one run of the graph."""
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
        """Registers a hook that adds the gradient of the use's output `value`. squares: expected squares to add instead
        of the gradient's."""
        own = self.sums[use.output]
        x = self.kept.get(use.input) if own.shared else None
        hook = partial(own.add, squares=squares, x=x, batch=self.batch, rows=self.graph.shape(use.weight)[0])
        value.register_hook(hook)  # type: ignore[no-untyped-call]


def _head(graph: TorchGraph, objective: Objective) -> WeightUse | None:
    """The last use of a weight before the outputs, if they are the logits of one distribution per row; else None."""
    if objective.link != "softmax" or objective.over_positions or len(objective.outputs) > 1:
        return None
    steps = graph.plan(objective.outputs).steps
    return next((planned.step.use for planned in reversed(steps) if planned.step.use is not None), None)


def _squares_of_head(
    use: WeightUse, kept: dict[str, Tensor], objective: Objective, outputs: dict[str, Tensor], batch: Batch
) -> Tensor | None:
    """The expected squared gradients of the head's output, `[n, width]`; None if the head doesn't make the logits.

    A sampled label gives gradients for few rows, the expectation for all. A bias, scale or cap may lie between the
    head's output and the logits; the slope of each element takes it into account.
    """
    value, output = kept[use.output], outputs[objective.outputs[0]]
    if output.shape != value.shape:
        return None
    squares = objective.curvature(output.detach(), batch)
    if value is output:
        return squares
    (slope,) = torch.autograd.grad(output.sum(), value, retain_graph=True)
    (half,) = torch.autograd.grad(output[..., ::2].sum(), value, retain_graph=True)
    if half[..., 1::2].any():  # logits depend on other elements: another layer follows that happens to have this width
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
        """Adds one batch. squares: the expected squares of the gradient, if they are known. x: the use's input, if the
        weight has several uses. rows: of the weight."""
        if squares is None or self.use.kind == "embedding":
            flat = at_positions(gradient, self.use, batch).float()
        squares = flat**2 if squares is None else squares
        self.tokens.append(squares.mean(1).cpu())
        self.rows = self.rows + squares.sum(0).cpu().double()
        if self.use.kind == "embedding":
            self.outer = self.outer + (flat.T @ flat).cpu().double()
        if x is not None:
            self.total = self.total + statistic(self.use, [(x, self.tokens[-1], batch)], rows)

    def result(self) -> UseSaliency:
        """The saliency over all batches."""
        assert isinstance(self.rows, Tensor)
        outer, total = (sum_ if isinstance(sum_, Tensor) else None for sum_ in (self.outer, self.total))
        return UseSaliency(tuple(self.tokens), self.rows, outer, total)
