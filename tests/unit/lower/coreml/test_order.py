"""TopK with equal values in large tensors, for which the program sorts keys instead of comparing all values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.coreml_cases import case, known
from support.op_graphs import as_hub, graph_of, run_coreml, run_onnx

from exporter.lower.coreml.ops import order


@pytest.mark.parametrize("compared", [0, order.MAX_COMPARED_ELEMENTS])
def test_equal_values_are_taken_by_their_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compared: int) -> None:
    """The executor takes equal values by the highest index, onnxruntime by the lowest, as the program must."""
    monkeypatch.setattr(order, "MAX_COMPARED_ELEMENTS", compared)
    rng = np.random.default_rng(1)
    cases = [
        case(
            "TopK",
            rng.integers(-kinds, kinds, shape).astype(np.float32),
            known([k]),
            outputs=2,
            axis=axis,
            largest=large,
        )
        for kinds in (1, 3, 50)
        for shape, axis, k in (
            ((3, 40), 1, 7),
            ((40, 3), 0, 40),
            ((2, 20, 3), 1, 19),
            ((30,), 0, 2),
            ((2, 2, 2, 9), -1, 5),
        )
        for large in (0, 1)
    ]
    model, feeds = graph_of(cases)
    ours = run_coreml(as_hub(model), feeds, tmp_path / "m.mlpackage")
    for name, expected in run_onnx(model, feeds).items():
        np.testing.assert_array_equal(ours[name], expected, err_msg=name)


def test_boxes_of_a_detector(tmp_path: Path) -> None:
    """The 300 best of 8,400 scores, most of which are equal."""
    scores = np.maximum(np.random.default_rng(2).normal(-1, 1, (1, 8400)), 0).round(2).astype(np.float32)
    model, feeds = graph_of([case("TopK", scores, known([300]), outputs=2)])
    ours, expected = run_coreml(as_hub(model), feeds, tmp_path / "m.mlpackage"), run_onnx(model, feeds)
    np.testing.assert_array_equal(ours["c0_1"], expected["c0_1"])
