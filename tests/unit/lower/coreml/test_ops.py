"""Every ONNX op's lowering, saved, read back and executed, against onnxruntime on the same node.

All cases are one graph and one program. With rounding off, what differs are constants that float16 can't hold (a slope
of 1/6, an interpolation weight): 2^-11 relative to each, some 1e-3 in a result. With rounding after each step a few of
float16's last places come on top: 4e-3 of the largest value, which leaves out cancellation inside of a result.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from support.coreml_cases import CASES as PLAIN
from support.coreml_cases import case
from support.coreml_cases_layers import LAYERS
from support.op_graphs import Arrays, as_hub, graph_of, run_coreml, run_onnx

from exporter.lower.coreml import supported_ops, unsupported_nodes
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Function, Placeholder, types
from exporter.lower.coreml.ops.shape import lower_shape
from exporter.lower.coreml.program import TARGET

CASES = [*PLAIN, *LAYERS]
IDS = [f"{item.op}-{i}" for i, item in enumerate(CASES)]
HALF_MAX = 65504.0
# tested with the graphs that they belong to: decoders and encoders of the hub; shapes that are known at run time only
ELSEWHERE = {"Attention", "RotaryEmbedding", "Range", "Swish"}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Arrays, Arrays, Arrays]:
    """Results by name: onnxruntime's, the program's in float32, the program's as a device rounds."""
    model, feeds = graph_of(CASES)
    path = tmp_path_factory.mktemp("ops") / "ops.mlpackage"
    hub = as_hub(model)
    return run_onnx(model, feeds), run_coreml(hub, feeds, path, rounding=False), run_coreml(hub, feeds, path)


@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
def test_op_computes_what_onnxruntime_computes(index: int, answers: tuple[Arrays, Arrays, Arrays]) -> None:
    expected, exact, rounded = answers
    for k in range(CASES[index].outputs):
        name = f"c{index}_{k}"
        agree(exact[name], expected[name], 1e-3)
        agree(rounded[name], expected[name], 4e-3)


def agree(ours: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    if expected.ndim == 0:
        ours = ours.reshape(())
    assert ours.shape == expected.shape
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(ours, expected.astype(np.int64).clip(-(2**31), 2**31 - 1))
        return
    masked = expected < -HALF_MAX  # -inf and the lowest float32: the program has -4e4, give or take a score
    assert (ours[masked] < -3.9e4).all()
    wide = expected[~masked]
    scale = np.abs(wide).max(initial=1e-3)
    np.testing.assert_allclose(ours[~masked], wide, rtol=0, atol=tolerance * scale)


def test_every_op_has_a_case() -> None:
    assert set(supported_ops()) - {item.op for item in CASES} - ELSEWHERE == set()


@pytest.mark.parametrize("start", [-9, -3, -1, 0, 2, 9])
@pytest.mark.parametrize("end", [-9, -2, 0, 1, 3, 9])
def test_parts_of_a_shape(start: int, end: int) -> None:
    """Start and end beyond the rank; onnx's reference is the same clamping as Python's."""
    model, _ = graph_of([case("Shape", np.zeros((2, 3, 4), np.float32), start=start, end=end)])
    expected = ReferenceEvaluator(model).run(None, {"c0_in0": np.zeros((2, 3, 4), np.float32)})[0]
    graph = ir.serde.deserialize_model(model).graph
    with Function({"x": Placeholder((2, 3, 4), dtype=types.fp16, name="x")}, opset_version=TARGET) as function:
        lowering = Lowering(as_hub(model))
        lowering.bind(graph.inputs[0], function.inputs["x"])
        lower_shape(lowering, graph[0])
        np.testing.assert_array_equal(lowering.var(graph.outputs[0]).val, expected)


def test_resize_by_scales_that_are_computed_is_refused() -> None:
    """Its result has the shape that the graph states, but the sizes of the result don't tell the scales."""
    model, _ = graph_of(
        [case("Resize", np.zeros((1, 3, 4, 4), np.float32), None, np.ones(4, np.float32), mode="linear")]
    )
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("c0_0", 1, (1, 3, 9, 9)))
    (problem,) = unsupported_nodes(as_hub(model))
    assert "scales that are known only at run time" in problem.message
