"""Simplifying: the same computation with fixed shapes, by onnxruntime before and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graphs import Arrays, check_simplified, kinds, normal, parse, run, shape

from exporter.errors import InputError, UnsupportedError
from exporter.graph.passes.simplify import simplify

X = {"x": normal(2, 3, 4)}


def test_arithmetic_on_shapes_is_folded() -> None:
    text = """g (float[b, s, d] x) => (float[b, h, s, e] y) {
        size = Shape(x)
        batch = Gather(size, zero)
        length = Gather(size, one)
        batches = Unsqueeze(batch, first)
        lengths = Unsqueeze(length, first)
        half = Div(two, one)
        halves = Unsqueeze(half, first)
        target = Concat<axis = 0>(batches, lengths, halves, rest)
        split = Reshape(x, target)
        y = Transpose<perm = [0, 2, 1, 3]>(split)
    }"""
    numbers = {"zero": np.array(0), "one": np.array(1), "two": np.array(2), "first": shape(0), "rest": shape(-1)}
    fixed = check_simplified(parse(text, numbers), X)
    assert kinds(fixed) == ["Reshape", "Transpose"]
    assert list(fixed.graph.outputs[0].shape or ()) == [2, 2, 3, 2]


def test_masks_and_positions_are_constants() -> None:
    """A causal mask as exporters write it: ranges, comparisons and -inf, of a length that comes from the input."""
    text = """g (float[b, s, s2] x) => (float[b, s, s2] y) {
        size = Shape<start = 1, end = 2>(x)
        length = Squeeze(size)
        row = Range(zero, length, one)
        column = Unsqueeze(row, last)
        seen = LessOrEqual(row, column)
        shapes = Concat<axis = 0>(size, size)
        zeros = ConstantOfShape(shapes)
        mask = Where(seen, zeros, low)
        y = Add(x, mask)
    }"""
    numbers = {"zero": np.array(0), "one": np.array(1), "last": shape(1), "low": np.array(-np.inf, np.float32)}
    fixed = check_simplified(parse(text, numbers), {"x": normal(2, 5, 5)})
    assert kinds(fixed) == ["Add"]


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=3, max_size=3),
    start=st.integers(-6, 6),
    end=st.integers(-6, 6),
    axis=st.integers(-3, 2),
)
def test_slices_flattened_by_their_own_shape(sizes: list[int], start: int, end: int, axis: int) -> None:
    """Any slice, empty ones too: [-1] × [product of the rest], computed from the shape of the slice."""
    text = """g (float[a, b, c] x) => (float[m, n] y) {
        part = Slice(x, start, end, axis)
        size = Shape(part)
        first = Slice(size, zero, one, zero)
        others = Slice(size, one, many, zero)
        product = ReduceProd<axes = [0], keepdims = 1>(others)
        target = Concat<axis = 0>(first, product)
        y = Reshape<allowzero = 1>(part, target)
    }"""
    numbers = {"start": shape(start), "end": shape(end), "axis": shape(axis), "zero": shape(0), "one": shape(1)}
    fixed = check_simplified(parse(text, {**numbers, "many": shape(9)}), {"x": normal(*sizes)})
    assert set(kinds(fixed)) <= {"Slice", "Reshape", "Identity"}


def test_nodes_that_change_nothing_go() -> None:
    text = """g (float[b, s, d] x) => (float[b, s, d] y) {
        a = Identity(x)
        b0 = Cast<to = 1>(a)
        c = Dropout(b0)
        d0 = Reshape(c, same)
        e = Transpose<perm = [0, 1, 2]>(d0)
        f = Slice(e, zero, far, zero)
        h = Expand(f, ones)
        i = Unsqueeze(h, zero)
        j = Squeeze(i, zero)
        k = Concat<axis = 1>(j)
        y = Relu(k)
    }"""
    numbers = {"same": shape(0, 0, -1), "zero": shape(0), "far": shape(2**62), "ones": shape(1, 1, 1)}
    assert kinds(check_simplified(parse(text, numbers), X)) == ["Relu"]


def test_graph_outputs_keep_their_names_whatever_they_are() -> None:
    """An input, a constant, one value twice, and one behind nodes that go."""
    text = """g (float[b, s, d] x) => (float[b, s, d] same, int64[n] size, float[b, s, d] y, float[b, s, d] z) {
        same = Identity(x)
        size = Shape(x)
        r = Relu(x)
        y = Identity(r)
        z = Dropout(r)
    }"""
    check_simplified(parse(text), X)


def test_a_branch_whose_condition_is_known_is_taken() -> None:
    text = """g (float[b, s, d] x) => (float[b, s, d] y) {
        size = Shape<start = 1, end = 2>(x)
        three = Equal(size, wanted)
        yes = Squeeze(three)
        inner = If(yes) <
            then_branch = t () => (float[b, s, d] out) { scale = Constant<value = float {2}>() out = Mul(x, scale) },
            else_branch = e () => (float[b, s, d] out) { out = Neg(x) }
        >
        y = Relu(inner)
    }"""
    for wanted, kind in ((3, "Mul"), (4, "Neg")):
        fixed = check_simplified(parse(text, {"wanted": shape(wanted)}), X)
        assert kinds(fixed) == [kind, "Relu"]


class UnreadError(Exception):
    """A tensor was read that nobody needed."""


def unread(name: str, sizes: list[int]) -> ir.Value:
    def read() -> ir.TensorProtocol:
        raise UnreadError(name)

    tensor = ir.LazyTensor(read, dtype=ir.DataType.FLOAT, shape=ir.Shape(sizes), name=name)
    return ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(sizes), const_value=tensor)


def test_weights_are_neither_read_nor_copied() -> None:
    text = """g (float[b, s, 4] x, float[4, 2000] w) => (float[b, s, 2000] y) {
        turned = Transpose<perm = [1, 0]>(w)
        back = Transpose<perm = [1, 0]>(turned)
        y = MatMul(x, back)
    }"""
    model = parse(text)
    weight = unread("w", [4, 2000])
    model.graph.inputs[1].replace_all_uses_with(weight)
    model.graph.inputs.pop()
    model.graph.register_initializer(weight)
    fixed = simplify(model, {"x": (2, 3, 4)})
    assert fixed.graph.initializers["w"].const_value is weight.const_value
    assert kinds(fixed) == ["Transpose", "Transpose", "MatMul"]
    assert kinds(model) == kinds(fixed)  # the given model is untouched
    assert model.graph.inputs[0].shape is not None
    assert model.graph.inputs[0].shape[0] == ir.SymbolicDim("b")


def test_what_is_computed_from_large_weights_is_computed_when_it_is_read() -> None:
    """A weight norm: the direction is divided by its length. It takes the place of the direction, and of its memory."""
    text = """g (float[b, c, n] x) => (float[b, m, k] y) {
        length = ReduceL2<axes = [1, 2], keepdims = 1>(v)
        unit = Div(v, length)
        w = Mul(unit, g0)
        y = Conv(x, w)
    }"""
    v, g0 = normal(2100, 64, 33), normal(2100, 1, 1, seed=1)
    model = parse(text, {"v": v, "g0": g0})
    fixed = simplify(model, {"x": (1, 64, 40)})
    assert kinds(fixed) == ["Conv"]
    (weight,) = fixed.graph.initializers.values()
    assert isinstance(weight.const_value, ir.LazyTensor)
    expected = v / np.sqrt((v.astype(np.float64) ** 2).sum((1, 2), keepdims=True)) * g0
    np.testing.assert_allclose(weight.const_value.numpy(), expected, rtol=2e-6)


def test_tables_are_not_blown_up() -> None:
    """A relative position bias stays a lookup: laid out it would take many times its table."""
    text = """g (float[b, 8, 300, 300] x) => (float[b, 8, 300, 300] y) {
        rows = Gather(table, places)
        bias = Transpose<perm = [2, 0, 1]>(rows)
        y = Add(x, bias)
    }"""
    places = np.random.default_rng(0).integers(0, 599, (300, 300))
    model = parse(text, {"table": normal(599, 8), "places": places})
    assert kinds(check_simplified(model, {"x": normal(1, 8, 300, 300)})) == ["Gather", "Transpose", "Add"]


def test_small_constants_from_another_file(tmp_path: Path) -> None:
    text = "g (float[b, s, d] x) => (float[m, n] y) { y = Reshape(x, target) }"
    model = parse(text, {"target": shape(6, 4)})
    ir.save(model, tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    loaded = ir.load(tmp_path / "m.onnx")
    assert isinstance(loaded.graph.initializers["target"].const_value, ir.ExternalTensor)
    fixed = simplify(loaded, {"x": (2, 3, 4)})
    assert run(fixed, X)[0].shape == (6, 4)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"x": (2, 3, 4), "mask": (2, 3), "z": (1,)}, "no input 'z'"),
        ({"x": (2, 3, 4)}, r"\[b, s\] is open"),
        ({"x": (2, 3, 4), "mask": (2, 3, 1)}, r"\[2, 3, 1\] doesn't fit the model's, \[b, s\]"),
        ({"x": (2, 3, 5), "mask": (2, 3)}, r"\[2, 3, 5\] doesn't fit"),
        ({"x": (2, 3, 4), "mask": (2, 5)}, "'s' is 5, but 3 in 'x'"),
        ({"x": (0, 3, 4), "mask": (0, 3)}, "only sizes above 0"),
    ],
)
def test_shapes_that_make_no_sense(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    text = "g (float[b, s, 4] x, float[b, s] mask) => (float[b, s, 4] y) { m = Unsqueeze(mask, last) y = Mul(x, m) }"
    with pytest.raises(InputError, match=message):
        simplify(parse(text, {"last": shape(-1)}), shapes)


def test_sizes_that_the_graph_cannot_take() -> None:
    text = "g (float[b, c] x) => (float[b, n] y) { y = MatMul(x, w) }"
    with pytest.raises(InputError) as error:
        simplify(parse(text, {"w": normal(8, 3)}), {"x": (1, 7)})
    assert error.value.diagnostics[0].where == "y"


def test_an_opset_that_is_too_old() -> None:
    with pytest.raises(UnsupportedError, match="opset 6"):
        simplify(parse("g (float[2] x) => (float[2] y) { y = Relu(x) }", opset=6), {})


def test_functions_are_inlined_but_for_our_own() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
    g (float[b, d] x) => (float[b, d] y) { y = local.twice(x) }
    <opset_import: ["" : 17], domain: "local"> twice (a) => (b) { b = Add(a, a) }"""
    model = ir.from_onnx_text(text)
    feeds: Arrays = {"x": normal(2, 3)}
    assert kinds(check_simplified(model, feeds)) == ["Add"]
