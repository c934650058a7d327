"""Graph programs: ports, palettized weights, masks in float16, attention, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from support.graphs import normal, parse, shape
from support.op_graphs import as_hub, run_coreml, run_onnx

from exporter.errors import InputError, UnsupportedError
from exporter.graph.model import GraphInput, GraphSpec, Hub, Weight
from exporter.graph.palette import PALETTE_BITS, Palette
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.graph.passes.upgrade_opset import upgrade_opset
from exporter.lower.coreml import CoreMLOptions, lower_coreml, unsupported_nodes
from exporter.runners.mil import load_mlpackage


def upgraded(model: ir.Model) -> ir.Model:
    upgrade_opset(model)
    return model


def test_ports_of_every_type(tmp_path: Path) -> None:
    """Odd names, truth values, scalars, an input that is an output, one value under two names, constants."""
    text = """g (float[2, 3] "x.1", bool[3] keep, int64 k, float scale) =>
        (float[2, 3] "1/y", bool[3] off, int64 l, float[2, 3] same, float[2, 3] z, int64[1] size) {
        a = Mul("x.1", scale)
        "1/y" = Where(keep, a, "x.1")
        off = Not(keep)
        l = Add(k, k)
        same = Identity("x.1")
        z = Identity("1/y")
        size = Shape<start = 1>("x.1")
    }"""
    text = text.replace('"x.1"', "x_1").replace('"1/y"', "y")
    model = parse(text)
    rename = {"x_1": "x.1", "y": "1/y"}
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.name = rename.get(str(value.name), value.name)
    feeds = {
        "x.1": normal(2, 3).astype(np.float16).astype(np.float32),
        "keep": np.array([True, False, True]),
        "k": np.array(21),
        "scale": np.array(0.5, np.float32),
    }
    hub = as_hub(upgraded(model))
    ours, expected = run_coreml(hub, feeds, tmp_path / "m.mlpackage"), run_onnx(hub.model, feeds)
    for name, value in expected.items():
        np.testing.assert_array_equal(ours[name].reshape(value.shape), value.astype(ours[name].dtype))
    loaded = load_mlpackage(tmp_path / "m.mlpackage")
    assert [(f.name, tuple(f.shape)) for f in loaded.inputs] == [
        ("x_1", (2, 3)), ("keep", (3,)), ("k", (1,)), ("scale", (1,))]  # fmt: skip
    assert [f.name for f in loaded.outputs] == ["_1_y", "off", "l", "same", "z", "size"]


def test_shapes_come_from_the_spec(tmp_path: Path) -> None:
    model = upgraded(parse("g (float[b, n] x) => (float[b, n] y) { y = Softmax(x) }"))
    spec = GraphSpec("other", (GraphInput("x", ir.DataType.FLOAT, (2, 5), "numbers"),), ("y",))
    lower_coreml(Hub(model, "onnx", spec, ()), tmp_path / "m.mlpackage", CoreMLOptions())
    assert tuple(load_mlpackage(tmp_path / "m.mlpackage").inputs[0].shape) == (2, 5)
    with pytest.raises(InputError, match="is open, and no sizes"):
        lower_coreml(Hub(model, "onnx", GraphSpec("other", (), ("y",)), ()), tmp_path / "n.mlpackage", CoreMLOptions())
    assert not (tmp_path / "n.mlpackage").exists()


def palette(shape: tuple[int, int], bits: int, group_size: int, seed: int) -> Palette:
    rng, (rows, columns) = np.random.default_rng(seed), shape
    indices = rng.integers(0, 2**bits, (rows, columns)).astype(np.uint8)
    lut = np.sort(rng.standard_normal((-(-rows // group_size), 2**bits)) * 0.2, axis=1).astype(np.float16)
    return Palette.of(indices, lut, bits, group_size)


KERNELS = {  # a network whose every weight is a matrix [out, in], as the importer exposes them
    "embed": (50, 24), "conv": (20, 24 * 3), "conv2d": (12, 4 * 3 * 3), "turned": (16, 12), "gemm": (10, 16)
}  # fmt: skip
NETWORK = """g (int64[1, 16] ids) => (float[1, 10] y) {
    rows = Gather(embed, ids)
    x = Transpose<perm = [0, 2, 1]>(rows)
    kernel = Reshape(conv, conv_shape)
    a = Conv<pads = [1, 1]>(x, kernel)
    b = Reshape(a, image)
    kernel2 = Reshape(conv2d, conv2d_shape)
    c = Conv<pads = [1, 1, 1, 1]>(b, kernel2)
    d = ReduceMean<keepdims = 0>(c, places)
    r = Relu(d)
    t = Transpose<perm = [1, 0]>(turned)
    e = MatMul(r, t)
    f = Tanh(e)
    y = Gemm<transB = 1>(f, gemm, bias)
}"""


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("bits", PALETTE_BITS)
def test_palettized_weights(bits: int, dtype: type, tmp_path: Path) -> None:
    """Embedding, 1-D and 2-D kernels and linear layers; groups of 8 rows, the last of which is ragged for most.

    The palettized graph in onnxruntime decodes the same numbers.
    """
    weights = {name: normal(*sizes, seed=i) for i, (name, sizes) in enumerate(KERNELS.items())}
    constants = {
        **{"conv_shape": shape(20, 24, 3), "image": shape(1, 4, 10, 8), "conv2d_shape": shape(12, 4, 3, 3)},
        **{"places": shape(2, 3), "bias": normal(10, seed=9).astype(np.float16).astype(np.float32)},
    }
    hub = as_hub(parse(NETWORK, {**weights, **constants}, opset=23))
    if dtype == np.float16:
        store_as_half(hub.model)
    hub = replace(hub, weights=tuple(Weight(name, sizes, ("linear",)) for name, sizes in KERNELS.items()))
    palettes = {name: palette(sizes, bits, 8, i) for i, (name, sizes) in enumerate(KERNELS.items())}
    compressed = apply_palettes(hub, palettes)
    feeds = {"ids": np.random.default_rng(1).integers(0, 50, (1, 16))}
    expected = run_onnx(compressed.model, feeds)["y"]
    exact = run_coreml(compressed, feeds, tmp_path / "m.mlpackage", rounding=False)["y"]
    np.testing.assert_allclose(exact, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    operations = [op.kind for op in load_mlpackage(tmp_path / "m.mlpackage").function.operations]
    assert operations.count("constexpr_lut_to_dense") == len(KERNELS)
    assert "reshape" not in operations[: operations.index("gather")]  # no weight is reshaped when the program runs
    assert operations.count("transpose") == 1
    assert not {"cast"} & set(operations)


def store_as_half(model: ir.Model) -> None:
    """The weights as float16, cast to float32 in the graph, as importers write such files."""
    for name in KERNELS:
        value = model.graph.initializers[name]
        assert value.const_value is not None
        narrow = ir.tensor(value.const_value.numpy().astype(np.float16), name=name)
        users = list(value.uses())
        value.const_value, value.type = narrow, ir.TensorType(ir.DataType.FLOAT16)
        wide = ir.node("Cast", [value], attributes={"to": int(ir.DataType.FLOAT)})
        wide.name = wide.outputs[0].name = f"{name}/float"
        model.graph.insert_before(model.graph[0], wide)
        for use in users:
            use.node.replace_input_with(use.idx, wide.outputs[0])


def test_masks_stay_within_float16(tmp_path: Path) -> None:
    """Padding and causality, each float32's lowest where it hides, added: rows never become NaN."""
    text = """g (float[1, 2, 5, 5] scores, int64[1, 5] tokens) => (float[1, 2, 5, 5] y) {
        hidden = Cast<to = 1>(tokens)
        open = Sub(one, hidden)
        padding = Mul(open, lowest)
        wide = Unsqueeze(padding, axes)
        mask = Add(causal, wide)
        masked = Add(scores, mask)
        y = Softmax<axis = -1>(masked)
    }"""
    low = np.float32(np.finfo(np.float32).min)
    causal = np.where(np.tril(np.ones((5, 5), bool)), np.float32(0), low)[None, None]
    constants = {"one": np.array(1, np.float32), "lowest": np.array(low), "axes": shape(1, 2), "causal": causal}
    hub = as_hub(upgraded(parse(text, constants)))
    feeds = {"scores": normal(1, 2, 5, 5), "tokens": np.array([[1, 1, 1, 0, 0]])}
    seen: dict[str, float] = {}
    run_coreml(hub, feeds, tmp_path / "m.mlpackage")
    model = load_mlpackage(tmp_path / "m.mlpackage")
    given_ = {"scores": feeds["scores"].astype(np.float16), "tokens": feeds["tokens"].astype(np.int32)}
    ours = model.predict(given_, observe=lambda name, t: seen.update({name: float(t.abs().max())}))["y"]
    np.testing.assert_allclose(ours, run_onnx(hub.model, feeds)["y"], atol=2e-3)
    # the plain sum of the masks goes beyond float16 for a moment, which the maximum behind it takes back
    assert not {name for name, most in seen.items() if most > 65504}


