"""Limits that follow from what fitting measured, and numbers that differ from their limit as they are shown."""

from __future__ import annotations

import pytest

from exporter.parity.findings import failure
from exporter.parity.fit_limits import FitCost, narrowed
from exporter.parity.results import Check, Row
from exporter.parity.thresholds import Limit, compression_limits


def limit(cost: FitCost | None, bits: float = 4, judged: str = "tokens", depth: str = "full") -> Limit:
    metric = "cosine_mean" if judged == "embeddings" else "kl"
    limits = narrowed(compression_limits(bits, judged), cost, judged, depth)  # type: ignore[arg-type]
    return next(limit for limit in limits if limit.metric == metric)


@pytest.mark.parametrize(
    ("bits", "shipped", "plain", "on_prompts"),
    [
        (4, 0.0067, 0.0511, 0.0071),
        (3, 0.0336, 0.2114, 0.0335),
        (2, 0.1577, 1.0429, 0.1537),
        (4, 0.0063, 0.0376, 0.0063),
    ],
)
def test_measured_models_pass_and_what_fits_their_bits_only_fails(
    bits: int, shipped: float, plain: float, on_prompts: float
) -> None:
    """KL of samples/home_intents and samples/prose, as their exports reported it."""
    found = limit(FitCost("kl", shipped, plain), bits)
    assert found.value == pytest.approx(2 * shipped)
    assert Check(found, on_prompts).passed
    assert not Check(found, plain).passed
    assert Check(limit(None, bits), 0.15 if bits == 4 else plain / 2).passed  # the table alone sees nothing


def test_k_means_that_was_kept_may_cost_half_more_on_other_texts() -> None:
    assert limit(FitCost("kl", 0.02, 0.02)).value == pytest.approx(0.03)
    assert limit(FitCost("kl", 0.019, 0.03)).value == pytest.approx(0.03)


def test_the_table_is_the_ceiling_and_float16_the_floor() -> None:
    assert limit(FitCost("kl", 0.5, 3.0)).value == limit(None).value
    assert limit(FitCost("kl", 1e-6, 1e-5)).value == 1e-3


def test_prompts_from_elsewhere_and_few_prompts_get_more_room() -> None:
    assert limit(FitCost("kl", 0.005, 0.02, same_texts=False)).value == pytest.approx(0.08)
    assert limit(FitCost("kl", 0.005, 0.02), depth="quick").value == pytest.approx(0.015)


def test_embeddings_are_held_to_a_cosine() -> None:
    """all-MiniLM-L6-v2 at 4 bits: measured 0.0149 apart, 0.0185 on parity's prompts, 0.0657 with k-means."""
    found = limit(FitCost("distance", 0.0149, 0.0657), judged="embeddings")
    assert found.value == pytest.approx(1 - 2 * 0.0149)
    assert Check(found, 1 - 0.0185).passed
    assert not Check(found, 1 - 0.0657).passed
    assert limit(FitCost("distance", 0.01, 0.02)).value == limit(None).value  # another unit


def test_a_failed_number_never_looks_like_its_limit() -> None:
    check = Check(Limit("cosine_mean", 0.9995, "a reason"), 0.99949996)
    row = Row("onnx", "a against b", (), ("x", "y"), {"cosine_mean": check.value}, (check,))
    assert "0.99949996 (limit 0.9995)" in failure(row).message
    told = row.as_json()
    assert told["thresholds"][0]["value"] < told["thresholds"][0]["limit"]
    assert told["metrics"]["cosine_mean"] == told["thresholds"][0]["value"]
