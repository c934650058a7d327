"""What is in memory while a graph runs, or is walked: weak references tell what is still alive, counters what is read.

Whether the numbers are right is for test_walk.py and test_torch_graph.py.
"""

from __future__ import annotations

import weakref

import numpy as np
import onnx_ir as ir
import pytest
import torch
from support.graph_models import batches_of, hub_of
from support.graphs import normal, parse
from torch import Tensor

from exporter.calibration.walk import Replacement, Visit, walk
from exporter.runners.torch_graph.compiler import Slots, Step
from exporter.runners.torch_graph.graph import TorchGraph
from exporter.runners.torch_graph.matrices import Matrix
from exporter.runners.torch_graph.stored import Stored


def _chain(layers: int) -> ir.Model:
    nodes = "\n".join(f"h{i} = MatMul(r{i}, w{i})  r{i + 1} = Tanh(h{i})" for i in range(layers))
    text = f"g (float[N, 4] x) => (float[N, 4] r{layers}) {{ r0 = Neg(x)  {nodes} }}"
    return parse(text, {f"w{i}": normal(4, 4, seed=i) for i in range(layers)}, 23)


@pytest.mark.parametrize("both", [False, True])
def test_values_are_freed_when_nobody_reads_them_any_more(both: bool) -> None:
    """At each visit nothing is alive of what went into the layer before; at the end only what was wanted."""
    layers = 6
    graph = TorchGraph(_chain(layers))
    alive: list[weakref.ref[Tensor]] = []

    def visit(visited: Visit) -> Replacement | None:
        assert [ref() for ref in alive] == [None] * len(alive)
        alive.extend(weakref.ref(tensor) for tensor in {id(t): t for t in (*visited.exact, *visited.actual)}.values())
        return (lambda: graph.weight("w2") * 1.1) if visited.use.weight == "w2" else None

    walked = walk(graph, [{"x": normal(5, 4)}, {"x": normal(3, 4, seed=1)}], visit, wanted=["h1"], both=both)
    assert len(alive) > layers
    assert [ref() for ref in alive] == [None] * len(alive)
    assert [values["h1"].shape for values in walked.exact] == [(5, 4), (3, 4)]


def test_answers_are_kept_until_their_last_use() -> None:
    """A tied embedding's to the end, the others' until all that read the same input are met. Arrays lie under the
    tensors: they tell.
    """
    hub = hub_of("qwen3/plain")
    graph = TorchGraph(hub)
    alive: dict[str, weakref.ref[np.ndarray]] = {}
    inputs = {use.weight: use.input for use in graph.uses[1:]}

    def visit(visited: Visit) -> Replacement:
        kept = {name for name, ref in alive.items() if ref() is not None}
        beside = {name for name in alive if inputs.get(name) == visited.use.input}
        assert kept == ({"model.embed_tokens.weight"} if alive else set()) | beside
        array = graph.weight(visited.use.weight).numpy() * 1.0
        alive[visited.use.weight] = weakref.ref(array)
        return lambda: torch.from_numpy(array)

    walk(graph, batches_of(hub), visit, wanted=["logits"], both=True)
    assert len(alive) == len(hub.weights)
    assert all(ref() is None for ref in alive.values())


