"""Layer and RMS norms in the spellings of flax, Keras and others: one op afterwards, the same numbers in onnxruntime,
and finite numbers in a float16 program where squares would overflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.graphs import check_simplified, kinds, normal, parse, run
from support.op_graphs import as_hub, run_coreml

from exporter.graph.passes.simplify import simplify

N = 8
NUMBERS = {
    "eps": np.float32(1e-5),
    "two": np.float32(2),
    "one": np.float32(1),
    "zero": np.float32(0),
    "n": np.float32(N),
    "part": np.float32(1 / N),
    "rest": np.float32(N - 1),
    "half": np.float32(0.5),
    "minus_half": np.float32(-0.5),
    "last": np.array([-1], np.int64),
    "both": np.array([1, 2], np.int64),
    "outer": np.array([0, 1], np.int64),
    "channels": np.array([1], np.int64),
    "kept": np.array([2, 3, 1], np.int64),
    "full": np.array([2, 3, N], np.int64),
    "gamma": normal(N, seed=1),
    "beta": normal(N, seed=2),
    "wide_gamma": normal(1, 1, N, seed=1),
    "wide_beta": normal(1, 1, N, seed=2),
    "plane": normal(3, N, seed=3),
}
SUM = "s = ReduceSum(x, last) m = Mul(s, part)"
CENTRED = "d = Sub(x, m) q = Mul(d, d)"
MEAN = "m = ReduceMean(x, last)"
ROOT = "e = Add(v, eps) r = Sqrt(e)"
FAST = "xx = Mul(x, x) s2 = ReduceSum(xx, last) m2 = Mul(s2, part) mm = Mul(m, m) v = Sub(m2, mm)"
INVERSE = "e = Add(v, eps) r = Sqrt(e) i = Reciprocal(r)"
LAYERS = {
    "sum_times_part": f"{SUM} {CENTRED} t = ReduceSum(q, last) v = Mul(t, part) {INVERSE} y = Mul(d, i)",
    "sum_divided": f"s = ReduceSum(x, last) m = Div(s, n) {CENTRED} t = ReduceSum(q, last) v = Div(t, n) "
    f"{ROOT} a = Div(d, r) b = Mul(a, gamma) y = Add(b, beta)",
    "sum_of_squares_op": f"{MEAN} d = Sub(x, m) t = ReduceSumSquare(d, last) v = Mul(part, t) {INVERSE} "
    "a = Mul(d, i) y = Mul(a, gamma)",
    "flax": f"{SUM} {FAST} w = Max(v, zero) d = Sub(x, m) e = Add(w, eps) r = Sqrt(e) i = Reciprocal(r) "
    "g = Mul(i, wide_gamma) a = Mul(d, g) y = Add(a, wide_beta)",
    "flax_relu": f"{SUM} {FAST} w = Relu(v) d = Sub(x, m) e = Add(w, eps) r = Sqrt(e) a = Div(d, r) y = Mul(a, gamma)",
    "flax_axes_removed": "s = ReduceSum<keepdims = 0>(x, last) m0 = Mul(s, part) xx = Mul(x, x) "
    "s2 = ReduceSum<keepdims = 0>(xx, last) m2 = Mul(s2, part) mm = Mul(m0, m0) v0 = Sub(m2, mm) w = Max(zero, v0) "
    "m = Reshape(m0, kept) v = Reshape(w, kept) d = Sub(x, m) e = Add(v, eps) p = Pow(e, minus_half) "
    "g = Mul(p, gamma) a = Mul(d, g) y = Add(a, beta)",
    "expanded": f"m0 = ReduceMean(x, last) m = Expand(m0, full) {CENTRED} v = ReduceMean(q, last) e = Add(v, eps) "
    "r = Sqrt(e) rr = Expand(r, full) y = Div(d, rr)",
    "keras": f"{MEAN} {CENTRED} v = ReduceMean(q, last) {INVERSE} g = Mul(i, gamma) a = Mul(x, g) "
    "b = Mul(m, g) c = Sub(beta, b) y = Add(a, c)",
    "keras_without_bias": f"{MEAN} {CENTRED} v = ReduceMean(q, last) {INVERSE} a = Mul(x, i) "
    "b = Mul(m, i) y = Sub(a, b)",
    "powers": f"{MEAN} d = Sub(x, m) q = Pow(d, two) v = ReduceMean(q, last) e = Add(eps, v) "
    "r = Pow(e, half) y = Div(d, r)",
    "two_means": f"{MEAN} d = Sub(x, m) k = ReduceMean(x, last) f = Sub(x, k) q = Mul(f, f) "
    f"v = ReduceMean(q, last) {ROOT} a = Div(d, r) y = Add(a, beta)",
    "unbiased": f"{MEAN} {CENTRED} t = ReduceSum(q, last) v = Div(t, rest) {ROOT} "
    "a = Div(d, r) b = Mul(a, gamma) y = Add(b, beta)",
    "scaled_first": f"{MEAN} {CENTRED} v = ReduceMean(q, last) {INVERSE} k = Mul(d, gamma) y = Mul(k, i)",
    "two_axes": "m = ReduceMean(x, both) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, both) e = Add(v, eps) "
    "r = Sqrt(e) a = Div(d, r) y = Mul(a, plane)",
    "two_axes_fast": "m = ReduceMean(x, both) xx = Mul(x, x) m2 = ReduceMean(xx, both) mm = Pow(m, two) "
    f"v = Sub(m2, mm) {ROOT} d = Sub(x, m) y = Div(d, r)",
    "outer_axes": "m = ReduceMean(x, outer) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, outer) e = Add(v, two) "
    "r = Sqrt(e) y = Div(d, r)",
    "channels": "m = ReduceMean(x, channels) xx = Mul(x, x) m2 = ReduceMean(xx, channels) mm = Pow(m, two) "
    f"v = Sub(m2, mm) {ROOT} d = Sub(x, m) a = Div(d, r) y = Mul(a, gamma)",
}
MEAN_SQUARE = "q = Mul(x, x) v = ReduceMean(q, last) e = Add(v, eps)"
RMS = {
    "sum": f"q = Mul(x, x) s = ReduceSum(q, last) v = Mul(s, part) {ROOT} a = Div(x, r) y = Mul(a, gamma)",
    "sum_of_squares_op": f"s = ReduceSumSquare(x, last) v = Div(s, n) {ROOT} y = Div(x, r)",
    "power": f"{MEAN_SQUARE} p = Pow(e, minus_half) a = Mul(x, p) y = Mul(a, gamma)",
    "scale_first": f"{MEAN_SQUARE} r = Sqrt(e) i = Reciprocal(r) g = Mul(i, wide_gamma) y = Mul(x, g)",
    "scaled_input": f"{MEAN_SQUARE} r = Sqrt(e) k = Mul(gamma, x) y = Div(k, r)",
    "axes_removed": "q = Mul(x, x) s = ReduceSum<keepdims = 0>(q, last) v = Mul(s, part) k = Reshape(v, kept) "
    "e = Add(k, eps) r = Sqrt(e) i = Div(one, r) a = Mul(x, i) y = Mul(a, gamma)",
    "two_axes": f"q = Mul(x, x) v = ReduceMean(q, both) {ROOT} a = Div(x, r) y = Mul(a, gamma)",
}
FORMS = {
    **{f"layer {name}": body for name, body in LAYERS.items()},
    **{f"rms {name}": body for name, body in RMS.items()},
}


def model_of(body: str):
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    used = {name: array for name, array in NUMBERS.items() if name in words}
    return parse(f"g (float[2, 3, {N}] x) => (float[2, 3, {N}] y) {{ {body} }}", used, opset=23)


@pytest.mark.parametrize("name", FORMS)
def test_one_op_with_the_same_numbers(name: str) -> None:
    x = normal(2, 3, N) + 0.5
    fixed = check_simplified(model_of(FORMS[name]), {"x": x}, tolerance=4e-6)  # float32 sums in another order
    kind = "LayerNormalization" if name.startswith("layer") else "RMSNormalization"
    if name in ("layer two_axes", "layer two_axes_fast"):  # 24 elements in each of two instances
        kind = "InstanceNormalization"
    assert kind in kinds(fixed)
    assert not {"Sqrt", "Pow", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Div", "Sub"} & set(kinds(fixed))


@pytest.mark.parametrize("name", FORMS)
def test_large_activations_stay_finite_in_float16(tmp_path: Path, name: str) -> None:
    """Squares of 2,000 are far beyond 65,504. Float16 holds the inputs exactly; the reference is onnxruntime."""
    x = (normal(2, 3, N) * 2000).astype(np.float16).astype(np.float32)
    model = model_of(FORMS[name])
    expected = run(model, {"x": x})[0]
    got = run_coreml(as_hub(model), {"x": x}, tmp_path / "m.mlpackage")["y"].astype(np.float32)
    np.testing.assert_allclose(got, expected, rtol=0, atol=4e-3 * np.abs(expected).max())


STAY = {
    "epsilon beside the root": f"{MEAN} {CENTRED} v = ReduceMean(q, last) r = Sqrt(v) e = Add(r, eps) y = Div(d, e)",
    "not centred above": f"{MEAN} {CENTRED} v = ReduceMean(q, last) {ROOT} y = Div(x, r)",
    "an L2 norm": "q = Mul(x, x) s = ReduceSum(q, last) e = Add(s, eps) r = Sqrt(e) y = Div(x, r)",
    "other axes": f"{MEAN} k = ReduceMean(x, both) xx = Mul(x, x) m2 = ReduceMean(xx, last) "
    "mm = Mul(k, k) v = Sub(m2, mm) w = Max(v, zero) d = Sub(x, m) e = Add(w, one) r = Sqrt(e) y = Div(d, r)",
    "moments of two tensors": "z = Mul(x, two) m = ReduceMean(z, last) xx = Mul(x, x) m2 = ReduceMean(xx, last) "
    "mm = Mul(m, m) v = Sub(m2, mm) w = Max(v, zero) e = Add(w, eps) r = Sqrt(e) d = Sub(x, m) y = Div(d, r)",
}


@pytest.mark.parametrize("name", STAY)
def test_what_only_looks_like_one_stays(name: str) -> None:
    fixed = simplify(model_of(STAY[name]), {"x": (2, 3, N)})
    assert not {"LayerNormalization", "RMSNormalization"} & set(kinds(fixed))


def test_a_mean_that_is_clamped_is_not_the_mean() -> None:
    """Only the division by the root of a mean square is one op then: the RMS norm of the difference."""
    x = normal(2, 3, N) - 0.5
    body = f"m0 = ReduceMean(x, last) m = Relu(m0) {CENTRED} v = ReduceMean(q, last) {ROOT} y = Div(d, r)"
    fixed = check_simplified(model_of(body), {"x": x}, tolerance=4e-6)
    assert sorted(kinds(fixed)) == ["RMSNormalization", "ReduceMean", "Relu", "Sub"]
