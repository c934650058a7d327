"""Every op in torch against onnxruntime on the same node, in three dtypes.

Tolerances are parts of the largest number of a result. float32: both sides round alike, sums of up to some hundred
terms come in other orders and onnxruntime's transcendental functions are polynomials, some units of 2^-24 each; 2e-6
leaves room for thirty. float64: the same, for the error is onnxruntime's alone then. bfloat16: 2^-9 for each number
that goes in and for each step in between; 3e-2 leaves room for fifteen. Integers and bools are equal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from support import coreml_cases as op_cases
from support import coreml_cases_layers as op_cases_layers
from support.coreml_cases import Case, Known
from support.one_node import as_array, in_torch, model_of
from support.op_graphs import run_onnx
from support.torch_cases import CASES as PLAIN
from support.torch_cases import case, ints, known, normal
from support.torch_cases_layers import BY_DEFINITION, LAYERS

from exporter.runners.torch_graph.graph import TorchGraph
from exporter.runners.torch_graph.registry import OPS

REFUSED = ("auto_pad", "output_shape")
SHARED = [
    item
    for item in (*op_cases.CASES, *op_cases_layers.LAYERS)
    if not (item.op == "ConvTranspose" and any(key in item.attributes for key in REFUSED))
]
LUT = [
    case("LutToDense", ints(0, 8, rows, 5, dtype=np.uint8), Known(normal(groups, 8).astype(np.float16)))
    for rows, groups in ((6, 1), (6, 3), (4, 4))
]
CASES = [*SHARED, *PLAIN, *LAYERS, *LUT]
TOLERANCES = {torch.float32: 2e-6, torch.float64: 2e-6, torch.bfloat16: 3e-2}
BFLOAT16_MAX = 3.39e38


@contextlib.contextmanager
def of(item: Case) -> Iterator[None]:
    """What fails inside says which case it was."""
    try:
        yield
    except Exception as error:
        shapes = [getattr(getattr(x, "array", x), "shape", None) for x in item.operands]
        error.add_note(f"{item.op} {item.attributes} of {shapes}")
        raise


def by_op(cases: Sequence[Case]) -> Any:
    grouped = {op: [item for item in cases if item.op == op] for op in sorted({item.op for item in cases})}
    return pytest.mark.parametrize("cases", grouped.values(), ids=grouped)


@by_op(CASES)
def test_op_computes_what_onnxruntime_computes(cases: list[Case]) -> None:
    for item in cases:
        with of(item):
            model, feeds = model_of(item)
            expected = run_onnx(model, feeds)
            for dtype in TOLERANCES:
                results = in_torch(model, feeds, dtype)
                for name, array in expected.items():
                    agree(results[name], array, dtype)


@by_op(BY_DEFINITION)
def test_op_computes_what_its_definition_says(cases: list[Case]) -> None:
    for item in cases:
        with of(item):
            model, feeds = model_of(item)
            expected = ReferenceEvaluator(model).run(None, feeds)
            agree(in_torch(model, feeds)["c0_0"], np.asarray(expected[0]), torch.float32)


def agree(ours: torch.Tensor, expected: np.ndarray, dtype: torch.dtype) -> None:
    """The same shape, the same numbers, and the dtype that stands for onnxruntime's."""
    found = as_array(ours)
    assert found.shape == expected.shape
    if expected.dtype.kind != "f":
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        return
    assert ours.dtype == (torch.float64 if expected.dtype == np.float64 else dtype)
    finite = np.isfinite(expected)
    if dtype == torch.bfloat16:  # which ends sooner
        finite &= np.abs(expected) < BFLOAT16_MAX
    scale = np.abs(expected[finite]).max(initial=1e-3)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=0, atol=TOLERANCES[dtype] * scale)
    beyond = ~np.isfinite(expected)
    np.testing.assert_array_equal(found[beyond], expected[beyond])


def test_every_op_has_a_case() -> None:
    assert set(OPS) - {item.op for item in CASES} == set()


def by_data(item: Case) -> bool:
    """Whether the shape of the result, a number of it, or a size that comes as a feed has to be read from a tensor."""
    match item.op:
        case "NonZero" | "Range":
            return True
        case "Slice" | "Resize":
            return isinstance(item.operands[-1], np.ndarray)
        case "Gather":  # rows of a stored matrix
            return isinstance(item.operands[0], Known)
        case "Pad":
            fill = item.operands[2] if len(item.operands) > 2 else None
            return isinstance(fill, Known) and fill.array.dtype == np.float32
    return False


@by_op([item for item in CASES if not by_data(item)])
def test_shapes_stay_on_the_cpu_and_all_else_is_on_the_device(cases: list[Case]) -> None:
    """On torch's "meta" device, whose tensors have shapes and no data: what reads data, or mixes devices, raises."""
    for item in cases:
        with of(item):
            model, feeds = model_of(item)
            here, there = in_torch(model, feeds), in_torch(model, feeds, device="meta")
            for name, tensor in here.items():
                assert (there[name].shape, there[name].dtype) == (tensor.shape, tensor.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("softcap", [0.0, 2.0])
def test_a_query_that_sees_nothing_stays_finite_in_any_product(dtype: torch.dtype, softcap: float) -> None:
    """The lowest float32 is infinite in bfloat16: such a row, of padding, must not spread NaN to all the others."""
    mask = np.zeros((3, 5), np.float32)
    mask[1] = np.finfo(np.float32).min
    qkv = [normal(1, 2, count, 4) for count in (3, 5, 5)]
    model, feeds = model_of(case("Attention", *qkv, mask, softcap=softcap))
    exact = in_torch(model, feeds)["c0_0"]
    result = TorchGraph(ir.serde.deserialize_model(model), products=dtype).run(feeds)["c0_0"]
    assert bool(result.isfinite().all())
    seen = [0, 2]
    assert (result - exact)[:, :, seen].abs().max() <= TOLERANCES[dtype] * exact.abs().max()


def test_resize_keeps_scales_exact_in_short_floats() -> None:
    """2.6 is 2.594 in bfloat16, which would give 12 elements of 5 instead of 13."""
    model, feeds = model_of(case("Resize", normal(1, 1, 5), None, known([1, 1, 2.6], np.float32)))
    assert in_torch(model, feeds, torch.bfloat16)["c0_0"].shape == (1, 1, 13)
