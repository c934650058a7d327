"""A user's own `.onnx` file: what is read, what is refused, and that it still computes the same.

The reference is onnxruntime on the file itself; float32 on both sides, in the same order of additions, so 1e-6 of the
largest value is plenty.
"""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporter.compress import CompressOptions, compress
from exporter.errors import InputError, UnsupportedError
from exporter.graph.model import GRAPH_OPSET, GraphSpec, Hub
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.importers.onnx_file import import_onnx, is_onnx_file, open_onnx
from exporter.pipeline.parts import candidates
from exporter.progress import NoProgress

RNG = np.random.default_rng(7)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def save(path: Path, text: str, constants: dict[str, np.ndarray], *, opset: int = 18, **settings: object) -> Path:
    """A model of the graph that `text` spells in ONNX's own notation, with `constants` as its initializers."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]> {text}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.save(model, str(path), **settings)
    return path


def run(model: ir.Model | Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    source = str(model) if isinstance(model, Path) else ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, feeds)


def compressed(hub: Hub, bits: int = 8) -> Hub:
    return apply_palettes(hub, compress(candidates(hub), CompressOptions(bits, 16), NoProgress()).palettes)


def same(path: Path, hub: Hub, feeds: dict[str, np.ndarray]) -> None:
    for expected, found in zip(run(path, feeds), run(hub.model, feeds), strict=True):
        assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


MLP = """g (float[N, 64] x) => (float[N, M] y) {
    h = MatMul(x, up)
    r = Relu(h)
    y = Gemm<transB = 1>(r, down, bias)
}"""


def mlp(folder: Path, **settings: object) -> Path:
    constants = {"up": floats(64, 96), "down": floats(40, 96), "bias": floats(40)}
    return save(folder / "mlp.onnx", MLP, constants, **settings)


def test_matrices_are_open_by_output_rows(tmp_path: Path) -> None:
    """A palette's groups are rows `[out, in]`: a MatMul's weight is turned, a Gemm's with transB is not."""
    path = mlp(tmp_path)
    hub, assumed = import_onnx(path, {})
    assert {w.name: w.shape for w in hub.weights} == {"up": (96, 64), "down": (40, 96)}
    assert assumed == ("x [1, 64]",)
    stored = hub.model.graph.initializers["up"].const_value
    original = onnx.load(str(path)).graph.initializer[0]
    np.testing.assert_array_equal(stored.numpy(), numpy_helper.to_array(original).T)
    feeds = {"x": floats(3, 64)}
    same(path, hub, feeds)
    palette = compress(candidates(hub), CompressOptions(1, 16), NoProgress()).palettes["up"]
    for first in range(0, 96, 16):  # one table for 16 output rows: no more than two values in them
        assert len(np.unique(palette.dense()[first : first + 16])) == 2


def test_every_kind_of_matrix_keeps_its_meaning_when_it_is_palettized(tmp_path: Path) -> None:
    """256 values for 16 rows of normal numbers: errors stay below 2 % of the largest output, wrong axes don't."""
    text = """g (float[1, 8, 12, 12] x, int64[1, 5] ids)
            => (float[1, 32, 10, 10] c, float[1, 5, 48] e, float[1, 5, 90] t) {
        c = Conv(x, kernel)
        e0 = Gather(table, ids)
        e = MatMul(e0, square)
        turned = Transpose<perm = [1, 0]>(table)
        t = MatMul(e0, turned)
    }"""
    constants = {"kernel": floats(32, 8, 3, 3), "table": floats(90, 48), "square": floats(48, 48)}
    path = save(tmp_path / "m.onnx", text, constants)
    hub, _ = import_onnx(path, {})
    assert {w.name: (w.shape, w.roles) for w in hub.weights} == {
        "kernel": ((32, 72), ("linear",)),
        "table": ((90, 48), ("embedding", "linear")),
        "square": ((48, 48), ("linear",)),
    }
    feeds = {"x": floats(1, 8, 12, 12), "ids": np.array([[3, 1, 89, 0, 40]])}
    same(path, hub, feeds)
    for expected, found in zip(run(path, feeds), run(compressed(hub).model, feeds), strict=True):
        assert 0 < np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_a_tied_copy_becomes_the_embedding(tmp_path: Path) -> None:
    """torch folds the transposition of a tied head into a second tensor; it is stored once again."""
    table = floats(70, 32)
    text = """g (int64[1, N] ids) => (float[1, N, 70] y) {
        e = Gather(table, ids)
        y = MatMul(e, onnx__MatMul_12)
    }"""
    path = save(tmp_path / "m.onnx", text, {"table": table, "onnx__MatMul_12": np.ascontiguousarray(table.T)})
    hub, _ = import_onnx(path, {"ids": (1, 4)})
    assert [(w.name, w.shape, w.roles) for w in hub.weights] == [("table", (70, 32), ("embedding", "linear"))]
    same(path, hub, {"ids": np.array([[5, 69, 0, 7]])})


