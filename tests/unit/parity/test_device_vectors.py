"""Vectors for devices: what a position's numbers keep of the whole distribution, size, and limits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr

from exporter.formats import PORTABLE
from exporter.parity.device.compare import Compared, compare_decode, compare_values
from exporter.parity.device.gates import gates_of
from exporter.parity.device.make import fitted
from exporter.parity.device.report import DecodeResult, ValuesResult
from exporter.parity.device.vectors import DecodeVector, DeviceVectors, IdsVector, TopLogprobs, ValuesVector
from exporter.parity.results import Check, Row
from exporter.parity.thresholds import Limit
from exporter.strict_json import compact_json, parse_json

Floats = np.ndarray


def decode_pair(reference: Floats, artifact: Floats, kept: int) -> tuple[DecodeVector, DecodeResult]:
    """Logits `[positions, vocab]` of both sides as a vector and a result."""
    p, q = (log_softmax(logits.astype(np.float64), axis=-1) for logits in (reference, artifact))
    order = np.argsort(-p, axis=-1)[:, :kept]
    top = tuple(
        TopLogprobs(tuple(ids.tolist()), tuple(np.round(row[ids], 5).tolist()))
        for ids, row in zip(order, p, strict=True)
    )
    ids = tuple(range(len(p)))
    vector = DecodeVector("decode-0", "", ids, 0, top, (int(order[0, 0]),))
    stated = tuple(tuple(row[own].tolist()) for row, own in zip(q, order, strict=True))
    best = tuple(q.argmax(-1).tolist())
    return vector, DecodeResult("decode-0", stated, best, (best[0],))


@pytest.mark.parametrize("scale", [0.5, 3.0, 12.0])
def test_kl_of_all_ids_is_that_of_the_distributions(scale: float) -> None:
    """scipy's relative entropy; the file's five digits leave 1e-4."""
    rng = np.random.default_rng(3)
    reference = rng.standard_normal((40, 50)) * scale
    artifact = reference + rng.standard_normal(reference.shape) * 0.3
    compared = compare_decode([decode_pair(reference, artifact, 50)], 0.0)
    p, q = (np.exp(log_softmax(logits, axis=-1)) for logits in (reference, artifact))
    assert abs(compared.metrics["kl"] - rel_entr(p, q).sum(-1).mean()) < 1e-4
    assert compared.metrics["top1"] == (reference.argmax(-1) == artifact.argmax(-1)).mean()


@pytest.mark.parametrize("scale", [0.5, 3.0, 12.0])
def test_kl_of_the_top_is_never_more_than_the_whole(scale: float) -> None:
    """Merging outcomes can't raise KL (data processing inequality), so a file that passes parity passes here."""
    rng = np.random.default_rng(4)
    reference = rng.standard_normal((40, 3000)) * scale
    artifact = reference + rng.standard_normal(reference.shape) * 0.3
    compared = compare_decode([decode_pair(reference, artifact, 64)], 0.0)
    p, q = (np.exp(log_softmax(logits, axis=-1)) for logits in (reference, artifact))
    whole = rel_entr(p, q).sum(-1).mean()
    assert compared.metrics["kl"] <= whole + 1e-4
    assert compared.metrics["inconsistent"] == 0
    if scale > 1:  # where 64 of 3000 tokens hold most of the probability
        assert compared.metrics["kl"] > 0.5 * whole


def test_near_ties_are_counted_as_in_parity() -> None:
    reference = np.array([[3.0, 2.95, 0.0], [3.0, 2.0, 0.0], [3.0, 2.0, 1.0]])
    artifact = np.array([[2.9, 3.0, 0.0], [1.9, 2.0, 0.0], [3.0, 2.0, 1.0]])
    metrics = compare_decode([decode_pair(reference, artifact, 3)], 0.1).metrics
    assert (metrics["top1"], metrics["top1_ties"], metrics["top1_or_tie"]) == (1 / 3, 1, 2 / 3)


