"""Budgets in bytes and in quality, on models whose joint error is known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from exporter.compress import Candidate, Choice, Menu
from exporter.compress.allocation import Frontier, Option, TensorOptions
from exporter.compress.choices import stored_bytes
from exporter.compress.search import Goal, Offer, UnreachableQualityError, priced, search
from exporter.progress import NoProgress

SHAPES = [(2048, 192), *[(192, 192), (64, 192), (64, 192), (192, 192), (512, 192), (512, 192), (192, 512)] * 6]
Joint = Callable[[Mapping[str, Choice]], float]


class Model:
    """Tensors whose costs together differ from their costs alone, by factors that the search doesn't know."""

    def __init__(self, seed: int, spread: float = 0.5, bits: tuple[int, ...] = Menu().bits) -> None:
        rng = np.random.default_rng(seed)
        alone, together = {}, {}
        tensors = []
        for index, shape in enumerate(SHAPES):
            scale, factor, name = rng.lognormal(0, 1), rng.lognormal(0, spread), f"t{index}"
            options = []
            kept = 2 * shape[0] * shape[1]
            for choice in Menu(bits).choices(shape, kept):
                rows = choice.group_size
                cost = float(scale * 4.0**-choice.bits * (1 + 0.05 * np.log2(rows))) if rows else 0.0
                alone[name, choice], together[name, choice] = cost, cost * factor
                options.append(Option(choice, stored_bytes(shape, choice) if rows else kept, cost))
            tensors.append(TensorOptions(name, tuple(options)))
        self.tensors, self.together, self.calls = tuple(tensors), together, 0
        self.weights = sum(a * b for a, b in SHAPES)

    def joint(self, choices: Mapping[str, Choice]) -> float:
        self.calls += 1
        total = sum(self.together[name, choice] for name, choice in choices.items())
        return 0.8 * total / (1 + 0.1 * total)

    def bytes_at(self, bpw: float) -> int:
        return int(bpw * self.weights / 8)


def test_the_repair_brings_the_joint_error_down() -> None:
    """On ten models: never above the knapsack's own, and on average a third of the way to what perfect costs give."""
    gains = []
    for seed in range(10):
        model = Model(seed)
        budget = model.bytes_at(3.5)
        plain = model.joint(Frontier(model.tensors).at(budget))
        perfect = tuple(
            TensorOptions(
                t.name, tuple(Option(o.choice, o.stored_bytes, model.together[t.name, o.choice]) for o in t.options)
            )
            for t in model.tensors
        )
        best = model.joint(Frontier(perfect).at(budget))
        model.calls = 0
        found = search(model.tensors, Goal(stored_bytes=budget), model.joint, NoProgress(), 32)
        assert model.calls <= 32
        assert 0.99 * budget <= found.chosen.stored_bytes <= budget
        error = model.joint(found.choices)
        assert found.chosen.measured == error <= plain
        gains.append((plain - error) / (plain - best))
    assert np.mean(gains) > 0.33


@pytest.mark.parametrize("limit", [0.02, 0.2, 1.0])
def test_a_quality_is_kept_with_few_bytes(limit: float) -> None:
    """At most 4 % more than the fewest bytes at which the knapsack alone keeps it, found by trying every budget."""
    for seed in range(3):
        model = Model(seed)
        frontier = Frontier(model.tensors)
        fewest = next(
            size
            for size in range(frontier.least, frontier.most, model.bytes_at(0.01))
            if model.joint(frontier.at(size)) <= limit
        )
        model.calls = 0
        found = search(model.tensors, Goal(error=limit), model.joint, NoProgress(), 32)
        assert model.calls <= 32
        assert model.joint(found.choices) <= limit
        assert found.chosen.stored_bytes <= 1.04 * fewest


def test_a_quality_that_nothing_has() -> None:
    model = Model(0, bits=(2, 3, 4))
    with pytest.raises(UnreachableQualityError) as caught:
        search(model.tensors, Goal(error=1e-6), model.joint, NoProgress())
    frontier = Frontier(model.tensors)
    assert caught.value.least == model.joint(frontier.at(frontier.most))


def test_without_joint_errors_the_knapsack_decides() -> None:
    model = Model(0)
    budget = model.bytes_at(3.5)
    found = search(model.tensors, Goal(stored_bytes=budget), lambda _: None, NoProgress())
    assert found.choices == Frontier(model.tensors).at(budget)
    assert found.chosen.measured is None
    assert all(point.measured is None for point in found.curve)
    with pytest.raises(ValueError, match="can't be measured"):
        search(model.tensors, Goal(error=0.1), lambda _: None, NoProgress())


def test_the_curve_holds_what_was_measured() -> None:
    model = Model(1)
    found = search(model.tensors, Goal(stored_bytes=model.bytes_at(4)), model.joint, NoProgress())
    assert found.chosen in found.curve
    assert [p.stored_bytes for p in found.curve] == sorted(p.stored_bytes for p in found.curve)
    measured = [p for p in found.curve if p.measured is not None]
    assert len(measured) >= 5
    assert found.curve[-1].predicted == 0  # everything kept
    again = search(model.tensors, Goal(stored_bytes=model.bytes_at(4)), model.joint, NoProgress())
    assert again == found


def test_errors_that_are_no_numbers_are_the_worst() -> None:
    """A model that overflows at few bits has a NaN for a KL: a bad allocation, and no crash."""
    model = Model(2)

    def joint(choices: Mapping[str, Choice]) -> float:
        return float("nan") if choices["t3"].bits < 4 else model.joint(choices)

    found = search(model.tensors, Goal(error=0.2), joint, NoProgress())
    assert joint(found.choices) <= 0.2
    assert all(p.measured is None or np.isfinite(p.measured) for p in found.curve)


def test_offers_are_priced_in_their_own_bytes() -> None:
    candidate = Candidate("w", (64, 32), 64 * 32 * 4, True, lambda _: np.zeros((64, 32), np.float32))
    offer = Offer(candidate, Menu().choices((64, 32), candidate.stored_bytes))
    (tensor,) = priced([offer], {"w": list(range(len(offer.choices)))})
    assert tensor.options[-1].stored_bytes == candidate.stored_bytes
    assert [o.cost for o in tensor.options] == list(range(len(offer.choices)))
    with pytest.raises(ValueError, match=r"longer|shorter"):
        priced([offer], {"w": [1.0]})
