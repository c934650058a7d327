"""Outputs of every kind: what 8 bits keep passes, what 1 bit breaks fails.

The reference is numpy: a network of three random layers. Noise of the energy that optimal palettes leave (Lloyd-Max,
normal distribution: 0.363 at 1 bit, 0.00004 at 8 bits) stands for palettes, in each of the layers.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from exporter.parity.graphs.compare import OutputsComparison
from exporter.parity.graphs.kinds import kind_of, origins
from exporter.parity.graphs.limits import output_limits
from exporter.parity.results import Check

LEFT = {8: 4e-5, 1: 0.363}  # share of a weight's variance that optimal palettes leave
SAMPLES = 24


def logits(bits: int | None, rows: int, width: int, scale: float = 3.0) -> list[np.ndarray]:
    """Outputs of three random layers for each sample, `[rows, width]`; bits: of the noise in the weights."""
    rng = np.random.default_rng(7)
    weights = [rng.standard_normal(shape) / np.sqrt(shape[0]) for shape in ((32, 64), (64, 64), (64, width))]
    inputs = rng.standard_normal((SAMPLES, rows, 32))
    if bits is not None:
        noise = np.random.default_rng(8)
        keep, lost = np.sqrt(1 - LEFT[bits]), np.sqrt(LEFT[bits])
        weights = [keep * (keep * w + lost * w.std() * noise.standard_normal(w.shape)) for w in weights]
    made = []
    for layer in inputs:
        values = layer
        for weight in weights[:-1]:
            values = np.maximum(values @ weight * np.sqrt(2), 0)
        made.append((scale * values @ weights[-1]).astype(np.float32))
    return made


def sigmoid(values: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-values))).astype(np.float32)


def softmax(values: np.ndarray) -> np.ndarray:
    grown = np.exp(values - values.max(-1, keepdims=True))
    return (grown / grown.sum(-1, keepdims=True)).astype(np.float32)


def boxes(values: np.ndarray) -> np.ndarray:
    """Four coordinates up to 640 and a score, as a detector gives them."""
    return np.concatenate([320 + 100 * np.tanh(values[:, :4]), sigmoid(values[:, 4:5])], -1).astype(np.float32)


SHAPES = {
    "one probability": (1, 1, sigmoid),
    "scalar": (1, 1, lambda v: sigmoid(v).reshape(())),
    "probabilities by frame": (20, 1, sigmoid),
    "probabilities, frames last": (20, 1, lambda v: sigmoid(v).reshape(1, -1)),
    "one logit": (1, 1, lambda v: v),
    "two shares": (1, 2, softmax),
    "five numbers": (1, 5, lambda v: v),
    "boxes": (30, 5, lambda v: boxes(v)[:, :4]),
    "embedding": (1, 48, lambda v: v),
    "first class": (1, 6, lambda v: v.argmax(-1)),
}


def compared(reference: list[np.ndarray], artifact: list[np.ndarray], bits: int, origin: str = "other"):
    granted = next(limit.value for limit in output_limits(bits) if limit.metric == "unexplained")
    result = OutputsComparison(False, granted, {"y": origin})
    for a, b in zip(reference, artifact, strict=True):
        result.add({"y": a}, {"y": b}, None)
    return result


def broken(metrics: dict[str, float], bits: int) -> list[str]:
    checks = [Check(limit, metrics[limit.metric]) for limit in output_limits(bits) if limit.metric in metrics]
    assert checks
    return [check.limit.metric for check in checks if not check.passed]


@pytest.mark.parametrize("name", SHAPES)
def test_eight_bits_keep_and_one_bit_breaks(name: str) -> None:
    rows, width, shaped = SHAPES[name]
    origin = "sigmoid" if "probab" in name or name == "scalar" else "other"
    reference = [shaped(values) for values in logits(None, rows, width)]
    for bits, right in ((8, True), (1, False)):
        artifact = [shaped(values) for values in logits(bits, rows, width)]
        found = compared(reference, artifact, bits, origin).metrics(None)
        assert (not broken(found, bits)) is right, (bits, found)


def test_a_score_beside_coordinates_is_judged_by_itself() -> None:
    """Coordinates up to 640 hide an error of 0.5 in a score, in cosine and PSNR alike."""
    reference = [boxes(values) for values in logits(None, 30, 5)]
    artifact = [array.copy() for array in reference]
    for array in artifact:
        array[:, 4] = 0.3
    assert compared(reference, artifact, 8).metrics(None)["psnr_db"] > 55
    assert "unexplained" in broken(compared(reference, artifact, 8, "mixed").metrics(None), 8)


def test_a_detector_that_finds_nothing_is_no_false_alarm() -> None:
    """Probabilities near 0 everywhere, 40 % off: a cosine of 0.93, and nothing that anyone could notice."""
    rng = np.random.default_rng(0)
    reference = [rng.uniform(0, 0.01, (1, 1, 16, 16)).astype(np.float32) for _ in range(12)]
    artifact = [a * rng.uniform(0.4, 1.6, a.shape).astype(np.float32) for a in reference]
    result = compared(reference, artifact, 8, "sigmoid")
    assert not broken(result.metrics(None), 8)
    assert result.undecided == ("y",)
    artifact[3][..., :8, :8] = 0.9  # and one that finds something there
    assert broken(compared(reference, artifact, 8, "sigmoid").metrics(None), 8)


def test_the_error_is_that_of_numpy() -> None:
    reference, artifact = logits(None, 3, 5), logits(8, 3, 5)
    a, b = np.stack(reference).astype(np.float64), np.stack(artifact).astype(np.float64)
    found = compared(reference, artifact, 8).metrics(None)
    variance = a.var((0, 1)).mean()  # of each of the five numbers around its own mean
    assert found["unexplained"] == pytest.approx(np.square(a - b).mean() / variance, rel=1e-6)
    assert found["max_abs_error"] == pytest.approx(np.abs(a - b).max(), rel=1e-6)


def test_nan_on_both_sides_is_counted_and_nan_alone_fails() -> None:
    a = np.arange(8, dtype=np.float32).reshape(2, 4)
    hole = a.copy()
    hole[0, 1] = np.nan
    both = compared([hole], [hole.copy()], 8).metrics(None)
    assert (both["same_non_finite"], both["non_finite"], both["psnr_db"]) == (1, 0, 300)
    assert compared([a], [hole], 8).metrics(None)["non_finite"] == 1
    nothing = np.full((2, 4), np.nan, np.float32)
    assert np.isnan(compared([nothing], [nothing], 8).metrics(None)["psnr_db"])
    empty = np.zeros((0, 4), np.float32)
    assert compared([empty], [empty], 8).metrics(None)["psnr_db"] == 300


def test_zeros_against_something_are_not_alike() -> None:
    zeros = np.zeros((1, 8), np.float32)
    assert compared([zeros], [zeros + 1], 8).metrics(None)["cosine_min"] == 0
    assert compared([zeros], [zeros], 8).metrics(None)["cosine_min"] == 1


def test_whole_numbers_are_compared_exactly() -> None:
    a = np.arange(1000)
    b = a.copy()
    b[:2] += 1
    assert compared([a], [b], 8).metrics(None)["unequal"] == 0.002
    assert compared([a > 5], [b > 5], 8).metrics(None)["unequal"] == 0


def test_kinds() -> None:
    """A normalized embedding without negative values is no probability."""
    rng = np.random.default_rng(1)
    embedding = np.abs(rng.standard_normal((4, 64)))
    embedding /= np.linalg.norm(embedding, axis=-1, keepdims=True)
    assert kind_of([embedding], "other").kind == "numbers"
    assert kind_of([embedding], "sigmoid").kind == "yes-no"
    assert kind_of([np.array([[0.2, 0.8]])], None).kind == "shares"
    assert kind_of([np.array([[0.4]])], "other").kind == "yes-no"
    assert kind_of([np.array([3])], None).kind == "whole"


def test_origins() -> None:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1, 4]))
    sigmoid_ = ir.node("Sigmoid", [x])
    squeezed = ir.node("Squeeze", [sigmoid_.outputs[0]])
    joined = ir.node("Concat", [x, sigmoid_.outputs[0]], {"axis": 1})
    soft = ir.node("Softmax", [x])
    nodes = [sigmoid_, squeezed, joined, soft]
    for name, node in zip("abcd", nodes, strict=True):
        node.outputs[0].name = name
    graph = ir.Graph([x], [node.outputs[0] for node in nodes], nodes=nodes, opset_imports={"": 23})
    assert origins(graph) == {"a": "sigmoid", "b": "sigmoid", "c": "mixed", "d": "softmax"}
