"""The report's data: verdicts, rounding, and outputs that spill to disk."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from exporter.errors import Diagnostic
from exporter.formats import FLEXIBLE, PORTABLE
from exporter.parity.outputs import Outputs
from exporter.parity.results import Check, ParityReport, Row, rounded
from exporter.parity.selfcheck import pieces
from exporter.parity.thresholds import Limit


def row(name="onnx", artifacts=(PORTABLE,), value=50.0, limit=45.0):
    checks = () if limit is None else (Check(Limit("psnr_db", limit, "because"), value),)
    return Row(name, "a against b", artifacts, ("a", "b"), {"psnr_db": value}, checks)


def report(*rows, findings=()):
    return ParityReport("full", 4, 10, "built-in", tuple(rows), findings=tuple(findings))


def test_limits_are_inclusive_and_know_their_direction():
    assert Check(Limit("psnr_db", 45, ""), 45.0).passed
    assert not Check(Limit("psnr_db", 45, ""), 44.999).passed
    assert Check(Limit("kl", 0.1, ""), 0.1).passed
    assert not Check(Limit("kl", 0.1, ""), 0.1001).passed
    assert not Check(Limit("psnr_db", 45, ""), math.nan).passed
    assert not Check(Limit("kl", 0.1, ""), math.nan).passed


def test_verdicts():
    assert report().verdict == "unchecked"
    assert report(row(limit=None)).verdict == "unchecked"
    assert report(row()).verdict == "passed"
    assert report(row(), row(value=10)).verdict == "failed"
    assert report(row(), findings=[Diagnostic("x", "y", level="note")]).verdict == "passed"
    assert report(row(), findings=[Diagnostic("x", "y")]).verdict == "failed"


def test_artifacts_have_their_own_verdicts():
    made = report(row(), row("coreml", (FLEXIBLE,), value=10), row("import", (PORTABLE, FLEXIBLE)))
    assert made.artifact_verdict(PORTABLE) == "passed"
    assert made.artifact_verdict(FLEXIBLE) == "failed"
    assert made.as_json()["artifacts"] == {"onnx/portable": "passed", "coreml/flexible": "failed"}
    assert made.row("coreml").verdict == made.row(FLEXIBLE).verdict == "failed"
    assert made.row("none") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1 / 3, 0.333333),
        (1234567.8, 1234570),
        (2.0, 2),
        (math.nan, None),
        (math.inf, None),
        (1e-12 / 3, 3.33333e-13),
        (-0.0, 0),
    ],
)
def test_floats_are_rounded_to_six_digits(value, expected):
    assert rounded(value) == expected
    assert json.dumps(rounded(value)) == json.dumps(expected)


def test_outputs_spill_to_disk_and_clean_up():
    arrays = [np.full((10, 10), i, np.float32) for i in range(5)]
    with Outputs(budget=900) as outputs:
        for i, array in enumerate(arrays):
            outputs.put("a", i, array, None)
        outputs.put("b", 0, arrays[0], arrays[1])
        folder = outputs._folder
        assert len(list(folder.iterdir())) == 5
        for i, array in enumerate(arrays):
            np.testing.assert_array_equal(outputs.get("a", i)[0], array)
        np.testing.assert_array_equal(outputs.get("b", 0)[1], arrays[1])
    assert not folder.exists()


def test_same_numbers_from_disk(llama, quick, monkeypatch):
    held = quick(llama.only("checkpoint", "onnx")).as_json()
    monkeypatch.setattr("exporter.parity.check.Outputs", lambda: Outputs(budget=0))
    assert quick(llama.only("checkpoint", "onnx")).as_json() == held


@pytest.mark.parametrize("length", range(1, 30))
def test_pieces_cover_a_text_once(length):
    parts = [list(range(length))[piece] for piece in pieces(length)]
    assert [index for part in parts for index in part] == list(range(length))
    assert all(parts)
    if length >= 12:
        assert len(parts[0]) > 1
        assert [len(part) for part in parts[1:5]] == [1, 1, 1, 1]
        assert len(parts[5]) > 1  # a second prompt behind a cache


def test_importing_parity_loads_no_runtime():
    runtimes = {"torch", "onnxruntime", "transformers", "coremltools", "tokenizers"}
    code = f"import sys, exporter.parity; print(sorted({runtimes} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