def test_half_precision_stays_half_precision(tmp_path: Path) -> None:
    text = "g (float16[2, 64] x) => (float16[2, 32] y) { y = MatMul(x, w) }"
    path = save(tmp_path / "m.onnx", text, {"w": floats(64, 32).astype(np.float16)})
    hub, _ = import_onnx(path, {})
    feeds = {"x": floats(2, 64).astype(np.float16)}
    same(path, hub, feeds)
    (expected,), (found,) = run(path, feeds), run(compressed(hub).model, feeds)
    assert found.dtype == np.float16
    assert np.abs(found.astype(np.float32) - expected).max() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("g (float[1, 32, 8, 8] x) => (float[1, 32, 6, 6] y) { y = Conv<group = 32>(x, w) }", (32, 1, 3, 3)),
        ("g (float[1, 64] x) => (float[1, 64] y, float[64, 64] z) { y = MatMul(x, w) z = Abs(w) }", (64, 64)),
        ("g (float[1, 8] x) => (float[1, 16] y) { y = MatMul(x, w) }", (8, 16)),
    ],
    ids=["depthwise", "used otherwise too", "small"],
)
def test_other_uses_keep_a_matrix_as_it_is(tmp_path: Path, text: str, constants: tuple[int, ...]) -> None:
    path = save(tmp_path / "m.onnx", text, {"w": floats(*constants)})
    hub, _ = import_onnx(path, {})
    assert hub.weights == ()
    assert "w" in hub.stored


def test_an_old_file_is_brought_to_the_hubs_opset(tmp_path: Path) -> None:
    """Opset 11: Softmax flattens, axes are attributes. onnxruntime runs the old file as the reference."""
    text = """g (float[2, 3, 32] x) => (float[2, 3, 32] y) {
        s = Softmax<axis = 1>(x)
        u = Unsqueeze<axes = [0]>(s)
        q = Squeeze<axes = [0]>(u)
        y = MatMul(q, w)
    }"""
    path = save(tmp_path / "m.onnx", text, {"w": floats(32, 32)}, opset=11)
    hub, _ = import_onnx(path, {})
    assert hub.model.graph.opset_imports[""] == GRAPH_OPSET
    same(path, hub, {"x": floats(2, 3, 32)})


def test_branches_of_an_old_file_are_upgraded(tmp_path: Path) -> None:
    """Squeeze took its axes as an attribute until opset 12; ranks inside of a branch are unknown."""
    branches = [
        helper.make_graph(
            [helper.make_node("Unsqueeze", ["x"], ["u"], axes=[0]), helper.make_node(op, ["u"], ["o"])],
            op,
            [],
            [helper.make_tensor_value_info("o", 1, None)],
        )
        for op in ("Softmax", "Neg")
    ]
    node = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    inputs = [helper.make_tensor_value_info("c", TensorProto.BOOL, []), helper.make_tensor_value_info("x", 1, [3, 2])]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", 1, [1, 3, 2])])
    for opset in (11, 18):
        if opset == 18:
            for branch in branches:
                del branch.node[0].attribute[:]
                branch.node[0].input.append("axes")
        constants = [numpy_helper.from_array(np.array([0]), "axes")] if opset == 18 else []
        path = tmp_path / f"{opset}.onnx"
        node = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
        graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", 1, [1, 3, 2])], constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), str(path))
        hub, _ = import_onnx(path, {})
        for chosen in (True, False):
            same(path, hub, {"c": np.array(chosen), "x": floats(3, 2)})


def test_ops_of_other_domains_are_taken_as_they_are(tmp_path: Path) -> None:
    text = "g (float[1, 64] x) => (float[1, 48] y) { h = com.microsoft.FastGelu(x) y = MatMul(h, w) }"
    path = save(tmp_path / "m.onnx", text, {"w": floats(64, 48)})
    hub, _ = import_onnx(path, {})
    assert len(hub.weights) == 1
    same(path, hub, {"x": floats(1, 64)})


