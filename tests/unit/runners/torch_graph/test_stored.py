"""Stored tensors as torch tensors: the same numbers in every dtype that a graph can store. References are numpy's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graph_models import random_palette
from support.graphs import parse

from exporter.runners.torch_graph.graph import TorchGraph
from exporter.runners.torch_graph.stored import Stored, from_array, unreadable

CPU = torch.device("cpu")
EXACT = {
    np.bool_: torch.bool, np.int8: torch.int8, np.int16: torch.int16, np.int32: torch.int32, np.int64: torch.int64,
    np.uint8: torch.uint8, np.uint16: torch.int32, np.uint32: torch.int64, np.float16: torch.float16,
    np.float32: torch.float32, np.float64: torch.float64, ml_dtypes.bfloat16: torch.bfloat16,
    ml_dtypes.int4: torch.int8, ml_dtypes.uint4: torch.uint8, ml_dtypes.int2: torch.int8, ml_dtypes.uint2: torch.uint8,
}  # fmt: skip


def extremes(dtype: type) -> np.ndarray:
    """`[2, 2]`: the ends of the dtype's range, and 0 and 1."""
    if dtype is np.bool_:
        return np.array([[False, True], [True, False]])
    whole = np.dtype(dtype).name.lstrip("u").startswith("int")
    limits = ml_dtypes.iinfo(dtype) if whole else ml_dtypes.finfo(dtype)
    return np.array([[limits.min, limits.max], [0, 1]], dtype)


@pytest.mark.parametrize("dtype", EXACT, ids=lambda dtype: np.dtype(dtype).name)
def test_every_dtype_keeps_its_numbers(dtype: type) -> None:
    array = extremes(dtype)
    tensor = from_array(array)
    assert tensor.dtype == EXACT[dtype]
    assert tensor.shape == array.shape
    wide = np.float64 if tensor.is_floating_point() else np.int64
    found = (tensor.double() if tensor.is_floating_point() else tensor.long()).numpy()
    np.testing.assert_array_equal(found, array.astype(wide))
    assert unreadable(ir.tensor(array), "t") is None


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([np.float32, np.float64, np.int32, np.uint16]),
    st.sampled_from("<>"),
    st.tuples(st.sampled_from([1, 2, -1, -2]), st.sampled_from([1, 3, -1])),
    st.booleans(),
)
def test_any_layout_in_memory(dtype: type, order: str, steps: tuple[int, int], turned: bool) -> None:
    """Foreign byte order, negative strides, gaps, columns first, and memory that can't be written to."""
    whole = np.arange(6 * 7).reshape(6, 7).astype(dtype)
    array = whole.astype(np.dtype(dtype).newbyteorder(order))[:: steps[0], :: steps[1]]
    array = array.T if turned else array
    array.flags.writeable = False
    expected = whole[:: steps[0], :: steps[1]]
    np.testing.assert_array_equal(from_array(array).numpy(), expected.T if turned else expected)


def test_floats_come_in_the_graphs_dtype_and_integers_as_they_are() -> None:
    floats = np.array([[1.5, -2.25], [0.1, 3.0]])
    for stored, wanted in (
        (np.float16, torch.float32),
        (np.float32, torch.float64),
        (ml_dtypes.bfloat16, torch.float16),
    ):
        array = floats.astype(stored)
        tensor = Stored(ir.tensor(array), CPU, wanted).read()
        assert tensor.dtype == wanted
        np.testing.assert_array_equal(tensor.double().numpy(), array.astype(np.float64))
    assert Stored(ir.tensor(floats), CPU, torch.float32).read().dtype == torch.float64  # a double stays one
    assert Stored(ir.tensor(floats.astype(np.float32)), CPU, torch.float32).read(torch.bfloat16).dtype == torch.bfloat16
    assert Stored(ir.tensor(np.int32([1])), CPU, torch.bfloat16).read().dtype == torch.int32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_very_low_number_stays_one_and_infinity_infinite(dtype: torch.dtype) -> None:
    """What masks are made of: the lowest float32 is beyond both of these."""
    lowest = np.finfo(np.float32).min
    for value, expected in (
        (lowest, torch.finfo(dtype).min),
        (-lowest, torch.finfo(dtype).max),
        (-np.inf, -np.inf),
        (np.inf, np.inf),
        (-0.5, -0.5),
    ):
        for array in (np.array(value, np.float32), np.array([[value]], np.float32)):
            tensor = Stored(ir.tensor(array), CPU, dtype).read()
            assert tensor.shape == array.shape
            assert tensor.item() == expected


def test_rows_are_those_of_the_ids() -> None:
    array = np.arange(20, dtype=np.float32).reshape(5, 4)
    ids = torch.tensor([[0, -1], [4, 2]], dtype=torch.int32)
    stored = Stored(ir.tensor(array.astype(np.float16)), CPU, torch.float64)
    np.testing.assert_array_equal(stored.rows(ids).numpy(), array[ids.numpy()])
    assert stored.shape == (5, 4)
    palette = random_palette((5, 4), 2, 2, 0)
    decoded = Stored(palette, CPU, torch.float32)
    np.testing.assert_array_equal(decoded.rows(ids).numpy(), palette.dense()[ids.numpy()])
    np.testing.assert_array_equal(decoded.read().numpy(), palette.dense())
    assert decoded.shape == (5, 4)


def test_large_tensors_are_read_anew_and_small_ones_kept() -> None:
    """A graph holds no large table in memory between runs; here 2^20 numbers that are no weight matrix."""
    reads: list[str] = []

    def lazily(name: str, array: np.ndarray) -> ir.LazyTensor:
        def read() -> ir.Tensor:
            reads.append(name)
            return ir.tensor(array)

        return ir.LazyTensor(read, dtype=ir.DataType.FLOAT, shape=ir.Shape(array.shape), name=name)

    large, small = np.full((1, 1 << 10, 1 << 10), 2, np.float32), np.full((1, 4, 1), 3, np.float32)
    text = "g (float[1, 1, 1] x) => (float[A, B, C] y) { a = Mul(x, large)  s = ReduceMax(a)  y = Mul(s, small) }"
    model = parse(text, {"large": large, "small": small}, 23)
    for name, array in (("large", large), ("small", small)):
        model.graph.initializers[name].const_value = lazily(name, array)
    graph = TorchGraph(model)
    assert reads == ["small"]
    for _ in range(2):
        result = graph.run({"x": np.ones((1, 1, 1), np.float32)})["y"]
        np.testing.assert_array_equal(result.numpy(), np.full((1, 4, 1), 6))
    assert reads == ["small", "large", "large"]
    assert graph.weight("large").shape == (1, 1 << 10, 1 << 10)