def test_a_bias_folded_into_a_mask(tmp_path: Path) -> None:
    """T5's decoder: a constant that holds small numbers and float32's lowest at once."""
    table = normal(4, 4, seed=3).astype(np.float16).astype(np.float32)
    mask = np.where(np.tril(np.ones((4, 4), bool)), table, np.finfo(np.float32).min).astype(np.float32)
    text = "g (float[4, 4] x) => (float[4, 4] y) { m = Add(x, mask) y = Softmax(m) }"
    hub = as_hub(upgraded(parse(text, {"mask": mask})))
    feeds = {"x": normal(4, 4)}
    ours = run_coreml(hub, feeds, tmp_path / "m.mlpackage")["y"]
    np.testing.assert_allclose(ours, run_onnx(hub.model, feeds)["y"], atol=2e-3)
    damaged = replace(hub, stored=frozenset({"mask"}))  # in a weight of the checkpoint it is damage
    with pytest.raises(UnsupportedError, match="range of ±65504"):
        lower_coreml(damaged, tmp_path / "n.mlpackage", CoreMLOptions())


def test_tiny_epsilons_do_not_vanish(tmp_path: Path) -> None:
    """x / (‖x‖ + 1e-12) of zeros is 0, not NaN; so is a division by a clipped norm."""
    text = """g (float[2, 3] x) => (float[2, 3] y, float[2, 3] z) {
        n = ReduceL2(x, last) s = Add(n, eps) y = Div(x, s) c = Clip(n, eps) z = Div(x, c)
    }"""
    constants = {"last": shape(-1), "eps": np.array(1e-12, np.float32)}
    hub = as_hub(parse(text, constants, opset=23))
    results = run_coreml(hub, {"x": np.zeros((2, 3), np.float32)}, tmp_path / "m.mlpackage")
    assert all((value == 0).all() for value in results.values())