def test_what_the_inputs_are(tmp_path: Path) -> None:
    text = """g (int64[batch, sequence] input_ids, int64[batch, sequence] attention_mask, float[N, 3, H, W] picture,
               float[batch, 7] other) => (float[a, b] y) {
        e = Gather(table, input_ids)
        m = Cast<to = 1>(attention_mask)
        r = ReduceMean<keepdims = 0>(picture)
        s = Add(e, r)
        t = ReduceSum<keepdims = 0>(s, axes)
        p = MatMul(other, small)
        q = Add(t, p)
        n = ReduceMean<keepdims = 1>(m)
        y = Mul(q, n)
    }"""
    constants = {"table": floats(50, 24), "axes": np.array([1]), "small": floats(7, 24)}
    path = save(tmp_path / "m.onnx", text, constants)
    hub, assumed = import_onnx(path, {"input_ids": (1, 9)})
    spec = hub.spec
    assert isinstance(spec, GraphSpec)
    assert [(p.name, p.kind, p.shape, p.vocabulary) for p in spec.inputs] == [
        ("input_ids", "ids", (1, 9), 50),
        ("attention_mask", "mask", (1, 9), None),  # the same axes as the input that --shape names
        ("picture", "image", (1, 3, 224, 224), None),
        ("other", "numbers", (1, 7), None),
    ]
    assert assumed == ("picture [1, 3, 224, 224]",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"z": (1, 2)}, "has no input 'z'"),
        ({"x": (1, 63)}, r"--shape gives \[1, 63\], the model has \[N, 64\]"),
        ({"x": (1, 2, 64)}, r"the model has \[N, 64\]"),
        ({"x": (0, 64)}, "has no elements"),
        ({"x": (2**30, 64)}, "elements; at most"),
    ],
)
def test_shapes_that_dont_fit(tmp_path: Path, given: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        import_onnx(mlp(tmp_path), given)


def test_a_size_that_nobody_knows_must_be_given(tmp_path: Path) -> None:
    text = "g (float[1, 4, depth] a, float[1, 4, depth] b) => (float[1, 4, depth] y) { y = Add(a, b) }"
    path = save(tmp_path / "m.onnx", text, {})
    with pytest.raises(InputError) as refused:
        import_onnx(path, {})
    assert [d.where for d in refused.value.diagnostics] == ["a", "b"]
    assert "--shape a=1,…" in refused.value.diagnostics[0].hint
    hub, _ = import_onnx(path, {"a": (1, 4, 6)})
    assert hub.spec.shapes == {"a": (1, 4, 6), "b": (1, 4, 6)}
    with pytest.raises(InputError, match="its axis 'depth' is 7 here and 6 in another input"):
        import_onnx(path, {"a": (1, 4, 6), "b": (1, 4, 7)})


def test_external_data_is_mapped_not_read(tmp_path: Path) -> None:
    """A matrix of 1 GiB in a sparse file: importing it takes next to no memory."""
    path = save(tmp_path / "m.onnx", "g (float[1, 16384] x) => (float[1, 16384] y) { y = MatMul(x, w) }", {})
    model = onnx.load(str(path))
    weight = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[16384, 16384])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="m.onnx.data")
    path.write_bytes(model.SerializeToString())
    with (tmp_path / "m.onnx.data").open("wb") as file:
        file.truncate(2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hub, _ = import_onnx(path, {})
    assert [w.shape for w in hub.weights] == [(16384, 16384)]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 200 * 2**20
    assert sorted(open_onnx(str(path)).source.files) == ["m.onnx", "m.onnx.data"]


def external(folder: Path) -> Path:
    folder.mkdir()
    return mlp(folder, save_as_external_data=True, location="mlp.data", size_threshold=0)


def relocated(path: Path, **entries: str) -> Path:
    model = onnx.load(str(path), load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = entries.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_computes_the_same(tmp_path: Path) -> None:
    path = external(tmp_path / "a")
    same(path, import_onnx(path, {})[0], {"x": floats(2, 64)})


@pytest.mark.parametrize("location", ["../outside.data", "/etc/passwd", "missing.data", "link.data", "pipe", "a/../b"])
def test_external_data_outside_of_the_folder(tmp_path: Path, location: str) -> None:
    path = external(tmp_path / "a")
    (tmp_path / "outside.data").write_bytes(bytes(2**20))
    (tmp_path / "a" / "link.data").symlink_to(tmp_path / "outside.data")
    os.mkfifo(tmp_path / "a" / "pipe")
    relocated(path, location=location)
    for read in (lambda: import_onnx(path, {}), lambda: open_onnx(str(path))):
        with pytest.raises(InputError) as refused:
            read()
        assert refused.value.diagnostics[0].code == "onnx.external-data"


@pytest.mark.parametrize("entries", [{"offset": str(2**40)}, {"length": "12"}, {"offset": "60000"}])
def test_external_data_that_doesnt_fit_its_file(tmp_path: Path, entries: dict[str, str]) -> None:
    path = relocated(external(tmp_path / "a"), **entries)
    with pytest.raises(InputError) as refused:
        import_onnx(path, {})
    assert refused.value.diagnostics[0].code in ("onnx.external-data", "onnx.unreadable")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08", bytes(100), b"\xff" * 1000])
def test_files_that_are_no_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        import_onnx(path, {})
    assert refused.value.diagnostics[0].code.startswith("onnx.")


def test_things_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "folder.onnx").mkdir()
    for name in ("pipe.onnx", "none.onnx"):
        with pytest.raises(InputError):
            open_onnx(str(tmp_path / name))
    assert is_onnx_file("pipe.onnx")
    assert not is_onnx_file(str(tmp_path / "folder.onnx"))  # a checkpoint may be called so
    assert not is_onnx_file("org/model")


def test_a_graph_that_isnt_valid(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "nothing"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 4])],
        [helper.make_tensor_value_info("y", 1, [1, 4])],
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString())
    with pytest.raises(InputError, match="nothing"):
        import_onnx(path, {})


