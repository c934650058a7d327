"""onnx's own suite of single ops: nothing is computed wrongly, and nothing crashes.

The expected values are the suite's. `benchmarks/onnx_backend.py` prints the table, also for Core ML.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from onnx_backend import FAULTS, run_case, suite

PARTS = 10


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_op_is_wrong_in_the_onnx_file(part: int) -> None:
    results = [result for case in suite()[part::PARTS] for result in run_case(case, ("onnx",))]
    assert len(results) > 100
    assert [result for result in results if result.kind in FAULTS] == []
