"""Moments against sums over tokens, corrected weights against numpy's least squares, predictions against effects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.graph_models import hub_of
from torch import Tensor

from exporter.calibration.curvature import RIDGE, SMOOTHING, corrected_weight, sum_moments, total_statistic, use_moments
from exporter.calibration.feeds import Batch, text_batches
from exporter.calibration.objective import objective_of
from exporter.calibration.saliency import UseSaliency, measure_saliency
from exporter.calibration.session import FitRequest, Session
from exporter.calibration.statistics import columns, statistic
from exporter.graph.moments import Moments
from exporter.progress import NoProgress
from exporter.runners.torch_graph.graph import TorchGraph
from exporter.runners.torch_graph.ops.conv import Window
from exporter.runners.torch_graph.products import WeightUse

OUT, IN = 5, 7
RNG = np.random.default_rng(37)
REAL = torch.tensor([[True] * 4, [True, True, False, False]])
BATCHES = (Batch({}, REAL, (0, 1)), Batch({}, torch.ones(1, 3, dtype=torch.bool), (2,)))


def numbers(*shape: int) -> Tensor:
    return torch.from_numpy(RNG.standard_normal(shape)).float()


def linear(transposed: bool = True) -> WeightUse:
    return WeightUse("w", "linear", "x", "y", transposed, "MatMul")


def inputs(width: int) -> tuple[Tensor, ...]:
    """With numbers in the places of padding that would be seen."""
    return tuple(numbers(*batch.real.shape, width) + 100 * ~batch.real[..., None] for batch in BATCHES)


def tokens(x: Sequence[Tensor]) -> NDArray[np.float64]:
    return np.concatenate([own[batch.real].double().numpy() for own, batch in zip(x, BATCHES, strict=True)])


def saliency(rows: int, outer: Tensor | None = None) -> UseSaliency:
    shares = tuple(numbers(batch.tokens) ** 2 for batch in BATCHES)
    return UseSaliency(shares, (numbers(rows) ** 2).double(), outer)


def cost(error: NDArray[np.float64], moments: Moments) -> float:
    """Σ_i e_iᵀ H_i e_i, as `Moments` says it."""
    matrices = np.einsum("ik,kab->iab", moments.coefficients.astype(np.float64), moments.bases.astype(np.float64))
    return float(np.einsum("ia,iab,ib->", error, matrices, error))


def smoothed(rows: Tensor) -> NDArray[np.float64]:
    shares = (rows / rows.mean()).double().numpy()
    return shares + SMOOTHING * shares.mean()


def test_a_product_s_errors_count_token_by_token() -> None:
    """Σ over tokens and rows of share · coefficient · (e · x)²."""
    use, x, matters = linear(), inputs(IN), saliency(OUT)
    moments = use_moments(use, total_statistic(use, x, BATCHES, matters, OUT), matters)
    error = RNG.standard_normal((OUT, IN))
    squares = (tokens(x) @ error.T) ** 2
    expected = float(torch.cat(matters.tokens).double().numpy() @ squares @ smoothed(matters.rows))
    assert cost(error, moments) == pytest.approx(expected, rel=1e-5)


def test_rows_that_are_inputs_only_meet_as_squares() -> None:
    """`x · W`: Σ over tokens, inputs and outputs of share · x_i² · coefficient_o · e_io²."""
    use, x, matters = linear(transposed=False), inputs(OUT), saliency(IN)
    moments = use_moments(use, total_statistic(use, x, BATCHES, matters, OUT), matters)
    error = RNG.standard_normal((OUT, IN))
    importance = torch.cat(matters.tokens).double().numpy() @ tokens(x) ** 2
    importance = importance + SMOOTHING * importance.mean()
    columns = (matters.rows / matters.rows.mean()).numpy()
    assert cost(error, moments) == pytest.approx(float(importance @ error**2 @ columns), rel=1e-5)


def test_lookups_count_as_often_as_they_are_made() -> None:
    """Σ over lookups of e · G · e, with G the mean of g gᵀ; a negative id counts from the end, padding not at all."""
    use = WeightUse("w", "embedding", "ids", "y", True, "Gather")
    ids = (torch.tensor([[1, 1, -1, 3], [1, 0, 2, 2]]), torch.tensor([[4, 3, 1]]))
    counts = np.array([1, 4, 0, 2, 2])  # of row 2 only padding is made
    grads = numbers(sum(batch.tokens for batch in BATCHES), IN).double()
    matters = saliency(IN, grads.T @ grads)
    total = total_statistic(use, ids, BATCHES, matters, OUT)
    assert total.tolist() == counts.tolist()
    error = RNG.standard_normal((OUT, IN))
    mean = (grads.T @ grads / counts.sum()).numpy()
    weights = counts + SMOOTHING * counts.mean()
    expected = sum(weight * own @ mean @ own for weight, own in zip(weights, error, strict=True))
    assert cost(error, use_moments(use, total, matters)) == pytest.approx(expected, rel=1e-5)


def test_a_convolution_s_patches_are_its_tokens() -> None:
    """Columns and outputs come in the same order: their product with the kernel is the convolution."""
    window = Window((3,), (2,), (1,), (1, 1), "NOTSET", 1)
    use = WeightUse("w", "linear", "x", "y", True, "Conv", window)
    x, kernel = numbers(2, 4, 9), numbers(OUT, 4, 3)
    made = torch.nn.functional.conv1d(x, kernel, stride=2, padding=1)
    batch = Batch({}, torch.ones(2, 9, dtype=torch.bool), (0, 1))
    found = columns(use, x, batch)
    torch.testing.assert_close(found @ kernel.reshape(OUT, -1).T, made.movedim(1, -1).reshape(-1, OUT))
    share = numbers(len(found)) ** 2
    expected = (found.double() * share[:, None]).T @ found.double()
    torch.testing.assert_close(statistic(use, [(x, share, batch)], OUT), expected, rtol=1e-5, atol=1e-4)


def test_uses_of_one_weight_add_up() -> None:
    parts = []
    for _ in range(2):
        use, x, matters = linear(), inputs(IN), saliency(OUT)
        parts.append(use_moments(use, total_statistic(use, x, BATCHES, matters, OUT), matters))
    error = RNG.standard_normal((OUT, IN))
    assert cost(error, sum_moments(parts)) == pytest.approx(sum(cost(error, part) for part in parts), rel=1e-6)


def shift(
    exact: Sequence[Tensor], actual: Sequence[Tensor], weight: Tensor, matters: UseSaliency
) -> NDArray[np.float32]:
    use = linear()
    total = total_statistic(use, actual, BATCHES, matters, OUT)
    return corrected_weight(use, weight, (exact, actual), total, BATCHES, matters)


def test_a_shifted_weight_solves_least_squares() -> None:
    """One stacked problem: √share · (W x - T y) for every token, and √pull · (W - T), by numpy."""
    exact, matters, weight = inputs(IN), saliency(OUT), numbers(OUT, IN)
    actual = tuple(x + 0.3 * numbers(*x.shape) for x in exact)
    root = np.sqrt(torch.cat(matters.tokens).double().numpy())[:, None]
    x, y, w = tokens(exact), tokens(actual), weight.double().numpy()
    pull = np.sqrt(RIDGE * ((root * y) ** 2).sum(0).mean())
    left = np.concatenate([root * y, pull * np.eye(IN)])
    right = np.concatenate([root * (x @ w.T), pull * w.T])
    expected = np.linalg.lstsq(left, right, rcond=None)[0].T
    found = shift(exact, actual, weight, matters)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert np.abs(found - weight.numpy()).max() > 0.05  # it did move


def test_a_weight_whose_inputs_are_exact_stays() -> None:
    exact, weight = inputs(IN), numbers(OUT, IN)
    same = tuple(x.clone() for x in exact)
    np.testing.assert_allclose(shift(exact, same, weight, saliency(OUT)), weight.numpy(), rtol=1e-6)


def session_of(name: str) -> Session:
    """Of random tokens, all of them judged, too."""
    hub = hub_of(name)
    texts = [RNG.integers(5, 200, 48) for _ in range(40)]
    batches = text_batches(hub, texts, tokens=1000)
    graph, objective = TorchGraph(hub), objective_of(hub)
    matters = measure_saliency(graph, objective, batches, NoProgress())
    return Session(hub, graph, objective, batches, (batches,), (), matters, "random tokens")


@pytest.mark.parametrize(
    ("name", "single", "usual"), [("llama/plain", 2.0, 1.15), ("qwen2/plain", 2.0, 1.15), ("bert:Model", 9.0, 2.0)]
)
def test_predicted_is_what_happens(name: str, single: float, usual: float) -> None:
    """Errors of 1 % in one matrix at a time: half of their cost, over the rows, is the distance.

    Shares of tokens and of rows stand for every output's own moments, and tokens count apart from each other. Where
    attention takes the mean of many tokens that are alike, as this BERT's does, their errors go the same way, and
    predictions for what they are made by are too small. single: factor that a matrix may be off by; usual: their
    geometric mean. `SMOOTHING` is in the prediction, and nothing here is so rare that it comes of it.
    """
    session = session_of(name)
    ratios = {}

    def meet(request: FitRequest) -> None:
        error = 0.01 * np.sqrt(np.square(request.weight).mean()) * RNG.standard_normal(request.weight.shape)
        moved = (request.weight + error).astype(np.float32)
        predicted = cost(moved.astype(np.float64) - request.weight, request.moments) / (2 * session.saliency.count)
        measured = session.distance(lambda n: moved if n == request.name else None)
        ratios[request.name] = predicted / measured / (1 + SMOOTHING)

    session.visit(meet, sequential=False)
    assert ratios.keys() == {use.weight for use in session.graph.uses}
    assert all(1 / single < ratio < single for ratio in ratios.values()), ratios
    assert 1 / usual < np.exp(np.mean(np.log(list(ratios.values())))) < usual, ratios
