"""The walk through a graph, one matrix at a time: what visitors see, and what their answers change.

Numbers come from `TorchGraph.run` on each batch with the same weights, which other tests hold against onnxruntime. A
walk runs the same nodes on the same tensors, so that everything is equal to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from support.graph_models import batches_of, hub_of, random_palette
from support.graphs import normal, parse
from torch import Tensor

from exporter.calibration.walk import Replacement, Visit, WalkResult, walk
from exporter.graph.model import Hub
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.runners.torch_graph.graph import TorchGraph

FAMILIES = ("llama/plain", "qwen3/plain", "gemma2/soft caps", "gpt2", "bert:Model", "modernbert:ForMaskedLM")


def plain(hub: Hub, weights: dict[str, Tensor] | None = None) -> list[dict[str, Tensor]]:
    """Every value that a use reads or makes, and the outputs, batch by batch."""
    graph = TorchGraph(hub)
    names = [*(use.input for use in graph.uses), *(use.output for use in graph.uses), *graph.outputs]
    with torch.no_grad():
        return [graph.run(feeds, names, weights=weights) for feeds in batches_of(hub)]


def equal(left: tuple[Tensor, ...], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_use_is_visited_in_order_with_what_it_multiplies(name: str, both: bool) -> None:
    hub = hub_of(name)
    graph = TorchGraph(hub)
    expected = plain(hub)
    seen = []

    def visit(visited: Visit) -> None:
        assert equal(visited.exact, [values[visited.use.input] for values in expected])
        assert all(a is b for a, b in zip(visited.exact, visited.actual, strict=True))
        seen.append(visited.use)

    walked = walk(graph, batches_of(hub), visit, wanted=graph.outputs, both=both)
    assert tuple(seen) == graph.uses
    for key in graph.outputs:
        for stream in (walked.exact, walked.actual):
            assert equal(tuple(values[key] for values in stream), [values[key] for values in expected])


def test_a_tied_embedding_is_visited_twice_and_counts_both() -> None:
    hub = hub_of("qwen3/plain")
    graph = TorchGraph(hub)
    counts: dict[str, list[tuple[str, int, int]]] = {}

    def visit(visited: Visit) -> None:
        counts.setdefault(visited.use.weight, []).append((visited.use.kind, visited.earlier, visited.later))

    walk(graph, batches_of(hub), visit)
    tied = counts.pop("model.embed_tokens.weight")
    assert tied == [("embedding", 0, 1), ("linear", 1, 0)]
    assert set(map(tuple, counts.values())) == {(("linear", 0, 0),)}


@dataclass
class Replacing:
    """A visitor that answers with a palette's numbers for some weights, and notes what it sees."""

    new: dict[str, Tensor]
    exact: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    actual: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    visits: list[str] = field(default_factory=list)

    def __call__(self, visited: Visit) -> Replacement | None:
        self.visits.append(visited.use.weight)
        self.exact[visited.use.output], self.actual[visited.use.output] = visited.exact, visited.actual
        own = self.new.get(visited.use.weight)
        return None if own is None else lambda: own


