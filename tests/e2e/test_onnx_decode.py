"""The table of `benchmarks/onnx_decode.py` from invented measurements: what is divided and compared with aims.

The benchmark itself needs onnxruntime-genai's builder and an idle machine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import onnx_decode
from scale import Cost

OURS, THEIRS = [4.0, 6.0, 5.0], [2.0, 8.0, 4.0]  # in each round
MEASURES = [
    ("load s", None),
    ("memory after load", None),
    ("peak memory", None),
    *((f"{part} tokens/s", context) for context in (512, 3000) for part in ("prefill", "decode")),
]


def measures(values: list[float], scale: float = 1.0) -> list[dict[str, Any]]:
    return [
        {
            "measure": name,
            "context": context,
            "batch": None,
            "median": float(np.median(values)) * (scale if "memory" in name else 1),
            "smallest": min(values),
            "largest": max(values),
        }
        for name, context in MEASURES
    ]


@pytest.fixture
def bench() -> dict[str, Any]:
    subjects = [("A onnx mobile", OURS, 4_000_000_000), ("B genai folder", THEIRS, 300_000_000)]
    return {
        "subjects": [
            {"label": label, "bytes": size, "measures": measures(values, 1e9)} for label, values, size in subjects
        ],
        "ratios": [
            {"of": "A onnx mobile", "to": "B genai folder", "measures": measures(list(np.divide(OURS, THEIRS)))}
        ],
    }


def test_ratios_and_aims(bench: dict[str, Any]) -> None:
    exports = Cost(10.0, 12.0, 600_000_000, 1), Cost(25.0, 50.0, 1_000_000_000, 1)
    found = {row.measure: row for row in onnx_decode.rows(bench, "A onnx mobile", exports)}
    assert (found["export s"].ratio[0], found["export s"].met) == (0.4, True)
    assert (found["export GB"].ratio[0], found["export GB"].met) == (0.6, False)
    assert found["file GB"].met is None
    quotients = np.divide(OURS, THEIRS)
    expected = (np.median(quotients), quotients.min(), quotients.max())
    for name in ("load s", "prefill tokens/s at 512", "decode tokens/s at 3000"):
        np.testing.assert_allclose(found[name].ratio, expected)
    assert not found["load s"].met  # 1.25 times as long
    assert found["decode tokens/s at 512"].met
    assert found["decode tokens/s at 3000"].met
    assert not found["prefill tokens/s at 3000"].met  # 1.25 instead of 1.3
    for name in ("memory after load GB", "peak memory GB"):
        assert found[name].ours == 5.0  # more than 1.1 · 4 + 0.3
        assert found[name].aim == ("<=", pytest.approx(4.7))
        assert not found[name].met
    lines = onnx_decode.table("", list(found.values())).rows
    assert ("load s", "5", "4", "1.25 (0.75–2.00)", "≤ 1.00", "no") in lines
    assert ("peak memory GB", "5", "4", "1.25 (0.75–2.00)", "≤ 4.70 GB", "no") in lines


def test_options_behind_the_dashes_are_the_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--shape", "tiny", "--builder-extra", "int4_algo_config=k_quant", "--", "--onnx-weights", "fp16"]
    monkeypatch.setattr(sys, "argv", ["onnx_decode.py", *words])
    options = onnx_decode._options()
    assert options.export == ["--onnx-weights", "fp16"]
    assert (options.shape, options.builder_extra) == ("tiny", ["int4_algo_config=k_quant"])
