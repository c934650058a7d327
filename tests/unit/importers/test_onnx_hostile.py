"""`.onnx` files that break the rules or hardly keep them: recursion, endless loops, axes without names, no shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.graphs import normal

from exporter.errors import InputError
from exporter.graph.model import GraphSpec
from exporter.importers.graph_file import MAX_NODES
from exporter.importers.onnx_file import import_onnx
from exporter.runners import bounded
from exporter.runners.ort import OnnxSession, OnnxSource

FLOAT = TensorProto.FLOAT


def calls(name: str, called: str, times: int) -> onnx.FunctionProto:
    """A function that calls another one several times in a row."""
    nodes = [
        helper.make_node(called, [f"a{i}"], [f"a{i + 1}"], domain="" if called == "Relu" else "own")
        for i in range(times)
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["a0"], [f"a{times}"], nodes, opsets)


def with_functions(path: Path, *functions: onnx.FunctionProto) -> Path:
    ports = [helper.make_tensor_value_info(name, FLOAT, [1, 8]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("A", ["x"], ["y"], domain="own")], "g", ports[:1], ports[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("functions", "chain"),
    [([("A", "A")], "'A' → 'A'"), ([("A", "B"), ("B", "C"), ("C", "B")], "'B' → 'C' → 'B'")],
)
def test_a_function_that_calls_itself_is_refused(functions: list[tuple[str, str]], chain: str, tmp_path: Path) -> None:
    path = with_functions(tmp_path / "m.onnx", *(calls(name, called, 1) for name, called in functions))
    with pytest.raises(InputError, match=f"calls itself \\({chain}\\)"):
        import_onnx(path, {})


def test_calls_that_multiply_are_counted_before_they_are_inlined(tmp_path: Path) -> None:
    chain = "ABCDEFG"
    functions = [calls(name, called, 10) for name, called in zip(chain, [*chain[1:], "Relu"], strict=True)]
    with pytest.raises(InputError, match=f"10,000,000 nodes; at most {MAX_NODES:,}"):
        import_onnx(with_functions(tmp_path / "m.onnx", *functions), {})


def loop(path: Path, *, collect: bool) -> Path:
    """A loop whose condition is always true. collect: it also keeps a result of each step."""
    state = [helper.make_tensor_value_info(name, FLOAT, [1, 8]) for name in ("before", "after", "kept")]
    condition = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("was", "goes")]
    count = helper.make_tensor_value_info("step", TensorProto.INT64, [])
    nodes = [helper.make_node("Neg", ["before"], ["after"]), helper.make_node("Identity", ["was"], ["goes"])]
    nodes += [helper.make_node("Identity", ["after"], ["kept"])] if collect else []
    results = [condition[1], state[1], *([state[2]] if collect else [])]
    body = helper.make_graph(nodes, "body", [count, condition[0], state[0]], results)
    node = helper.make_node("Loop", ["", "on", "x"], ["y", "all"] if collect else ["y"], "turns", body=body)
    ports = [helper.make_tensor_value_info(name, FLOAT, [1, 8]) for name in "xy"]
    constants = [numpy_helper.from_array(np.array(True), "on")]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize("in_memory", [True, False])
def test_an_endless_loop_is_stopped_and_named(in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "LOOP_SECONDS", 0.3)
    path = loop(tmp_path / "m.onnx", collect=False)
    source = OnnxSource(model=import_onnx(path, {})[0].model) if in_memory else OnnxSource(path=path)
    with pytest.raises(InputError, match=r"its loop didn't end within 0\.3 seconds") as caught:
        OnnxSession(source, 1).run({"x": np.ones((1, 8), np.float32)})
    assert caught.value.diagnostics[0].where == "turns"


def test_a_loop_that_collects_results_is_stopped_by_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([0, 0, 10**12, 10**12])
    monkeypatch.setattr(bounded, "_peak_bytes", lambda: next(sizes, 10**12))
    with pytest.raises(InputError, match=r"its loop took more than .* GB of memory"):
        OnnxSession(OnnxSource(path=loop(tmp_path / "m.onnx", collect=True)), 1).run({"x": np.ones((1, 8), np.float32)})


def product(path: Path, x: list[int | str | None], y: list[int | str | None] | None) -> Path:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, x)],
        [helper.make_tensor_value_info("y", FLOAT, y)],
        [numpy_helper.from_array(normal(8, 4), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize("name", ["?", "", "-1", -1, None])
def test_axes_without_a_real_name_are_different_axes(name: int | str | None, tmp_path: Path) -> None:
    path = product(tmp_path / "m.onnx", [name, name, 8], [name, name, 4])
    hub, _ = import_onnx(path, {"x": (2, 3, 8)})
    assert isinstance(hub.spec, GraphSpec)
    assert hub.spec.shapes == {"x": (2, 3, 8)}
    x = normal(2, 3, 8)
    found, expected = (OnnxSession(s, 1).run({"x": x})["y"] for s in (OnnxSource(hub.model), OnnxSource(path=path)))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("x", "y"), [([1, 8], [1, 4]), (["batch", 8], [None, 4])])
def test_an_output_without_a_shape_gets_what_can_be_inferred(
    x: list[int | str | None], y: list[int | None], tmp_path: Path
) -> None:
    hub, _ = import_onnx(product(tmp_path / "m.onnx", x, None), {})
    shape = hub.model.graph.outputs[0].shape
    assert shape is not None
    assert [size if isinstance(size, int) else None for size in shape] == y


def test_outputs_that_are_no_tensors_of_numbers_are_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("SplitToSequence", ["x"], ["parts"])],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [4])],
        [helper.make_tensor_sequence_value_info("parts", FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="the output must be a tensor of numbers"):
        import_onnx(tmp_path / "m.onnx", {})