def damaged(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """One or two of the ways in which a file can say something else than it means."""
    rng = np.random.default_rng(seed)
    graph = model.graph
    for _ in range(rng.integers(1, 3)):
        node, tensor = (items[rng.integers(len(items))] for items in (graph.node, graph.initializer))
        port = [*graph.input, *graph.output][rng.integers(len(graph.input) + len(graph.output))]
        number = int(rng.choice([-(2**40), -1, 0, 1, 7, 2**31, 2**40]))
        match rng.integers(8):
            case 0:
                node.op_type = graph.node[rng.integers(len(graph.node))].op_type
            case 1:
                node.input[rng.integers(len(node.input))] = graph.node[rng.integers(len(graph.node))].output[0]
            case 2 if node.attribute:
                node.attribute[0].i = number
            case 3:
                tensor.dims[rng.integers(len(tensor.dims))] = number
            case 4:
                tensor.data_type = int(rng.integers(25))
            case 5:
                model.opset_import[0].version = int(rng.choice([-1, 0, 6, 7, 11, 17, 26, 1000]))
            case 6:
                port.type.tensor_type.shape.dim[0].dim_value = number
            case _:
                port.type.tensor_type.elem_type = int(rng.integers(25))
    return model


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_are_refused_or_taken_but_never_trip(tmp_path: Path, seed: int) -> None:
    from exporter.errors import KogataError
    from exporter.importers.routes import Imported, require_runnable

    text = """g (float[N, 3, 8, 8] x, int64[1, 4] ids) => (float[N, 16] y, float[1, 4, 16] e) {
        c = Conv<kernel_shape = [2, 2], strides = [2, 2]>(x, kernel)
        r = ReduceMean<axes = [2, 3], keepdims = 0>(c)
        s = Softmax<axis = 1>(r)
        y = Gemm<transB = 1>(s, square, bias)
        e0 = Gather(table, ids)
        t = Transpose<perm = [0, 1, 2]>(e0)
        e = MatMul(t, square)
    }"""
    shapes = {"kernel": (16, 3, 2, 2), "square": (16, 16), "bias": (16,), "table": (70, 16)}
    path = save(tmp_path / "m.onnx", text, {name: floats(*shape) for name, shape in shapes.items()}, opset=17)
    path.write_bytes(damaged(onnx.load(str(path)), seed).SerializeToString())
    with contextlib.suppress(KogataError):  # any other exception fails the test
        hub, _ = import_onnx(path, {})
        require_runnable(Imported("onnx", (hub,)))


def test_an_export_of_ours_is_refused(tmp_path: Path) -> None:
    from exporter.lower.onnx import OnnxOptions, lower_onnx

    hub, _ = import_onnx(mlp(tmp_path), {})
    made = lower_onnx(compressed(hub, 4), tmp_path / "out", OnnxOptions("palette", {"kogata.version": "1"}))
    with pytest.raises(UnsupportedError, match="Kogata exported this file"):
        import_onnx(made.path, {})
