"""Weights of a user's `.onnx` file that can be compressed, in whatever way the file stores and uses them.

Reference: onnxruntime on the file as it is. The imported graph computes the same; with palettes of 8 bits each weight
is off by at most some 1/256 of its range, so the outputs are within 2 % of the largest one. A missing transposition, a
shifted group or a wrong zero point is off by 100 %.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.graphs import normal

from exporter.compress import CompressOptions, compress
from exporter.formats import FLEXIBLE, PORTABLE
from exporter.graph.model import GraphSpec, Hub
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.importers.onnx_file import import_onnx
from exporter.lower.forms import WriteOptions, write_form
from exporter.pipeline.parts import candidates
from exporter.progress import NoProgress
from exporter.runners.graphs import MilGraph
from exporter.runners.mil import load_mlpackage

RNG = np.random.default_rng(3)
ROWS = 70  # no multiple of the group size


def codes(*shape: int) -> np.ndarray:
    return RNG.integers(-127, 128, shape).astype(np.int8)


def scales(*shape: int) -> np.ndarray:
    return RNG.uniform(0.001, 0.004, shape).astype(np.float32)


# name → opset, graph, constants, parameters that are compressed, Core ML lowers it
CASES: dict[str, tuple[int, str, dict[str, np.ndarray], int, bool]] = {
    "from the left": (
        17, "g (float[64, 8] x) => (float[70, 8] y) { y = MatMul(w, x) }", {"w": normal(ROWS, 64)}, 4480, True,
    ),
    "batched": (
        17, "g (float[3, 5, 33] x) => (float[3, 5, 40] y) { y = MatMul(x, w) }", {"w": normal(3, 33, 40)}, 3960, True,
    ),
    "transposed convolution": (
        17, "g (float[1, 20, 6, 6] x) => (float[1, 24, 8, 8] y) { y = ConvTranspose(x, w) }",
        {"w": normal(20, 24, 3, 3)}, 4320, True,
    ),
    "grouped convolution": (
        17, "g (float[1, 20, 6, 6] x) => (float[1, 36, 4, 4] y) { y = Conv<group = 2>(x, w) }",
        {"w": normal(36, 10, 3, 3)}, 3240, True,
    ),
    "long short-term memory": (
        17, "g (float[5, 1, 40] x) => (float[5, 1, 1, 48] y) { y = LSTM<hidden_size = 48>(x, w, r) }",
        {"w": normal(1, 192, 40) / 8, "r": normal(1, 192, 48) / 8}, 192 * 88, False,
    ),
    "dequantized by channel": (
        17, "g (float[1, 64] x) => (float[1, 70] y) { w = DequantizeLinear<axis = 1>(q, s, z) y = MatMul(x, w) }",
        {"q": codes(64, ROWS), "s": scales(ROWS), "z": codes(ROWS) // 16}, 4480, True,
    ),
    "cast, shifted and scaled": (
        17, "g (float[1, 64] x) => (float[1, 70] y) { f = Cast<to = 1>(q) d = Sub(f, z) w = Mul(d, s) "
        "y = MatMul(x, w) }",
        {"q": codes(64, ROWS), "s": scales(ROWS), "z": np.array(3, np.float32)}, 4480, True,
    ),
    "dequantized as the output": (
        17, "g (int64[1, 6] x) => (float[1, 6, 64] y) { r = Gather(q, x) y = DequantizeLinear(r, s, z) }",
        {"q": codes(ROWS, 64), "s": np.array(0.01, np.float32), "z": np.array(2, np.int8)}, 0, False,
    ),
    "looked up, dequantized, used": (
        17, "g (int64[1, 6] x) => (float[1, 6, 64] y) { r = Gather(q, x) e = DequantizeLinear(r, s, z) y = Relu(e) }",
        {"q": codes(ROWS, 64), "s": np.array(0.01, np.float32), "z": np.array(2, np.int8)}, 4480, True,
    ),
}  # fmt: skip


def saved(path: Path, opset: int, text: str, constants: dict[str, np.ndarray]) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.save(model, str(path))
    return path


def feeds_for(hub: Hub) -> dict[str, np.ndarray]:
    assert isinstance(hub.spec, GraphSpec)
    return {
        port.name: RNG.integers(0, ROWS, port.shape) if port.dtype.is_integer() else normal(*port.shape)
        for port in hub.spec.inputs
    }


def run(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Not optimized: onnxruntime fuses DequantizeLinear and MatMul into a product with activations of 8 bits."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def check(path: Path, tmp_path: Path, parameters: int, coreml: bool) -> None:
    hub, _ = import_onnx(path, {})
    assert sum(weight.shape[0] * weight.shape[1] for weight in hub.weights) == parameters
    feeds = feeds_for(hub)
    expected = run(path, feeds)
    room = float(np.abs(expected).max())
    write_form(PORTABLE, hub, tmp_path / "plain" / "model.onnx", WriteOptions({}))
    assert np.abs(run(tmp_path / "plain" / "model.onnx", feeds) - expected).max() <= 1e-5 * room
    small = apply_palettes(hub, compress(candidates(hub), CompressOptions(8, 16), NoProgress()).palettes)
    assert set(small.palettes) == {weight.name for weight in hub.weights}
    write_form(PORTABLE, small, tmp_path / "model.onnx", WriteOptions({}))
    assert np.abs(run(tmp_path / "model.onnx", feeds) - expected).max() <= 0.02 * room
    if coreml:
        write_form(FLEXIBLE, small, tmp_path / "m.mlpackage", WriteOptions({}))
        assert isinstance(small.spec, GraphSpec)
        made: dict[str, Any] = MilGraph(load_mlpackage(tmp_path / "m.mlpackage"), small.spec).run(feeds)
        assert np.abs(next(iter(made.values())) - expected).max() <= 0.02 * room


@pytest.mark.parametrize("name", CASES)
def test_a_weight_is_compressed(name: str, tmp_path: Path) -> None:
    opset, text, constants, parameters, coreml = CASES[name]
    check(saved(tmp_path / "source.onnx", opset, text, constants), tmp_path, parameters, coreml)


def branch(name: str) -> onnx.GraphProto:
    result = helper.make_tensor_value_info(f"{name}y", TensorProto.FLOAT, [1, ROWS])
    weight = numpy_helper.from_array(normal(64, ROWS), f"{name}w")
    return helper.make_graph(
        [helper.make_node("MatMul", ["x", f"{name}w"], [f"{name}y"])], name, [], [result], [weight]
    )


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(("condition", "branches"), [("constant", 1), ("shape", 1), ("input", 2)])
def test_weights_in_branches_are_compressed(condition: str, branches: int, opset: int, tmp_path: Path) -> None:
    """A condition that is constant, or that a stated size decides, leaves one branch."""
    node = helper.make_node
    find = {
        "constant": [],
        "shape": [
            node("Shape", ["x"], ["sizes"]),
            node("Gather", ["sizes", "zero"], ["size"]),
            node("Equal", ["size", "one"], ["c"]),
        ],
        "input": [node("ReduceMax", ["x"], ["top"], keepdims=0), node("Greater", ["top", "limit"], ["c"])],
    }[condition]
    constants = {"zero": np.array(0), "one": np.array(1), "limit": np.array(0, np.float32)}
    if condition == "constant":
        constants["c"] = np.array(False)
    graph = helper.make_graph(
        [*find, helper.make_node("If", ["c"], ["y"], then_branch=branch("t"), else_branch=branch("e"))],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, ROWS])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(tmp_path / "source.onnx"))
    check(tmp_path / "source.onnx", tmp_path, branches * 64 * ROWS, branches == 1)


def test_integers_stay_where_nothing_is_compressed(tmp_path: Path) -> None:
    """As floats they would take four times the bytes."""
    opset, text, constants, *_ = CASES["dequantized by channel"]
    hub, _ = import_onnx(saved(tmp_path / "m.onnx", opset, text, constants), {}, keep_integers=True)
    assert not hub.weights
