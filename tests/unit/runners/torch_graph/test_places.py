"""Shapes, places and axes of any kind, drawn by hypothesis, against numpy (Slice: onnxruntime). All is moved, nothing
computed, so that results are equal to the bit.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from support.coreml_cases import Known, known
from support.one_node import in_torch, model_of
from support.torch_cases import HIGH, LOW, case

shapes = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple)
full = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
thorough = settings(max_examples=50, deadline=None)


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    """Every element another number, so that none can stand in for another."""
    return np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)


def computed(op: str, *operands: np.ndarray | Known | None, **attributes: Any) -> np.ndarray:
    return in_torch(*model_of(case(op, *operands, **attributes)))["c0_0"].numpy()


@cache
def slicer(rank: int) -> onnxruntime.InferenceSession:
    """Slice in onnxruntime for any tensor of this rank."""
    names = ["x", "starts", "ends", "axes", "steps"]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * rank)]
    inputs += [helper.make_tensor_value_info(name, TensorProto.INT64, [None]) for name in names[1:]]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Slice", names, ["y"])], "slice", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


bounds = st.integers(-7, 7) | st.sampled_from([LOW, HIGH, -(2**31), 2**31 - 1])


@settings(max_examples=150, deadline=None)
@given(shapes, st.data())
def test_slices(shape: tuple[int, ...], data: st.DataObject) -> None:
    rank = len(shape)
    along = data.draw(st.lists(st.integers(0, rank - 1), min_size=1, max_size=rank, unique=True))
    axes = [axis - rank * data.draw(st.booleans()) for axis in along]
    steps = [data.draw(st.sampled_from([1, 2, 3, -1, -2, -5])) for _ in along]
    starts = [data.draw(bounds) for _ in along]
    # backwards to "the end" is nothing by the definition, and all the way in onnxruntime: nobody means it
    ends = [data.draw(bounds if step > 0 else bounds.filter(lambda end: end < 2**31 - 1)) for step in steps]
    parts = [np.array(values, np.int64) for values in (starts, ends, axes, steps)]
    names = ("starts", "ends", "axes", "steps")
    expected = slicer(rank).run(None, {"x": numbered(shape), **dict(zip(names, parts, strict=True))})[0]
    result = computed("Slice", numbered(shape), *[Known(part) for part in parts])
    np.testing.assert_array_equal(result, expected)
    assert result.shape == expected.shape


@thorough
@given(shapes, st.data())
def test_reshapes(shape: tuple[int, ...], data: st.DataObject) -> None:
    """Neighbours joined and ones put between, then spelled with 0 for "as it is" and -1 for "the rest"."""
    sizes: list[int] = []
    for size in shape:
        if sizes and data.draw(st.booleans()):
            sizes[-1] *= size
        else:
            sizes += [1] * data.draw(st.integers(0, 1)) + [size]
    zero_is_zero = data.draw(st.booleans())
    spelled = list(sizes)
    if not zero_is_zero:
        spelled = [
            0 if i < len(shape) and shape[i] == size and data.draw(st.booleans()) else size
            for i, size in enumerate(sizes)
        ]
        if any(size == 0 and not (i < len(shape) and shape[i] == 0) for i, size in enumerate(sizes)):
            zero_is_zero, spelled = True, list(sizes)  # a size of zero elsewhere can be said in no other way
    if 0 not in sizes:
        places = [i for i, size in enumerate(spelled) if size > 0]
        if places and data.draw(st.booleans()):
            spelled[data.draw(st.sampled_from(places))] = -1
    result = computed("Reshape", numbered(shape), known(spelled), allowzero=int(zero_is_zero))
    np.testing.assert_array_equal(result, numbered(shape).reshape(sizes))
    assert result.shape == tuple(sizes)


@thorough
@given(full, st.data())
def test_gathers(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    at = st.integers(-shape[axis], shape[axis] - 1)
    wanted = data.draw(st.lists(st.integers(0, 3), max_size=2).map(tuple))
    places = np.array(data.draw(st.lists(at, min_size=int(np.prod(wanted)), max_size=int(np.prod(wanted)))), np.int64)
    places = places.reshape(wanted)
    expected = np.take(numbered(shape), places, axis)
    for operand in (places, Known(places)):
        result = computed("Gather", numbered(shape), operand, axis=axis)
        np.testing.assert_array_equal(result, expected)
        assert result.shape == expected.shape


@thorough
@given(full, st.data())
def test_elements_are_gathered_and_scattered(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    count = data.draw(st.integers(1, shape[axis]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    places = rng.random(shape).argsort(axis).take(range(count), axis)  # each once: the order doesn't matter
    places = places - shape[axis] * rng.integers(0, 2, places.shape)
    x = numbered(shape)
    np.testing.assert_array_equal(computed("GatherElements", x, places, axis=axis), np.take_along_axis(x, places, axis))
    updates = -numbered(places.shape) - 1
    expected = x.copy()
    np.put_along_axis(expected, places, updates, axis)
    np.testing.assert_array_equal(computed("ScatterElements", x, places, updates, axis=axis), expected)


@thorough
@given(full, st.data())
def test_points_are_gathered_and_scattered(shape: tuple[int, ...], data: st.DataObject) -> None:
    depth = data.draw(st.integers(1, len(shape)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    count = data.draw(st.integers(1, int(np.prod(shape[:depth]))))
    flat = rng.permutation(int(np.prod(shape[:depth])))[:count]
    points = np.stack(np.unravel_index(flat, shape[:depth]), -1)
    x = numbered(shape)
    at = tuple(points.T)
    signed = points - np.array(shape[:depth]) * rng.integers(0, 2, points.shape)
    np.testing.assert_array_equal(computed("GatherND", x, signed), x[at])
    updates = -numbered(x[at].shape) - 1
    expected = x.copy()
    expected[at] = updates
    np.testing.assert_array_equal(computed("ScatterND", x, signed, updates), expected)


@thorough
@given(shapes, st.data())
def test_expansions(shape: tuple[int, ...], data: st.DataObject) -> None:
    """Sizes of the result, each of which the node may spell as 1 where the tensor has it already."""
    result = tuple(data.draw(st.integers(0, 3)) if size == 1 else size for size in shape)
    front = tuple(data.draw(st.lists(st.integers(0, 3), max_size=2)))
    spelled = [1 if size == old and data.draw(st.booleans()) else size for size, old in zip(result, shape, strict=True)]
    if not front:  # leading ones need not be spelled at all
        while len(spelled) > 1 and spelled[0] == 1 and data.draw(st.booleans()):
            spelled = spelled[1:]
    expected = np.broadcast_to(numbered(shape), front + result)
    found = computed("Expand", numbered(shape), known([*front, *spelled]))
    np.testing.assert_array_equal(found, expected)
    assert found.shape == expected.shape


@thorough
@given(full, st.sampled_from(["constant", "edge", "reflect", "wrap"]), st.data())
def test_padding(shape: tuple[int, ...], mode: str, data: st.DataObject) -> None:
    """Up to twice as wide as the tensor and more, on some of its axes."""
    along = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=len(shape), unique=True))
    widths = {axis: (data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9))) for axis in along}
    expected = np.pad(numbered(shape), [widths.get(axis, (0, 0)) for axis in range(len(shape))], mode)
    spelled = [widths[axis][side] for side in (0, 1) for axis in along]
    axes = [axis - len(shape) * data.draw(st.booleans()) for axis in along]
    found = computed("Pad", numbered(shape), known(spelled), None, known(axes), mode=mode)
    np.testing.assert_array_equal(found, expected)


@thorough
@given(full, st.sampled_from(["Max", "Min", "Sum", "Prod"]), st.booleans(), st.data())
def test_reductions(shape: tuple[int, ...], kind: str, keep: bool, data: st.DataObject) -> None:
    """Of integers, which are exact in any order."""
    along = data.draw(st.lists(st.integers(0, len(shape) - 1), max_size=len(shape), unique=True))
    axes = [axis - len(shape) * data.draw(st.booleans()) for axis in along]
    x = np.random.default_rng(0).integers(-3, 4, shape)
    expected = getattr(np, kind.lower())(x, tuple(along) or None, keepdims=keep)
    np.testing.assert_array_equal(computed(f"Reduce{kind}", x, known(axes), keepdims=int(keep)), expected)


@thorough
@given(full, st.integers(1, 5), st.data())
def test_splits_and_joins(shape: tuple[int, ...], count: int, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, shape[axis]), min_size=count - 1, max_size=count - 1)))
    parts = np.split(numbered(shape), cuts, axis)
    sizes = known([part.shape[axis] for part in parts])
    model, feeds = model_of(case("Split", numbered(shape), sizes, outputs=count, axis=axis))
    for found, part in zip(in_torch(model, feeds).values(), parts, strict=True):
        np.testing.assert_array_equal(found.numpy(), part)
    np.testing.assert_array_equal(computed("Concat", *parts, axis=axis), numbered(shape))
