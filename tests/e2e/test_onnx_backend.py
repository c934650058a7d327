"""onnx's own suite of single ops, in both formats: nothing is computed wrongly, nothing crashes, and most of it works.

The expected values are the suite's. `benchmarks/onnx_backend.py` prints the table. Both formats together take about
three minutes of processor time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from onnx_backend import FAULTS, run_case, suite

PARTS = 8
# Share of a part's tests that give the suite's numbers, so that refusals of many ops are noticed. When this was
# written, 0.80 and 0.49 of the suite did, and 0.78 and 0.44 of the part with the fewest.
LEAST_RIGHT = {"onnx": 0.76, "coreml": 0.42}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("fmt", sorted(LEAST_RIGHT))
def test_no_op_is_wrong(fmt: str, part: int) -> None:
    results = [result for case in suite()[part::PARTS] for result in run_case(case, (fmt,))]
    assert len(results) > 200
    assert [result for result in results if result.kind in FAULTS] == []
    right = sum(result.kind in ("equal", "close") for result in results)
    assert right > LEAST_RIGHT[fmt] * len(results), f"{right} of {len(results)} tests give the suite's numbers"
