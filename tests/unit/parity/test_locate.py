"""Locating: captures name the right values, and the first divergence is the first."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from exporter.errors import InputError
from exporter.formats import FLEXIBLE
from exporter.parity.locate import first_divergence, signal_to_noise
from exporter.parity.locate.mil_values import MilCapture, OverflowScan, mil_name
from exporter.parity.locate.onnx_values import capture_onnx
from exporter.parity.locate.torch_values import capture_torch, token_feeds
from exporter.parity.metrics import EQUAL_DB
from exporter.runners.mil import load_mlpackage
from exporter.runners.mil_texts import MilDecoder
from exporter.runners.ort import OnnxSource, decoder_feeds, empty_cache
from exporter.runners.reference import TorchDecoder

IDS = np.array([5, 30, 100, 7, 7, 250, 19], np.int64)


def hub_values(hub):
    return capture_onnx(
        OnnxSource(model=hub.model), lambda onnx: {**decoder_feeds(onnx, IDS, 0), **empty_cache(onnx)}, 1
    )


def test_first_divergence_is_the_first_in_graph_order():
    rng = np.random.default_rng(0)
    reference = {name: rng.standard_normal((1, 4, 8)).astype(np.float32) for name in "abcde"}
    artifact = {name: array + np.float32(1e-6) for name, array in reference.items()}
    assert first_divergence(reference, artifact, 80) is None
    artifact["c"] = artifact["c"] + np.float32(0.1)
    artifact["e"] = -artifact["e"]
    found = first_divergence(reference, artifact, 80)
    assert (found.tensor, found.position, found.total, found.before) == ("c", 3, 5, "b")
    assert 15 < found.snr_db < 25
    assert found.before_snr_db > 100
    assert "c (3 of 5 in graph order, " in found.describe()


def test_what_cannot_be_compared_is_passed_over():
    reference = {
        "shape": np.ones((2, 3)),
        "missing": np.ones(2),
        "integer": np.array([1, 2]),
        "last": np.ones((1, 2, 1)),
    }
    artifact = {"shape": np.ones((3, 2)), "integer": np.array([3, 4]), "last": np.array([1.0, 5.0])}
    found = first_divergence(reference, artifact, 40)
    assert (found.tensor, found.position, found.total) == ("last", 1, 1)
    assert first_divergence({}, {}, 40) is None


def test_signal_to_noise():
    a = np.array([3.0, 4.0])
    assert signal_to_noise(a, a) == EQUAL_DB
    assert signal_to_noise(a, a + np.array([0.0, 0.5])) == pytest.approx(20)
    assert math.isnan(signal_to_noise(a, np.array([3.0, np.nan])))
    masks = np.array([0, -np.inf, -4e4, -3.4e38])
    assert signal_to_noise(masks, masks[[0, 2, 3, 1]]) == EQUAL_DB
    assert math.isnan(signal_to_noise(np.array([0.0, np.inf]), np.array([0.0, 1.0])))


def test_captured_hub_values_are_those_of_torch(llama):
    """Every reference point of the tiny Llama agrees to float32's accuracy: the names mean the same tensors."""
    runner = TorchDecoder(llama.subjects.checkpoint)
    points = llama.subjects.reference_points
    expected = capture_torch(runner.model, token_feeds(IDS), points)
    found = hub_values(llama.hub)
    assert set(expected) == set(points) <= set(found)
    assert min(signal_to_noise(expected[name], found[name]) for name in points) > 100


def test_capture_leaves_no_hooks_and_refuses_unknown_modules(llama):
    model = TorchDecoder(llama.subjects.checkpoint).model
    capture_torch(model, token_feeds(IDS), {"logits": "lm_head"})
    assert not model.lm_head._forward_hooks
    with pytest.raises(InputError, match=r"no module 'model\.layers\.9'"):
        capture_torch(model, token_feeds(IDS), {"layers.9/output": "model.layers.9"})
    assert not any(module._forward_hooks for module in model.modules())


def test_capture_is_in_graph_order_and_without_weights(llama):
    names = list(hub_values(llama.compressed))
    order = [
        "embedding",
        "layers.0/attention/q",
        "layers.0/attention/output",
        "layers.0/output",
        "layers.1/output",
        "logits",
    ]
    assert [name for name in names if name in order] == order
    assert not any("weight" in name for name in names)
    assert "layers.0/attention/norm" not in [
        v.name for v in llama.compressed.model.graph.outputs
    ]  # the hub is untouched


def test_program_values_are_those_of_the_graph(llama):
    capture = MilCapture()
    model = load_mlpackage(llama.subjects.artifacts[FLEXIBLE])
    MilDecoder(model, rounding=False, observe=capture).session().feed(IDS)
    graph = hub_values(llama.compressed)
    program = capture.by_hub_name(graph)
    named = {"embedding", "layers.0/attention/q", "layers.1/mlp/gated", "layers.1/output", "norm", "logits"}
    assert named <= set(program)
    assert first_divergence(graph, program, 60) is None


def test_names_that_collide_are_left_out():
    capture = MilCapture()
    for name in ("a_b", "c", "_1"):
        capture(name, torch.ones(1))
    assert set(capture.by_hub_name(["a/b", "a.b", "c", "1"])) == {"c", "1"}
    assert mil_name("layers.0/mlp/down") == "layers_0_mlp_down"


def test_overflow_scan_looks_at_float16_tensors_only(llama):
    model = load_mlpackage(llama.subjects.artifacts[FLEXIBLE])
    scan = OverflowScan(model)
    scan("embedding", torch.tensor([1.0, -65504.0]))
    scan("new_positions", torch.tensor([100_000]))
    scan("not of this program", torch.tensor([1e6]))
    assert scan.largest == {}
    scan("norm", torch.tensor([0.0, -70_000.0]))
    scan("norm", torch.tensor([90_000.0]))
    scan("logits", torch.tensor([math.nan]))
    assert scan.largest["norm"] == 90_000
    assert list(scan.largest) == ["norm", "logits"]
