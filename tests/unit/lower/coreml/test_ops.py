"""Every ONNX op's lowering, saved, read back and executed, against onnxruntime on the same node.

All cases are one graph and one program. With rounding off, what differs are constants that float16 can't hold (a slope
of 1/6, an interpolation weight): 2^-11 relative to each, some 1e-3 in a result. With rounding after each step a few of
float16's last places come on top: 4e-3 of the largest value, which leaves out cancellation inside of a result.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.coreml_cases import CASES as PLAIN
from support.coreml_cases_layers import LAYERS
from support.op_graphs import Arrays, as_hub, graph_of, run_coreml, run_onnx

from exporter.lower.coreml import supported_ops

CASES = [*PLAIN, *LAYERS]
IDS = [f"{item.op}-{i}" for i, item in enumerate(CASES)]
HALF_MAX = 65504.0
# tested with the graphs that they belong to: decoders and encoders of the hub; shapes that are known at run time only
ELSEWHERE = {"Attention", "RotaryEmbedding", "Shape", "Range", "Swish"}


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
