"""Old forms of ops against onnxruntime, which runs them as they are and as simplifying writes them."""

from __future__ import annotations

import numpy as np
import pytest
from support.graphs import Arrays, check_simplified, normal, parse

from exporter.graph.model import OPSET

X, M = normal(2, 3, 4), normal(2, 6, 4, 5)
STATISTICS = np.arange(1, 7, dtype=np.float32)
CASES: list[tuple[str, int, str, Arrays, np.ndarray]] = [
    ("clip by attributes", 9, "y = Clip<min = -0.5, max = 0.25>(x)", {}, X),
    ("clip above only", 8, "y = Clip<max = 0.25>(x)", {}, X),
    ("clip by inputs", 11, "y = Clip(x, low)", {"low": np.array(0.1, np.float32)}, X),
    ("slice by attributes", 9, "y = Slice<starts = [1, -3], ends = [9, -1], axes = [1, 2]>(x)", {}, X),
    ("slice without axes", 7, "y = Slice<starts = [0, 1], ends = [1, 9]>(x)", {}, X),
    ("pad by attributes", 9, "y = Pad<pads = [0, 1, 2, 0, 0, 1], value = 1.5>(x)", {}, X),
    ("pad by reflection", 9, 'y = Pad<pads = [0, 1, 2, 0, 0, 1], mode = "reflect">(x)', {}, X),
    ("top k by attribute", 9, "y, places = TopK<k = 2, axis = 1>(x)", {}, X),
    ("upsample by attribute", 7, 'y = Upsample<mode = "nearest", scales = [1.0, 1.0, 2.0, 3.0]>(x)', {}, M),
    ("upsample by input", 9, 'y = Upsample<mode = "linear">(x, s)', {"s": np.array([1, 1, 2, 2], np.float32)}, M),
    ("resize without a mode", 10, "y = Resize(x, s)", {"s": np.array([1, 1, 2, 1.5], np.float32)}, M),
    ("resize of 11", 11, 'y = Resize<mode = "linear">(x, roi, s)',
     {"roi": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)}, M),
    ("dropout", 7, "y = Dropout<ratio = 0.5>(x)", {}, X),
    ("dropout with a mask", 10, "y, mask = Dropout<ratio = 0.5>(x)", {}, X),
    ("squeeze", 11, "a = Unsqueeze<axes = [0, 4]>(x) b = Relu(a) y = Squeeze<axes = [4, 0]>(b)", {}, X),
    ("squeeze of all", 11, "a = Unsqueeze<axes = [0]>(x) y = Squeeze(a)", {}, X),
    ("sum", 11, "y = ReduceSum<axes = [1], keepdims = 0>(x)", {}, X),
    ("sum of all", 11, "y = ReduceSum<keepdims = 1>(x)", {}, X),
    *[(f"{kind} of 13", 13, f"y = {kind}<axes = [-1, 0]>(x)", {}, X) for kind in (
        "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare")],
    ("log-sum-exp of 11", 11, "y = ReduceLogSumExp<axes = [2], keepdims = 0>(x)", {}, X),
    ("split by attribute", 11, "y, b = Split<split = [1, 2], axis = 1>(x)", {}, X),
    ("split in even parts", 11, "y, b = Split<axis = 2>(x)", {}, X),
    ("split in even parts of 13", 13, "y, b, c = Split<axis = 1>(x)", {}, X),
    ("softmax over the rest", 11, "y = Softmax<axis = 1>(x)", {}, X),
    ("softmax by default", 11, "y = Softmax(x)", {}, M),
    ("softmax over the last", 11, "y = Softmax<axis = 2>(x)", {}, X),
    ("log softmax over the rest", 12, "y = LogSoftmax<axis = -2>(x)", {}, X),
    ("hardmax over the rest", 11, "y = Hardmax<axis = 1>(x)", {}, X),
    ("batch norm", 7, "y = BatchNormalization<epsilon = 0.5>(x, s, s, s, s)", {"s": STATISTICS}, M),
    ("batch norm of 9", 9, "y = BatchNormalization(x, s, s, s, s)", {"s": STATISTICS}, M),
    ("group norm per group", 18, "y = GroupNormalization<num_groups = 2>(x, s, s)", {"s": normal(2)}, M),
    ("scatter", 10, "y = Scatter<axis = 1>(x, i, u)", {"i": np.array([[[0] * 4]]), "u": normal(1, 1, 4)}, X),
    ("grid sample", 16, 'y = GridSample<mode = "bilinear">(x, g0)', {"g0": normal(2, 3, 3, 2)}, M),
    ("mean", 8, "y = Mean(x, c)", {"c": normal(4)}, X),
    ("gemm", 9, "a = Flatten(x) y = Gemm<transB = 1>(a, w, c)", {"w": normal(5, 12), "c": normal(5)}, X),
]  # fmt: skip


@pytest.mark.parametrize(("opset", "body", "constants", "x"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_an_old_form(opset: int, body: str, constants: Arrays, x: np.ndarray) -> None:
    axes = ", ".join(f"d{i}" for i in range(x.ndim))
    model = parse(f"g (float[{axes}] x) => (float[m] y) {{ {body} }}", constants, opset)
    model.graph.outputs[0].shape = None
    fixed = check_simplified(model, {"x": x}, tolerance=1e-6)  # sums in another order
    assert fixed.graph.opset_imports[""] == OPSET


def test_newer_graphs_stay() -> None:
    model = parse("g (float[a, b, c] x) => (float[a, b, c] y) { y = Relu(x) }", opset=24)
    model.ir_version = 11
    assert check_simplified(model, {"x": X}).graph.opset_imports[""] == 24
