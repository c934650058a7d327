"""The knapsack against brute force, and against a bound that no allocation can beat."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.compress import Choice, Menu
from exporter.compress.allocation import Frontier, Option, TensorOptions, UnreachableBudgetError
from exporter.compress.choices import stored_bytes

OPTION = st.tuples(st.integers(1, 60), st.floats(0, 10, allow_subnormal=False))
TENSORS = st.lists(st.lists(OPTION, min_size=1, max_size=6), min_size=1, max_size=5)


def tensors_of(drawn: list[list[tuple[int, float]]], scale: int = 1) -> tuple[TensorOptions, ...]:
    return tuple(
        TensorOptions(f"t{i}", tuple(Option(Choice(4, k), size * scale, cost) for k, (size, cost) in enumerate(d, 1)))
        for i, d in enumerate(drawn)
    )


@settings(deadline=None)
@given(TENSORS, st.integers(0, 320), st.sampled_from((1, 1000, 999_983)))
def test_the_least_cost_that_fits(drawn: list[list[tuple[int, float]]], units: int, scale: int) -> None:
    """999,983 is a prime: the sizes share a unit of many bytes."""
    tensors = tensors_of(drawn, scale)
    budget = units * scale
    fitting = [
        sum(option.cost for option in taken)
        for taken in itertools.product(*(tensor.options for tensor in tensors))
        if sum(option.stored_bytes for option in taken) <= budget
    ]
    if not fitting:
        with pytest.raises(UnreachableBudgetError) as caught:
            Frontier(tensors).at(budget)
        assert caught.value.least == sum(min(o.stored_bytes for o in t.options) for t in tensors)
        return
    frontier = Frontier(tensors)
    choices = frontier.at(budget)
    assert frontier.stored_bytes(choices) <= budget
    assert frontier.cost(choices) == pytest.approx(min(fitting), rel=1e-9, abs=1e-9)


def decoder(seed: int, layers: int) -> tuple[tuple[TensorOptions, ...], int]:
    """Options of a Qwen of 0.5 billion parameters at 24 layers, with costs spread over three decades; its weights."""
    rng = np.random.default_rng(seed)
    layer = [(1024, 1024), (256, 1024), (256, 1024), (1024, 1024), (4096, 1024), (4096, 1024), (1024, 4096)]
    found = []
    for index, shape in enumerate([(151_936, 1024), *layer * layers]):
        kept, scale = 2 * shape[0] * shape[1], rng.lognormal(0, 1.2)
        options = []
        for choice in Menu().choices(shape, kept):
            rows = choice.group_size
            cost = scale * 4.0**-choice.bits * (1 + 0.05 * np.log2(rows)) if rows else 0.0
            options.append(Option(choice, stored_bytes(shape, choice) if rows else kept, float(cost)))
        found.append(TensorOptions(str(index), tuple(options)))
    return tuple(found), sum(t.options[-1].stored_bytes for t in found) // 2


# Two layers: between the 8 and the 16 bits of an embedding that is most of the model there is nothing to be had.
@pytest.mark.parametrize(
    ("layers", "bpw"), [(24, 1.2), (24, 2), (24, 3.7), (24, 6), (24, 12), (2, 1.2), (2, 3.7), (2, 6)]
)
def test_a_real_model_s_budget_is_used_up(layers: int, bpw: float) -> None:
    """Within 1 % of the bytes, never more, and within 2 % of the bound by Lagrange multipliers (weak duality)."""
    tensors, weights = decoder(0, layers)
    frontier, budget = Frontier(tensors), int(bpw * weights / 8)
    choices = frontier.at(budget)
    assert 0.99 * budget <= frontier.stored_bytes(choices) <= budget
    if layers < 24:  # an embedding of most of the bytes leaves a gap to any bound by multipliers
        return
    sizes = [np.array([o.stored_bytes for o in t.options]) for t in tensors]
    costs = [np.array([o.cost for o in t.options]) for t in tensors]
    bound = max(
        sum(float((c + price * s).min()) for s, c in zip(sizes, costs, strict=True)) - price * budget
        for price in np.logspace(-18, 0, 600)
    )
    assert frontier.cost(choices) <= 1.02 * bound


def test_more_bytes_are_never_worse() -> None:
    tensors, weights = decoder(1, 6)
    frontier = Frontier(tensors)
    costs = [frontier.cost(frontier.at(int(bpw * weights / 8))) for bpw in np.linspace(1.1, 16, 60)]
    assert all(later <= earlier * 1.002 for earlier, later in itertools.pairwise(costs))  # sizes are rounded
    assert costs[-1] == 0


def test_what_costs_more_and_takes_more_is_never_taken() -> None:
    """Measured costs aren't monotone: 6 bits may come out worse than 4."""
    options = (Option(Choice(4, 16), 100, 0.5), Option(Choice(6, 16), 150, 0.6), Option(Choice(8, 16), 200, 0.1))
    tensor = TensorOptions("w", options)
    assert Frontier((tensor,)).at(180) == {"w": Choice(4, 16)}
    assert Frontier((tensor,)).at(200) == {"w": Choice(8, 16)}
    with pytest.raises(ValueError, match="not finite"):
        TensorOptions("w", (Option(Choice(4, 16), 1, float("nan")),))
    assert Frontier(()).at(0) == {}


def test_a_budget_for_a_cost() -> None:
    tensors, _ = decoder(2, 6)
    frontier = Frontier(tensors)
    for cost in (1e-4, 1e-2, 0.5):
        budget = frontier.bytes_for(cost)
        assert frontier.cost(frontier.at(budget)) == pytest.approx(cost, rel=0.02)
    assert frontier.bytes_for(-1.0) == frontier.most
