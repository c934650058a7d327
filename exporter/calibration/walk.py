"""A layer-major walk through a graph: all batches come to a weight matrix before any goes on to the next one.

A visitor sees what a matrix is about to be multiplied with, and may put another one in its place: all that comes later
is computed from what the new one makes of it. Two streams can go side by side, one that keeps the original weights
(exact) and one that takes the new ones (actual), so that a matrix can be fitted to the inputs that it will really get.
Up to the first replacement both are one.
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
    """A matrix about to be used.

    use: by which node; earlier, later: how often it has been used before and will be used after this one (a tied
    embedding is used by the lookup first and by the head later). exact, actual: the node's input for each batch, as
    `use.input` says: with the original weights, and with those that visitors have put in their place so far. Where
    only one stream goes, they are the same tensors.
    """

    use: WeightUse
    earlier: int
    later: int
    exact: tuple[Tensor, ...]
    actual: tuple[Tensor, ...]


Replacement = Callable[[], Tensor]
"""How to make a matrix `[out, in]`: it isn't kept, but made for each use."""

Visitor = Callable[[Visit], Replacement | None]
"""Answers with the matrix to use from here on, or None to leave it: then later uses are visited, too."""


@dataclass(frozen=True)
class Walked:
    """The values that were asked for, one dictionary a batch: of the exact and of the actual stream."""

    exact: tuple[dict[str, Tensor], ...]
    actual: tuple[dict[str, Tensor], ...]


def walk(
    graph: TorchGraph, batches: Sequence[Feeds], visit: Visitor, *, wanted: Sequence[str] = (), both: bool = False
) -> Walked:
    """Visits each weight matrix in the order in which the graph uses them; without gradients.

    Nodes are run as far as inputs of matrices and the values `wanted` need them: the logits of a decoder, which may
    take more memory than all else, are made only when they are wanted. both: two streams instead of one.
    """
    walker = _Walker(graph, visit, both)
    with torch.no_grad():
        return walker.walk(batches, tuple(wanted))


@dataclass
class _Stream:
    """The values of one batch. actual is the same list as exact where only one stream goes."""

    exact: Slots
    actual: Slots


@dataclass(frozen=True)
class _Due:
    """A step that waits to be run. replaced: what stood in its weight's place when it was met."""

    planned: Planned
    replaced: Replacement | None


class _Walker:
    """Steps wait until a visitor needs what they make; then all that wait run for one batch after the other.

    So what lies between two visits (a gate and what it opens, queries, keys and their products) exists for one batch at
    a time, and only what the next matrix is multiplied with, and what skips it, exists for all.
    """

    def __init__(self, graph: TorchGraph, visit: Visitor, both: bool) -> None:
        self._graph = graph
        self._visit = visit
        self._both = both
        self._new: dict[str, Replacement] = {}
        self._seen: dict[str, int] = {}
        self._waiting: list[_Due] = []
        self._awaited: set[int] = set()  # slots that steps which wait will fill

    def walk(self, batches: Sequence[Feeds], wanted: tuple[str, ...]) -> Walked:
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
                self._meet(use, planned.step, streams, left[use.weight])
            self._waiting.append(_Due(planned, self._new.get(planned.step.weight or "")))
            if planned.runs:
                self._awaited.update(planned.step.outputs)
            if use is not None and not left[use.weight]:
                self._new.pop(use.weight, None)
        self._run(streams)
        slots_of = [(name, self._graph.slot(name)) for name in wanted]
        return Walked(
            tuple({name: stream.exact[slot] for name, slot in slots_of} for stream in streams),
            tuple({name: stream.actual[slot] for name, slot in slots_of} for stream in streams),
        )

    def _meet(self, use: WeightUse, step: Step, streams: list[_Stream], later: int) -> None:
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
        """All that waits, batch by batch; where a batch's streams are still one, once for both."""
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

    def _matrices(self, due: _Due, batches: int) -> tuple[Matrix | None, Matrix | None]:
        """The step's weight as it was and as it is now: read once for all batches, unless only rows are looked up."""
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