def replacements(hub: Hub, first: int) -> dict[str, Tensor]:
    return {
        weight.name: torch.from_numpy(random_palette(weight.shape, 3, 16, i).dense())
        for i, weight in enumerate(hub.weights)
        if i >= first and i % 2 == first % 2
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_streams_part_at_the_first_replacement(name: str) -> None:
    """exact goes on with the stored weights, actual with all that were answered so far, which come later, too."""
    hub = hub_of(name)
    graph = TorchGraph(hub)
    visitor = Replacing(replacements(hub, 3))
    old, new = plain(hub), plain(hub, visitor.new)
    walked = walk(graph, batches_of(hub), visitor, wanted=graph.outputs, both=True)
    replaced = False
    for use in graph.uses:
        if use.output not in visitor.exact:
            assert use.weight in visitor.new
            continue
        exact, actual = visitor.exact[use.output], visitor.actual[use.output]
        assert equal(exact, [values[use.input] for values in old])
        assert equal(actual, [values[use.input] for values in new])
        same = all(a is b for a, b in zip(exact, actual, strict=True))
        assert same or replaced
        replaced = replaced or use.weight in visitor.new
    assert replaced
    for key in graph.outputs:
        assert equal(tuple(values[key] for values in walked.exact), [values[key] for values in old])
        assert equal(tuple(values[key] for values in walked.actual), [values[key] for values in new])
    assert not equal(
        tuple(values[graph.outputs[-1]] for values in walked.exact),
        [values[graph.outputs[-1]] for values in walked.actual],
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_one_stream_takes_the_replacements(name: str) -> None:
    hub = hub_of(name)
    graph = TorchGraph(hub)
    visitor = Replacing(replacements(hub, 0))
    new = plain(hub, visitor.new)
    walked = walk(graph, batches_of(hub), visitor, wanted=graph.outputs)
    for key, exact in visitor.exact.items():
        assert all(a is b for a, b in zip(exact, visitor.actual[key], strict=True))
    for key in graph.outputs:
        assert equal(tuple(values[key] for values in walked.actual), [values[key] for values in new])


def test_a_replaced_matrix_is_used_later_without_asking_again() -> None:
    """The head of a tied model multiplies with what the embedding's visit answered."""
    hub = hub_of("qwen3/plain")
    graph = TorchGraph(hub)
    name = "model.embed_tokens.weight"
    visitor = Replacing({name: graph.weight(name) * 1.5})
    walked = walk(graph, batches_of(hub), visitor, wanted=["logits"])
    assert visitor.visits.count(name) == 1
    expected = plain(hub, visitor.new)
    assert equal(tuple(values["logits"] for values in walked.actual), [values["logits"] for values in expected])


def test_a_later_answer_leaves_the_earlier_use_alone() -> None:
    hub = hub_of("qwen3/plain")
    graph = TorchGraph(hub)
    name = "model.embed_tokens.weight"
    changed = graph.weight(name) * 1.5

    def visit(visited: Visit) -> Replacement | None:
        return (lambda: changed) if visited.use.weight == name and visited.earlier else None

    walked = walk(graph, batches_of(hub), visit, wanted=["logits"])
    for found, old in zip(walked.actual, plain(hub), strict=True):
        torch.testing.assert_close(found["logits"], old["logits"] * 1.5, rtol=1e-5, atol=1e-5)


def test_palettes_are_walked_as_dense_weights_are() -> None:
    hub = hub_of("llama/plain")
    some = {w.name: random_palette(w.shape, 4, 24, i) for i, w in enumerate(hub.weights)}
    dense = {name: torch.from_numpy(palette.dense()) for name, palette in some.items()}
    graph = TorchGraph(apply_palettes(hub, some))
    expected = plain(hub, dense)
    walked = walk(graph, batches_of(hub), lambda _: None, wanted=graph.outputs)
    assert equal(tuple(values["logits"] for values in walked.exact), [values["logits"] for values in expected])


def test_a_matrix_of_another_shape_is_refused() -> None:
    hub = hub_of("llama/plain")
    with pytest.raises(ValueError, match="its replacement"):
        walk(TorchGraph(hub), batches_of(hub), lambda _: lambda: torch.zeros(3, 5))


def test_nothing_learns_and_answers_are_taken_as_numbers() -> None:
    """Answers that require gradients don't make a graph of all that comes after."""
    hub = hub_of("llama/plain")
    graph = TorchGraph(hub)
    inputs: list[Tensor] = []

    def visit(visited: Visit) -> Replacement:
        inputs.extend(visited.actual)
        return lambda: graph.weight(visited.use.weight).requires_grad_()

    walked = walk(graph, batches_of(hub), visit, wanted=["logits"])
    assert not any(tensor.requires_grad for tensor in [*inputs, *(values["logits"] for values in walked.actual)])


def test_what_only_a_visit_needs_is_its_products_input() -> None:
    """Not its bias, whose feed isn't there."""
    text = "g (float[5, 4] x, float[4] z) => (float[5, 4] y) { b = Neg(z)  r = Relu(x)  y = Gemm(r, w, b) }"
    graph = TorchGraph(parse(text, {"w": normal(4, 4)}, 23))
    seen: list[Tensor] = []
    walk(graph, [{"x": normal(5, 4)}], lambda visited: seen.extend(visited.exact))
    np.testing.assert_array_equal(seen[0].numpy(), normal(5, 4).clip(0))
    with pytest.raises(ValueError, match="no feed for z"):
        walk(graph, [{"x": normal(5, 4)}], lambda _: None, wanted=["y"])


def test_wanted_values_need_no_uses() -> None:
    text = "g (float[N, 4] x) => (float[N, 4] y) { r = Neg(x)  y = MatMul(r, w) }"
    graph, x = TorchGraph(parse(text, {"w": normal(4, 4)}, 23)), normal(2, 4)
    walked = walk(graph, [{"x": x}], lambda _: None, wanted=["r", "x"])
    np.testing.assert_array_equal(walked.actual[0]["r"].numpy(), -x)
    np.testing.assert_array_equal(walked.exact[0]["x"].numpy(), x)
    assert walk(graph, [], lambda _: None) == WalkResult((), ())
    with pytest.raises(ValueError, match="no feed for x"):
        walk(graph, [{}], lambda _: None)
