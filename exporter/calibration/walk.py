"""A layer-by-layer walk through a graph: all batches reach a weight matrix before any of them goes on to the next one.

At each matrix a visitor gets the matrix's inputs and may replace the matrix; everything after it is then computed with
the replacement. Two streams of values can be computed side by side: one with the original weights (exact), one with the
replacements (actual). So a matrix can be fitted to the inputs that it will really get. The streams share their values
up to the first replacement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from exporter.calibration.memory import release
from exporter.runners.torch_graph.compiler import Slots, Step
from exporter.runners.torch_graph.graph import Feeds, Planned, TorchGraph
from exporter.runners.torch_graph.matrices import Given, Matrix
from exporter.runners.torch_graph.products import WeightUse


@dataclass(frozen=True)
class Visit:
    """A matrix that is about to be used.

    use: the node that uses it. earlier, later: the number of its uses before and after this one (a tied embedding is
    used first by the lookup, later by the head). exact, actual: the node's input `use.input` for each batch, with the
    original weights and with the replacements so far. With a single stream they are the same tensors.
    """

    use: WeightUse
    earlier: int
    later: int
    exact: tuple[Tensor, ...]
    actual: tuple[Tensor, ...]


Replacement = Callable[[], Tensor]
"""Makes a matrix `[out, in]`. It is called at each use, so that the matrix needn't be kept."""

Visitor = Callable[[Visit], Replacement | None]
"""Returns the matrix to use from here on, or None to keep the stored one; then later uses are visited too."""


@dataclass(frozen=True)
class WalkResult:
    """exact, actual: for each batch, the `wanted` values of that stream by name."""

    exact: tuple[dict[str, Tensor], ...]
    actual: tuple[dict[str, Tensor], ...]


def walk(
    graph: TorchGraph, batches: Sequence[Feeds], visit: Visitor, *, wanted: Sequence[str] = (), both: bool = False
) -> WalkResult:
    """Calls `visit` for each use of a weight matrix, in the order of the graph; without gradients.

    Only nodes that the inputs of matrices or the values `wanted` depend on are run: a decoder's logits, which may take
    more memory than everything else, are computed only if they are wanted. both: two streams instead of one.
    """
    walker = _Walker(graph, visit, both)
    with torch.no_grad():
        return walker.walk(batches, tuple(wanted))


@dataclass
class _Stream:
    """The values of one batch. With a single stream, actual is the same list as exact."""

    exact: Slots
    actual: Slots


@dataclass(frozen=True)
class _PendingStep:
    """A step that waits to be run. replaced: its weight's replacement at that point of the walk."""

    planned: Planned
    replaced: Replacement | None


class _Walker:
    """Collects steps until a visitor needs one of their results, then runs them for one batch after the other.

    So values between two visits (gates, queries, keys, attention scores) exist for one batch at a time. Only the next
    matrix's inputs, and values that are used after it, exist for all batches.
    """

    def __init__(self, graph: TorchGraph, visit: Visitor, both: bool) -> None:
        self._graph = graph
        self._visit = visit
        self._both = both
        self._new: dict[str, Replacement] = {}
        self._seen: dict[str, int] = {}
        self._waiting: list[_PendingStep] = []
        self._awaited: set[int] = set()  # slots that the waiting steps will fill

    def walk(self, batches: Sequence[Feeds], wanted: tuple[str, ...]) -> WalkResult:
        plan = self._graph.plan(wanted, visits=True)
        streams = []
        for feeds in batches:
            slots = self._graph.filled(feeds, plan.inputs, None)
            streams.append(_Stream(slots, list(slots) if self._both else slots))
        left = {use.weight: 0 for use in self._graph.uses}
        for planned in plan.steps:
            if planned.step.use is not None:
                left[planned.step.use.weight] += 1
        for planned in plan.steps:
            use = planned.step.use
            if use is not None:
                left[use.weight] -= 1
                if planned.step.inputs[0] in self._awaited:
                    self._run(streams)
                self._visit_matrix(use, planned.step, streams, left[use.weight])
            self._waiting.append(_PendingStep(planned, self._new.get(planned.step.weight or "")))
            if planned.runs:
                self._awaited.update(planned.step.outputs)
            if use is not None and not left[use.weight]:
                self._new.pop(use.weight, None)
        self._run(streams)
        slots_of = [(name, self._graph.slot(name)) for name in wanted]
        return WalkResult(
            tuple({name: stream.exact[slot] for name, slot in slots_of} for stream in streams),
            tuple({name: stream.actual[slot] for name, slot in slots_of} for stream in streams),
        )

    def _visit_matrix(self, use: WeightUse, step: Step, streams: list[_Stream], later: int) -> None:
        earlier = self._seen.get(use.weight, 0)
        self._seen[use.weight] = earlier + 1
        if use.weight in self._new:
            return
        source = step.inputs[0]
        exact = tuple(stream.exact[source] for stream in streams)
        actual = tuple(stream.actual[source] for stream in streams)
        answer = self._visit(Visit(use, earlier, later, exact, actual))
        if answer is not None:
            self._new[use.weight] = answer

    def _run(self, streams: list[_Stream]) -> None:
        """Runs all waiting steps, batch by batch; once for both streams while a batch's streams are equal."""
        due, self._waiting = self._waiting, []
        self._awaited.clear()
        matrices = [self._matrices(step, len(streams)) if step.planned.runs else (None, None) for step in due]
        for stream in streams:
            for waiting, (old, new) in zip(due, matrices, strict=True):
                if waiting.planned.runs:
                    self._advance(waiting.planned.step, stream, old, new)
                for slot in waiting.planned.dead:
                    stream.exact[slot] = stream.actual[slot] = None
        release()

    def _advance(self, step: Step, stream: _Stream, old: Matrix | None, new: Matrix | None) -> None:
        if not self._both:
            step.execute(stream.actual, new)
            return
        step.execute(stream.exact, old)
        if new is old and all(stream.exact[i] is stream.actual[i] for i in step.inputs):
            for slot in step.outputs:
                stream.actual[slot] = stream.exact[slot]
        else:
            step.execute(stream.actual, new)

    def _matrices(self, due: _PendingStep, batches: int) -> tuple[Matrix | None, Matrix | None]:
        """The step's stored weight and its replacement, read once for all batches unless only rows are looked up."""
        step, replaced = due.planned.step, due.replaced
        if step.weight is None:
            return None, None
        lookup = step.use is not None and step.use.kind == "embedding"
        dtype = self._graph.dtype if step.use is None else self._graph.products
        stored = self._graph.matrix(step.weight, None)
        if batches > 1 and not lookup and (self._both or replaced is None):
            stored = self._graph.matrix(step.weight, _constantly(stored.read(dtype)))
        if replaced is None:
            return stored, stored
        placed = replaced().to(self._graph.device, None if lookup else dtype)
        return stored, self._graph.matrix(step.weight, _constantly(placed))


def _constantly(tensor: Tensor) -> Given:
    return lambda _: tensor
