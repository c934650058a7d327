"""Sampling against transformers' logits processors, in their order in `generate`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from exporter.errors import InputError
from exporter.runners.sampling import Sampler, Sampling, SplitMix64, distribution

VOCABULARY = 211
HISTORY = [3, 3, 17, 0, 210, 99]


def logits(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, VOCABULARY).astype(np.float32)


def expected(sampling: Sampling, scores: np.ndarray) -> np.ndarray:
    """`[vocab]`, from transformers, in float64."""
    chain = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)])
    chain.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        chain.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        chain.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0:
        chain.append(MinPLogitsWarper(sampling.min_p))
    made = chain(torch.tensor([HISTORY]), torch.from_numpy(scores.astype(np.float64))[None])
    return torch.softmax(made, -1)[0].numpy()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.0),
        Sampling(0.6, top_k=20, top_p=0.95),  # Qwen3's
        Sampling(0.7, top_k=20, top_p=0.8, repetition_penalty=1.05),  # Qwen2.5's
        Sampling(1.5, top_k=50, min_p=0.1),
        Sampling(0.3, top_p=0.5, min_p=0.02, repetition_penalty=1.3),
        Sampling(2.0, top_k=1),
        Sampling(1.0, top_p=0.0),
        Sampling(1.0, min_p=1.0),
        Sampling(5.0, top_k=1000, repetition_penalty=0.5),
    ],
)
def test_probabilities_are_those_of_transformers(sampling: Sampling) -> None:
    for seed in range(20):
        ids, shares = distribution(sampling, logits(seed), HISTORY)
        found = np.zeros(VOCABULARY)
        found[ids] = shares
        np.testing.assert_allclose(found, expected(sampling, logits(seed)), rtol=1e-9, atol=1e-15)
        assert shares.sum() == pytest.approx(1)


def test_equal_logits_stay_together_in_top_k() -> None:
    scores = np.array([1, 5, 5, 5, 0, -np.inf], np.float32)
    ids, shares = distribution(Sampling(1.0, top_k=2), scores)
    assert ids.tolist() == np.flatnonzero(expected_top_k(scores, 2)).tolist() == [1, 2, 3]
    np.testing.assert_allclose(shares, 1 / 3)


def expected_top_k(scores: np.ndarray, k: int) -> np.ndarray:
    made = TopKLogitsWarper(k)(torch.tensor([[0]]), torch.from_numpy(scores)[None])
    return torch.softmax(made, -1)[0].numpy()


def test_the_generator_is_splitmix64() -> None:
    """The first numbers for the seed 1234567, of the reference in C by Sebastiano Vigna."""
    words = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821)
    generator = SplitMix64(1234567)
    assert [generator.uniform() for _ in words] == [(word >> 11) * 2.0**-53 for word in words]


def test_tokens_are_as_frequent_as_they_are_probable() -> None:
    """Within five standard errors of each share, over one generator's numbers and over the first ones of many seeds."""
    scores, sampling = np.array([2.0, 1.0, 0.0, -1.0, -9.0], np.float32), Sampling(1.0, top_k=4)
    shares = np.exp(scores[:4]) / np.exp(scores[:4]).sum()
    sampler, count = Sampler(sampling), 4000
    for tokens in (
        [sampler.choose(scores) for _ in range(count)],
        [Sampler(Sampling(1.0, top_k=4, seed=seed)).choose(scores) for seed in range(count)],
    ):
        found = np.bincount(tokens, minlength=5) / count
        assert found[4] == 0
        np.testing.assert_array_less(np.abs(found[:4] - shares), 5 * np.sqrt(shares * (1 - shares) / count))


def test_the_same_seed_gives_the_same_tokens() -> None:
    chosen = [[Sampler(Sampling(1.0, seed=seed)).choose(logits(n)) for n in range(30)] for seed in (5, 5, 6)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_without_chance_the_penalized_maximum_is_taken() -> None:
    scores = np.array([3.0, 2.9, -1.0], np.float32)
    assert Sampler(Sampling()).choose(scores, [0]) == 0
    assert Sampler(Sampling(repetition_penalty=1.1)).choose(scores, [0]) == 1
    assert Sampler(Sampling(repetition_penalty=1.1)).choose(scores, []) == 0


@pytest.mark.parametrize("temperature", [1e-300, 1e-4])
@pytest.mark.parametrize("penalty", [1e-320, 1e308, 1.0])
def test_extreme_numbers_leave_probabilities(temperature: float, penalty: float) -> None:
    _, shares = distribution(Sampling(temperature, repetition_penalty=penalty), logits(1), HISTORY)
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_named(broken: float, temperature: float) -> None:
    scores = logits(0)
    scores[4] = broken
    with pytest.raises(InputError, match="1 of its 211 logits are not finite"):
        Sampler(Sampling(temperature)).choose(scores)
    with pytest.raises(InputError, match="-infinity"):
        Sampler(Sampling(temperature)).choose(np.full(3, -np.inf, np.float32))
