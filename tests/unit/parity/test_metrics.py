"""The metrics against torch and against their definitions in plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.parity.metrics import (
    EQUAL_DB,
    METRICS,
    EmbeddingComparison,
    LogitsComparison,
    cosine,
    difference,
    psnr,
    self_retrieval,
)


def logits(seed: int, rows: int = 130, vocab: int = 37) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((rows, vocab)) * 5).astype(np.float32)


def test_kl_is_torch_kl_div():
    """float64 on both sides: only the order of additions differs. 130 rows: more than are compared at a time."""
    p, q = logits(0), logits(1)
    compared = LogitsComparison()
    compared.add(p, q)
    log_p, log_q = (torch.log_softmax(torch.from_numpy(x).double(), -1) for x in (p, q))
    expected = torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="batchmean").item()
    assert compared.metrics()["kl"] == pytest.approx(expected, rel=1e-12)
    assert compared.metrics()["kl_max"] >= compared.metrics()["kl"] > 0


def test_kl_takes_the_reference_as_the_distribution():
    """KL(p || q) of a sure reference is small where the artifact is less sure, and large the other way round."""
    sure, unsure = np.array([[30.0, 0, 0]], np.float32), np.array([[1.0, 0, 0]], np.float32)
    one, other = LogitsComparison(), LogitsComparison()
    one.add(sure, unsure)
    other.add(unsure, sure)
    assert one.metrics()["kl"] == pytest.approx(math.log(math.e + 2) - 1, abs=1e-9)
    assert other.metrics()["kl"] > 5


def test_shift_of_all_logits_costs_no_kl_but_psnr():
    p = logits(2)
    compared = LogitsComparison()
    compared.add(p, p + np.float32(3))
    assert compared.metrics()["kl"] < 1e-9
    assert compared.metrics()["top1"] == 1
    assert compared.metrics()["psnr_db"] == pytest.approx(20 * math.log10(np.abs(p).max() / 3), abs=1e-4)


def test_psnr_is_its_definition_over_all_prompts():
    pairs = [(logits(seed, rows=seed + 3), logits(seed + 10, rows=seed + 3)) for seed in range(3)]
    compared = LogitsComparison()
    for p, q in pairs:
        compared.add(p, q)
    a, b = (np.concatenate([pair[i].ravel() for pair in pairs]).astype(np.float64) for i in (0, 1))
    rmse = np.sqrt(np.mean((a - b) ** 2))
    metrics = compared.metrics()
    assert metrics["psnr_db"] == pytest.approx(20 * np.log10(np.abs(a).max() / rmse), abs=1e-9)
    assert metrics["max_abs_error"] == np.abs(a - b).max()
    assert metrics["relative_error"] == np.abs(a - b).max() / np.abs(a).max()
    assert metrics["positions"] == 3 + 4 + 5


def test_top1_and_near_ties():
    reference = np.array([[10.0, 9.95, 0], [10, 5, 0], [0, 0, 4], [0, 8, 0]], np.float32)
    artifact = np.array([[9.0, 9.1, 0], [5, 10, 0], [0, 0, 4], [0, 8, 0]], np.float32)
    compared = LogitsComparison()
    compared.add(reference, artifact)
    metrics = compared.metrics(tie_db=40)  # 1 % of the peak of 10: gaps below 0.1
    assert (metrics["top1"], metrics["top1_ties"], metrics["top1_or_tie"]) == (0.5, 1, 0.75)
    assert compared.metrics(tie_db=60)["top1_ties"] == 0


def test_a_wrong_answer_is_no_tie_just_because_the_reference_hesitates_between_two_others():
    reference = np.array([[10.0, 9.99, 0]], np.float32)
    artifact = np.array([[1.0, 1, 5]], np.float32)
    compared = LogitsComparison()
    compared.add(reference, artifact)
    assert compared.metrics()["top1_ties"] == 0


def test_greedy_equality_and_first_difference():
    reference = logits(3, rows=8)
    artifact = reference.copy()
    artifact[2, 0] = 100  # before the continuation: not counted
    compared = LogitsComparison()
    compared.add(reference, artifact, greedy_from=4)
    assert compared.metrics()["greedy_equal"] == 1
    assert "greedy_first_difference" not in compared.metrics()
    artifact[6, (reference[6].argmax() + 1) % 37] = 100
    compared.add(reference, artifact, greedy_from=4)
    assert compared.metrics()["greedy_equal"] == 0.5
    assert compared.metrics()["greedy_first_difference"] == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_spoil_every_judgement(bad):
    reference = logits(4)
    artifact = reference.copy()
    artifact[5, 7] = bad
    compared = LogitsComparison()
    compared.add(reference, artifact)
    metrics = compared.metrics()
    assert metrics["non_finite"] == 1
    assert all(math.isnan(metrics[name]) for name in ("kl", "kl_max", "psnr_db", "relative_error"))


def test_cosine_is_torch_cosine_similarity():
    a, b = logits(5), logits(6)
    expected = torch.nn.functional.cosine_similarity(torch.from_numpy(a).double(), torch.from_numpy(b).double()).numpy()
    np.testing.assert_allclose(cosine(a, b), expected, rtol=0, atol=1e-12)
    assert np.isnan(cosine(np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32))).all()


def test_embedding_metrics():
    rng = np.random.default_rng(7)
    compared = EmbeddingComparison()
    cosines = []
    for n in (3, 5, 2):
        tokens = rng.standard_normal((n, 8)).astype(np.float32)
        sentence = rng.standard_normal(8).astype(np.float32)
        noisy = sentence + 0.1 * rng.standard_normal(8).astype(np.float32)
        cosines.append(float(cosine(sentence[None], noisy[None])[0]))
        compared.add((tokens, sentence), (tokens + np.float32(0.01), noisy))
    metrics = compared.metrics()
    assert metrics["cosine_mean"] == pytest.approx(np.mean(cosines))
    assert metrics["cosine_min"] == min(cosines)
    assert metrics["psnr_db"] > metrics["sentence_psnr_db"]
    assert metrics["self_retrieval"] == 1


def test_embeddings_without_pooling_use_the_tokens():
    tokens = logits(8, rows=4)
    compared = EmbeddingComparison()
    compared.add((tokens, None), (-tokens, None))
    assert compared.metrics()["cosine_mean"] == pytest.approx(-1)
    assert "self_retrieval" not in compared.metrics()


def test_self_retrieval_does_not_depend_on_how_narrow_the_space_is():
    """In a narrow cone all cosines are near 1, and a permutation is still found out."""
    rng = np.random.default_rng(9)
    narrow = (100 + rng.standard_normal((50, 16))).astype(np.float32)
    shuffled = np.roll(narrow, 1, axis=0)
    assert cosine(narrow, shuffled).min() > 0.999
    assert self_retrieval(narrow, narrow) == 1
    assert self_retrieval(narrow, shuffled) == 0
    twice = np.concatenate([narrow, narrow])
    assert self_retrieval(twice, twice) == 1


@given(scale=st.floats(1e-3, 1e3), noise=st.floats(1e-6, 1.0), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_psnr_does_not_depend_on_the_unit(scale, noise, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(64)
    b = a + noise * rng.standard_normal(64)
    one = difference(a.astype(np.float64), b.astype(np.float64)).psnr_db
    other = difference((scale * a).astype(np.float64), (scale * b).astype(np.float64)).psnr_db
    assert one == pytest.approx(other, abs=1e-6)


def test_psnr_at_its_ends():
    assert psnr(1.0, 0.0, 10) == EQUAL_DB
    assert psnr(0.0, 1.0, 10) == -EQUAL_DB
    assert math.isnan(psnr(math.inf, 1.0, 10))
    assert difference(np.zeros(3, np.float32), np.ones(3, np.float32)).relative == math.inf


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shapes differ"):
        difference(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))


def test_every_metric_is_described():
    compared, embedded = LogitsComparison(), EmbeddingComparison()
    reference = logits(1)
    compared.add(reference, logits(2), greedy_from=0)
    embedded.add((reference, reference[0]), (reference, reference[0]))
    assert set(compared.metrics()) | set(embedded.metrics()) <= set(METRICS)
