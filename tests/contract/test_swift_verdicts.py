"""The verdicts that the Swift package is tested against are still those of Python."""

import json
import math

import pytest
from support.swift_verdicts import VERDICTS, cases


def test_the_verdicts_come_from_python():
    stored, computed = json.loads(VERDICTS.read_text("utf-8")), cases()
    assert len(stored) == len(computed)
    for old, new in zip(stored, computed, strict=True):
        assert {**old, "metrics": 0} == {**json.loads(json.dumps(new)), "metrics": 0}
        for section, metrics in old["metrics"].items():
            expected = pytest.approx(_numbers(metrics), rel=1e-9, abs=1e-12, nan_ok=True)
            assert _numbers(new["metrics"][section]) == expected, (old["name"], section)


def _numbers(metrics):
    return {metric: math.nan if value is None else value for metric, value in metrics.items()}
