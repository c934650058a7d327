"""Costs without text: those of the palettes themselves, as numpy computes them."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.compress import KEEP, Candidate, Choice, palettize
from exporter.compress.proxy import WeightError
from exporter.compress.search import Offer
from exporter.errors import InputError
from exporter.progress import NoProgress


def offer(weight: np.ndarray, *choices: Choice) -> Offer:
    return Offer(Candidate("w", weight.shape, weight.nbytes, True, lambda rows: weight[rows]), choices)


def test_the_error_of_the_palettes_over_the_mean_square() -> None:
    weight = np.random.default_rng(0).standard_t(5, (96, 80)).astype(np.float32)
    choices = (Choice(2, 4), Choice(4, 16), Choice(8, 96), KEEP)
    costs = WeightError().costs([offer(weight, *choices)], NoProgress())["w"]
    for choice, cost in zip(choices[:-1], costs[:-1], strict=True):
        assert choice.group_size is not None
        error = palettize(weight, choice.bits, choice.group_size).dense().astype(np.float64) - weight
        assert cost == pytest.approx((error**2).sum() / (weight.astype(np.float64) ** 2).mean(), rel=1e-6)
    assert costs[-1] == 0


def test_a_large_matrix_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 % of 2,000 rows: the estimate is within 5 % (64,000 weights have a standard error of about 1 %)."""
    weight = np.random.default_rng(1).standard_t(8, (2000, 640)).astype(np.float32)
    read = []
    whole = WeightError().costs([offer(weight, Choice(4, 16))], NoProgress())["w"][0]
    monkeypatch.setattr("exporter.compress.proxy.SAMPLE_WEIGHTS", 64_000)
    watched = Candidate("w", weight.shape, weight.nbytes, True, lambda rows: (read.append(rows), weight[rows])[1])
    part = WeightError().costs([Offer(watched, (Choice(4, 16),))], NoProgress())["w"][0]
    assert sum(rows.stop - rows.start for rows in read) <= 100
    assert part == pytest.approx(whole, rel=0.05)


def test_weights_that_no_palette_holds() -> None:
    weight = np.ones((16, 16), np.float32)
    weight[3, 3] = np.nan
    with pytest.raises(InputError, match="nan"):
        WeightError().costs([offer(weight, Choice(4, 16))], NoProgress())
    zeros = np.zeros((16, 16), np.float32)
    assert WeightError().costs([offer(zeros, Choice(4, 16))], NoProgress())["w"] == [0.0]
    assert WeightError().joint({}) is None
