"""Constants too small for float16: logarithms and roots of such expressions, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.graphs import parse
from support.op_graphs import as_hub, run_coreml, run_onnx

from exporter.runners.mil import load_mlpackage

X = np.array([[0, 0, 1e-3, 0.25], [6e-5, 1, 0, 1e-6]], np.float16).astype(np.float32)
SCALAR = np.float32(1e-10)
EXPRESSIONS = {
    "log_add": "a = Add(x, e) y = Log(a)",
    "log_add_swapped": "a = Add(e, x) y = Log(a)",
    "log_sub": "n = Neg(e) a = Sub(x, n) y = Log(a)",
    "log_max": "a = Max(x, e) y = Log(a)",
    "log_clip": "a = Clip(x, e) y = Log(a)",
    "log_clip_both": "a = Clip(x, e, one) y = Log(a)",
    "log_vector": "a = Add(x, v) y = Log(a)",
    "log_where": "z = Equal(x, zero) a = Where(z, e, x) y = Log(a)",
    "log_product": "a = Mul(x, two) b = Add(a, e) y = Log(b)",
    "log_ratio": "m = Sub(one, x) a = Clip(x, e) b = Clip(m, e) r = Div(a, b) y = Log(r)",
    "log_of_rest": "a = Clip(x, e, below) b = Sub(one, a) y = Log(b)",
    "log_twice_used": "a = Add(x, e) b = Log(a) c = Mul(a, half) y = Add(b, c)",
    "decibels": "a = Max(x, e) b = Log(a) y = Mul(b, factor)",
    "sqrt": "a = Add(x, e) y = Sqrt(a)",
    "cube_root": "a = Add(x, e) y = Pow(a, third)",
    "greater": "a = Greater(x, e) y = Cast<to = 1>(a)",
    "log_of_scaled": "a = Mul(x, e) b = Add(a, e) y = Log(b)",
}
CONSTANTS = {
    "e": SCALAR,
    "v": np.float32([1e-10, 1e-9, 1e-12, 1e-8]),
    "one": np.float32(1),
    "zero": np.float32(0),
    "half": np.float32(0.5),
    "below": np.float32(1 - 2**-23),
    "factor": np.float32(4.3429),
    "third": np.float32(1 / 3),
    "two": np.float32(2),
}


def model_of(body: str):
    used = {name: array for name, array in CONSTANTS.items() if f"{name})" in body or f"{name}," in body}
    return parse(f"g (float[2, 4] x) => (float[2, 4] y) {{ {body} }}", used, opset=23)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_tiny_constants_keep_their_value(tmp_path: Path, name: str) -> None:
    """With rounding after each op, as a device does. 2^-10 of the value for float16's rounding, and twice its smallest
    number for results close to 0."""
    model = model_of(EXPRESSIONS[name])
    expected = run_onnx(model, {"x": X})["y"]
    got = run_coreml(as_hub(model), {"x": X}, tmp_path / "m.mlpackage")["y"].astype(np.float32)
    np.testing.assert_allclose(got, expected, rtol=2**-9, atol=2**-23)


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    """The sum exists only in float32 if only the logarithm reads it."""
    model = model_of(EXPRESSIONS["log_add"])
    run_coreml(as_hub(model), {"x": X}, tmp_path / "m.mlpackage")
    operations = load_mlpackage(tmp_path / "m.mlpackage").function.operations
    assert [op.kind for op in operations if op.kind != "const"] == ["cast", "add", "log", "cast"]


def test_a_divisor_stays_in_float16(tmp_path: Path) -> None:
    """x / (x + 1e-10) of zeros is 0 also in float16; float32 would keep the program off the Neural Engine."""
    model = model_of("a = Add(x, e) y = Div(x, a)")
    got = run_coreml(as_hub(model), {"x": X}, tmp_path / "m.mlpackage")["y"]
    np.testing.assert_allclose(got[X == 0], 0)
    np.testing.assert_allclose(got[X > 1e-4], 1, atol=2e-3)
    assert all("fp32" not in str(op.outputs) for op in load_mlpackage(tmp_path / "m.mlpackage").function.operations)