def test_everything_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    text = """g (float[1, 2, 8, 8] x, float[9] z, int64[1] k) => (float[1, 2, 4, 4] y, float[m, 9] w, float[q] v) {
        y, places = MaxPool<kernel_shape = [2, 2], strides = [2, 2], dilations = [2, 2], pads = [1, 1, 0, 0]>(x)
        n = NonZero(z)
        w = Cast<to = 1>(n)
        v, order = TopK(z, k)
        u = Det(x)
    }"""
    model = upgraded(parse(text))
    model.graph.outputs.extend([next(v for node in model.graph for v in node.outputs if v.name == "u")])
    hub = as_hub(model)
    found = {(d.where, d.message) for d in unsupported_nodes(hub)}
    with pytest.raises(UnsupportedError) as error:
        lower_coreml(hub, tmp_path / "m.mlpackage", CoreMLOptions())
    assert {(d.where, d.message) for d in error.value.diagnostics} == found
    assert not (tmp_path / "m.mlpackage").exists()
    text_of = dict(found)
    assert "dilations" in text_of["y"]
    assert "no rule for the op ai.onnx::NonZero" in text_of["n"]
    assert "input 1 that is computed at run time" in text_of["v"] or "known only at run time" in text_of["v"]
    assert "Det" in text_of["u"]