def test_what_lies_between_two_visits_exists_for_one_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gate and what it opens are wider than all else: only their product waits for the next matrix."""
    nodes = "g = MatMul(x, wg)  u = MatMul(x, wu)  s = Sigmoid(g)  p = Mul(s, u)  y = MatMul(p, wd)"
    weights = {"wg": normal(4, 32), "wu": normal(4, 32, seed=1), "wd": normal(32, 4)}
    graph = TorchGraph(parse(f"g (float[N, 4] x) => (float[N, 4] y) {{ {nodes} }}", weights, 23))
    batches = [{"x": normal(5, 4, seed=i)} for i in range(6)]
    made: list[weakref.ref[Tensor]] = []
    most = 0
    execute = Step.execute

    def watched(step: Step, slots: Slots, matrix: Matrix | None) -> None:
        nonlocal most
        execute(step, slots, matrix)
        made.append(weakref.ref(slots[step.outputs[0]]))
        most = max(most, sum(ref() is not None and ref().shape[-1] == 32 for ref in made))

    monkeypatch.setattr(Step, "execute", watched)
    walk(graph, batches, lambda _: None)
    assert len(made) == 4 * len(batches)  # the last product isn't wanted
    assert most <= len(batches) + 3


def test_a_run_frees_values_too() -> None:
    graph = TorchGraph(_chain(6))
    alive: list[weakref.ref[Tensor]] = []

    def tap(value: Tensor) -> None:
        assert sum(ref() is not None for ref in alive) <= 1  # what this value was just made of
        alive.append(weakref.ref(value))

    graph.run({"x": normal(5, 4)}, taps={f"{kind}{i}": tap for i in range(6) for kind in "hr"})
    assert len(alive) == 12


def test_what_nobody_reads_is_freed_at_once() -> None:
    text = "g (float[5, 4] x) => (float[5, 2] y) { a, b = Split<axis = 1, num_outputs = 2>(x)  c = Neg(a)  y = Neg(c) }"
    unread: list[weakref.ref[np.ndarray]] = []
    apart: list[bool] = []

    def keep(_: Tensor) -> Tensor:
        array = normal(5, 2)
        unread.append(weakref.ref(array))
        return torch.from_numpy(array)

    taps = {"b": keep, "c": lambda _: apart.append(unread[0]() is None)}
    TorchGraph(parse(text, opset=23)).run({"x": normal(5, 4)}, taps=taps)
    assert apart == [True]


def test_each_matrix_is_read_once_for_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the embedding are looked up for each batch; a head that isn't wanted isn't read at all."""
    hub = hub_of("llama/plain")
    graph = TorchGraph(hub)
    reads: list[tuple[int, ...]] = []
    read = Stored.read

    def counted(stored: Stored, dtype: torch.dtype | None = None) -> Tensor:
        reads.append(stored.shape)
        return read(stored, dtype)

    monkeypatch.setattr(Stored, "read", counted)
    for both in (False, True):
        walk(graph, batches_of(hub), lambda _: None, both=both)
        assert reads == [weight.shape for weight in hub.weights[1:-1]]
        reads.clear()


def test_a_matrix_that_can_be_made_again_is_not_kept() -> None:
    """A tied embedding is made for its rows and, after all layers, for the head: once each, for all batches."""
    hub = hub_of("qwen3/plain")
    graph = TorchGraph(hub)
    name = "model.embed_tokens.weight"
    made: list[weakref.ref[Tensor]] = []

    def make() -> Tensor:
        matrix = graph.weight(name).clone()
        made.append(weakref.ref(matrix))
        return matrix

    def visit(visited: Visit) -> Replacement | None:
        assert all(ref() is None for ref in made)
        return make if visited.use.weight == name else None

    walk(graph, batches_of(hub), visit, wanted=["logits"], both=True)
    assert len(batches_of(hub)) > 1
    assert len(made) == 2


def test_what_only_outputs_need_is_not_computed() -> None:
    """The last product's input is visited; its output, which may be larger than all else, is made when it is wanted."""
    hub = hub_of("llama/plain")
    graph = TorchGraph(hub)
    head = graph.uses[-1]
    made: list[str] = []
    stored = graph.matrix

    def matrix(name: str, give: object) -> object:
        made.append(name)
        return stored(name, give)

    graph.matrix = matrix  # type: ignore[method-assign]
    visited: list[str] = []
    walk(graph, batches_of(hub), lambda v: visited.append(v.use.weight))
    assert visited[-1] == head.weight
    assert head.weight not in made
    walk(graph, batches_of(hub), lambda _: None, wanted=["logits"])
    assert head.weight in made