def test_scores_of_a_regression() -> None:
    vectors = DeviceVectors("x", "text-ranking", "torch", activation="identity")
    rng = np.random.default_rng(5)
    values = rng.standard_normal(20)
    pairs = [
        (
            ValuesVector(f"scores-{i}", "", (1,), (float(v),), second="b"),
            ValuesResult(f"scores-{i}", (float(v) + 0.01,)),
        )
        for i, v in enumerate(values)
    ]
    compared = compare_values(vectors, pairs)
    assert np.allclose(list(compared.losses.values()), 0.01, rtol=1e-4)
    assert abs(compared.metrics["unexplained"] - 20 * 1e-4 / np.square(values - values.mean()).sum()) < 1e-6


def long_vectors(ids: int, dimensions: int = 0) -> DeviceVectors:
    """A decoder with a vocabulary of 300,000 and long texts, or an encoder with wide embeddings."""
    high = tuple(range(299_000, 299_000 + ids))
    top = TopLogprobs(tuple(range(299_000, 299_064)), tuple(-12.12345 - i / 10 for i in range(64)))
    decode = tuple(DecodeVector(f"decode-{i}", "", high, ids - 16, (top,) * 16, high[:16]) for i in range(16))
    embed = tuple(ValuesVector(f"embed-{i}", "", high, (-0.0012345,) * dimensions) for i in range(48))
    texts = tuple(IdsVector(f"tokenizer-{i}", "a" * 90, high[:90]) for i in range(64))
    if dimensions:
        return DeviceVectors("x", "feature-extraction", "torch", tokenizer=texts, embed=embed)
    return DeviceVectors("x", "text-generation", "torch", tokenizer=texts, decode=decode)


@pytest.mark.parametrize(
    ("ids", "dimensions", "least"), [(16, 0, 16), (512, 0, 12), (5000, 0, 4), (64, 384, 48), (512, 4096, 5)]
)
def test_a_large_vocabulary_fits(ids: int, dimensions: int, least: int) -> None:
    whole = long_vectors(ids, dimensions)
    vectors = fitted(whole, 370_000)
    assert len(compact_json(vectors.as_json())) <= 370_000
    assert vectors.tokenizer == whole.tokenizer
    kept = vectors.embed or vectors.decode
    assert len(kept) >= least
    assert kept[0].id.endswith("-0")


def row(passed: bool) -> Row:
    limits = (Limit("kl", 0.1, "test models"), Limit("top1_or_tie", 0.8, "test models"))
    checks = tuple(Check(limit, limit.value if passed else float("nan")) for limit in limits)
    return Row("onnx", "", (PORTABLE,), ("torch", "onnxruntime"), {}, checks)


@pytest.mark.parametrize(("kl", "top1", "limits"), [(0.05, 0.9, (0.1, 0.8)), (0.09, 0.81, (0.1125, 0.7625))])
def test_limits_widen_only_where_the_file_itself_is_near_them(
    kl: float, top1: float, limits: tuple[float, float]
) -> None:
    compared = Compared({"kl": kl, "top1_or_tie": top1}, {"decode-0": 0.2}, "kl")
    gates = {gate.metric: gate for gate in gates_of(row(True), compared, 0.0)}
    assert gates["kl"].max == pytest.approx(limits[0])
    assert gates["top1_or_tie"].min == pytest.approx(limits[1])
    assert gates["kl"].reason.endswith("test models")
    assert gates["vectors_beyond"].allowed == {"decode-0": pytest.approx(0.32)}
    failed = {gate.metric: gate for gate in gates_of(row(False), compared, 0.0)}
    assert (failed["kl"].max, failed["top1_or_tie"].min) == (0.1, 0.8)


def test_compact_json_is_json() -> None:
    data = {"b": [1, 2.5, -3], "a": [[1], {"c": []}], "t": "\ud800\n🙂", "e": {}, "n": None}
    text = compact_json(data)
    assert json.loads(text) == data
    assert b"[1,2.5,-3]" in text
    assert parse_json(compact_json(long_vectors(20).as_json())) == long_vectors(20).as_json()
    with pytest.raises(ValueError, match="not JSON compliant"):
        compact_json([float("nan")])