def test_a_graph_that_can_be_lowered_has_no_problems() -> None:
    hub = as_hub(upgraded(parse("g (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }")))
    assert unsupported_nodes(hub) == ()


ATTENTION = [
    ((1, 4, 5, 8), (1, 4, 6, 8), (1, 4, 6, 7), "", None),
    ((2, 4, 5, 8), (2, 2, 6, 8), (2, 2, 6, 8), "scale = 0.5", None),
    ((1, 4, 6, 8), (1, 4, 6, 8), (1, 4, 6, 8), "is_causal = 1", None),
    ((1, 4, 5, 8), (1, 4, 6, 8), (1, 4, 6, 8), "", np.triu(np.ones((5, 6), bool))),
    ((1, 5, 32), (1, 6, 16), (1, 6, 12), "q_num_heads = 4, kv_num_heads = 2", normal(1, 1, 5, 6, seed=5)),
]


@pytest.mark.parametrize(("q", "k", "v", "attributes", "mask"), ATTENTION)
def test_attention_of_other_graphs(
    q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], attributes: str, mask: np.ndarray | None, tmp_path: Path
) -> None:
    """Attention (opset 23) as newer exporters write it, with and without masks and grouped heads."""
    feeds = {name: normal(*sizes, seed=i) for i, (name, sizes) in enumerate(zip("qkv", (q, k, v), strict=True))}
    if mask is not None:
        feeds["mask"] = mask
    types = {np.dtype(np.float32): "float", np.dtype(bool): "bool"}
    inputs = ", ".join(f"{types[array.dtype]}{list(array.shape)} {name}" for name, array in feeds.items())
    text = (
        f"g ({inputs}) => (float[m] y) {{ y = Attention{f'<{attributes}>' if attributes else ''}({', '.join(feeds)}) }}"
    )
    model = parse(text, opset=23)
    model.graph.outputs[0].shape = None
    hub = as_hub(model)
    expected, ours = run_onnx(hub.model, feeds)["y"], run_coreml(hub, feeds, tmp_path / "m.mlpackage")["y"]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=4e-3 * np.abs(expected).max())


def test_attention_with_a_cache_is_refused() -> None:
    text = """g (float[1, 4, 1, 8] q, float[1, 4, 6, 8] p) => (float[1, 4, 1, 8] y) {
        y, present, more = Attention(q, q, q, , p, p)
    }"""
    assert "Attention has no rule for" in unsupported_nodes(as_hub(parse(text, opset=23)))[0].message


@pytest.mark.parametrize("opset", [24, 25])
def test_newer_opsets(opset: int, tmp_path: Path) -> None:
    """Graphs newer than the hub's own stay in their opset; palettes are written in it too."""
    text = """g (float[2, 16] x) => (float[2, 8] y) {
        t = Transpose<perm = [1, 0]>(w) m = MatMul(x, t) y = Swish<alpha = 0.5>(m)
    }"""
    model = parse(text, {"w": normal(8, 16)}, opset=opset)
    model.ir_version = 11
    hub = replace(as_hub(model), weights=(Weight("w", (8, 16), ("linear",)),))
    weight = palette((8, 16), 4, 8, 0)
    ours = run_coreml(apply_palettes(hub, {"w": weight}), {"x": normal(2, 16)}, tmp_path / "m.mlpackage")["y"]
    product = normal(2, 16).astype(np.float64) @ weight.dense().T
    expected = product / (1 + np.exp(-0.5 * product))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=4e-3 * np.abs(expected).max())
