"""What calibration can't compute is said before anything runs, all of it at once, each node and tensor by its name."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.coreml_cases import Case, Known, known
from support.graphs import parse
from support.one_node import in_torch, model_of
from support.op_graphs import graph_of
from support.torch_cases import bools, case, ints, normal, positive

from exporter.errors import Diagnostic, UnsupportedError
from exporter.runners.torch_graph.graph import TorchGraph


def _float8(*shape: int) -> np.ndarray:
    return normal(*shape).astype(ml_dtypes.float8_e4m3fn)


_QKV = [normal(1, 2, 4, 6) for _ in range(3)]
_IMAGE = normal(1, 2, 6, 6)
_MATRIX = ints(0, 9, 2, 3)
_STATISTICS = [Known(positive(2)) for _ in range(4)]
# the node, and what its message says is missing
FORMS: list[tuple[Case, str]] = [
    (case("Attention", *_QKV, outputs=4), "the scores as an output"),
    (case("Attention", *_QKV, None, None, None, ints(4, 5, 1)), "nonpad_kv_seqlen"),
    (case("Attention", *_QKV, left_window_size=2), "a window"),
    (case("Cast", normal(3), to=TensorProto.STRING), "the dtype STRING"),
    (case("Cast", normal(3), to=TensorProto.FLOAT8E4M3FN), "the dtype FLOAT8E4M3FN"),
    (case("EyeLike", _MATRIX, dtype=TensorProto.UINT64), "the dtype UINT64"),
    (case("Constant", value_string="a"), "a constant of strings, or a sparse one"),
    (case("Constant", value=numpy_helper.from_array(_float8(2))), "a constant of FLOAT8E4M3FN"),
    (case("Constant", value=helper.make_tensor("", TensorProto.STRING, [1], [b"a"])), "a constant of STRING"),
    (case("ConstantOfShape", known([2]), value=numpy_helper.from_array(np.uint64([1]))), "a constant of UINT64"),
    (case("Conv", normal(1, 2, 3, 3, 3, 3), Known(normal(2, 2, 1, 1, 1, 1))), "4 spatial axes"),
    (case("Conv", normal(1, 2, 3, 3, 3, 3), normal(2, 2, 1, 1, 1, 1), kernel_shape=[1] * 4), "4 spatial axes"),
    (case("Conv", _IMAGE, normal(2, 2, 1, 1), auto_pad="SAME"), "auto_pad 'SAME'"),
    (case("ConvTranspose", _IMAGE, normal(2, 2, 3, 3), output_shape=[8, 8]), "padding that follows from the result"),
    (case("ConvTranspose", _IMAGE, normal(2, 2, 3, 3), auto_pad="SAME_UPPER"), "padding that follows from the result"),
    (case("MaxPool", _IMAGE, kernel_shape=[2, 2], outputs=2), "the places of the maxima"),
    (case("MaxPool", _IMAGE), "a pool without a kernel"),
    (case("AveragePool", _IMAGE), "a pool without a kernel"),
    (case("AveragePool", normal(1, 1, 2, 2, 2, 2), kernel_shape=[1] * 4), "4 spatial axes"),
    (case("LayerNormalization", normal(2, 3), normal(3), outputs=2), "the mean and the deviation"),
    (case("BatchNormalization", _IMAGE, *_STATISTICS, outputs=3, training_mode=1), "training_mode"),
    (case("Einsum", normal(2, 3), equation="Ab->bA"), "an equation with capitals"),
    (case("Pad", normal(3), known([1, 1]), mode="symmetric"), "the mode 'symmetric'"),
    (case("Resize", _IMAGE, None, known([1, 1, 0.5, 2], np.float32), mode="linear", antialias=1), "antialiasing"),
    (case("Resize", _IMAGE, None, known([1, 1, 2, 2], np.float32), mode="lanczos"), "the mode 'lanczos'"),
    (case("Resize", _IMAGE, None, None, known([1, 2, 3, 3]), keep_aspect_ratio_policy="not_larger"), "a policy"),
    (
        case("Resize", _IMAGE, known([0] * 8, np.float32), None, known([1, 2, 3, 3]),
             coordinate_transformation_mode="tf_crop_and_resize"),
        "the coordinate transformation tf_crop_and_resize",
    ),
]  # fmt: skip
OPS: list[Case] = [
    case("STFT", normal(1, 8, 1), known(np.array(2))),
    case("Gelu", normal(3), domain="com.microsoft"),
    case("LutToDense", ints(0, 2, 2, 3), normal(1, 2)),  # the hub's function is of its own domain
    case("Conv", normal(3), domain="kogata"),
]


def refused(model: onnx.ModelProto | ir.Model) -> tuple[Diagnostic, ...]:
    graph = model if isinstance(model, ir.Model) else ir.serde.deserialize_model(model)
    with pytest.raises(UnsupportedError) as caught:
        TorchGraph(graph)
    return caught.value.diagnostics


def test_every_form_and_op_without_a_rule_is_named_at_once() -> None:
    fine = [case("Relu", normal(3)), case("Attention", *_QKV, outputs=3)]
    cases = [*fine, *[item for item, _ in FORMS], *OPS]
    problems = {problem.where: problem for problem in refused(graph_of(cases)[0])}
    assert set(problems) == {f"c{i}" for i in range(len(fine), len(cases))}
    for i, (item, reason) in enumerate(FORMS, len(fine)):
        message = problems[f"c{i}"].message
        assert f"no rule for {reason}" in message
        assert message.endswith(f"in ai.onnx::{item.op}")
    for i, item in enumerate(OPS, len(fine) + len(FORMS)):
        domain = item.attributes.get("domain", "ai.onnx")
        assert problems[f"c{i}"].message == f"calibration has no rule for the op {domain}::{item.op}"
    assert {problem.code for problem in problems.values()} == {"calibration.op"}
    assert all("--calibrate none" in problem.hint for problem in problems.values())


def test_a_matrix_that_is_a_kernel_with_unknown_padding_is_refused_as_others_are() -> None:
    constants = {"w": normal(2, 3), "shape": np.array([2, 3, 1])}
    text = """g (float[1, 3, 5] x) => (float[1, 2, 5] y) {
        kernel = Reshape(w, shape)
        y = Conv<auto_pad = "SAME">(x, kernel)
    }"""
    assert "auto_pad 'SAME'" in refused(parse(text, constants, 23))[0].message


@pytest.mark.parametrize(
    "array", [np.uint64([1, 2]), np.complex64([1, 2]), np.array(["a", "b"], object), _float8(2)], ids=lambda a: a.dtype
)
def test_tensors_that_torch_does_not_have_are_named_beside_the_nodes(array: Any) -> None:
    model = parse(
        """g (float[2] x) => (float[2] y) {
        cast = Cast<to = 1>(table)
        z = STFT(x)
        y = Add(cast, z)
    }""",
        {"table": array},
        23,
    )
    model.graph.node(1).name = "odd"
    assert [(problem.code, problem.where) for problem in refused(model)] == [
        ("calibration.dtype", "table"),
        ("calibration.op", "odd"),
    ]


def test_an_older_opset_is_refused() -> None:
    text = "g (float[2] x) => (float[2] y) { y = Relu(x) }"
    (problem,) = refused(parse(text, opset=17))
    assert problem.code == "calibration.opset"
    assert "opset 18 and newer; this graph has opset 17" in problem.message
    assert TorchGraph(parse(text, opset=18)).outputs == ("y",)


def test_uses_are_refused_as_running_is() -> None:
    with pytest.raises(UnsupportedError):
        TorchGraph(parse("g (float[2] x) => (float[2] y) { y = STFT(x) }", opset=23))


def test_what_no_output_needs_may_be_anything() -> None:
    """Outputs that nobody reads, and nodes that only such outputs need."""
    model = parse(
        """g (float[1, 2, 6] x) => (float[1, 2, 5] y) {
        y, places = MaxPool<kernel_shape = [2]>(x)
        odd = STFT(x)
    }""",
        opset=23,
    )
    x = bools(1, 2, 6).astype(np.float32)
    result = TorchGraph(model).run({"x": x})["y"]
    np.testing.assert_array_equal(result, np.maximum(x[..., :-1], x[..., 1:]))


def test_antialiasing_that_only_the_sizes_tell_is_refused_while_it_runs() -> None:
    model, feeds = model_of(case("Resize", _IMAGE, None, None, known([1, 2, 3, 6]), mode="linear", antialias=1))
    with pytest.raises(UnsupportedError, match="antialiasing") as caught:
        in_torch(model, feeds)
    assert caught.value.diagnostics[0].where == "c0"
