"""Normalizations and GELUs spelt out, in the forms that exporters write: one op afterwards, the same numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from support.graphs import check_simplified, kinds, normal, parse, run

NUMBERS = {
    "two": np.array(2, np.float32),
    "three": np.array(3, np.float32),
    "one": np.array(1, np.float32),
    "half": np.array(0.5, np.float32),
    "root": np.array(np.sqrt(2), np.float32),
    "unroot": np.array(np.sqrt(0.5), np.float32),
    "eps": np.array(1e-5, np.float32),
    "fraction": np.array(0.044715, np.float32),
    "factor": np.array(np.sqrt(2 / np.pi), np.float32),
    "gamma": normal(8, seed=1),
    "beta": normal(8, seed=2),
    "column": normal(3, 1, 1, seed=3),
}
LAYER = """m = ReduceMean<axes = [-1]>(x) d = Sub(x, m) {square} v = ReduceMean<axes = [-1]>(q) e = Add({sum})
    r = Sqrt(e) n = Div(d, r) {rest}"""
RMS = "{square} v = ReduceMean<axes = [-1]>(q) e = Add(v, eps) r = Sqrt(e) {divide}"
ERF = "{argument} f = Erf(t) o = Add({sum}) {rest}"
TANH = "{cube} c = Mul(k, fraction) s = Add(x, c) t = Mul({scaled}) f = Tanh(t) o = Add(one, f) {rest}"


def one_op(body: str, kind: str, x: np.ndarray, more: int = 0) -> None:
    axes = ", ".join(f"d{i}" for i in range(x.ndim))
    model = parse(f"g (float[{axes}] x) => (float[{axes}] y) {{ {body} }}", NUMBERS)
    fixed = check_simplified(model, {"x": x}, tolerance=2e-6)  # float32 sums in another order
    assert kind in kinds(fixed)
    assert len(kinds(fixed)) == 1 + more


@pytest.mark.parametrize("square", ["q = Pow(d, two)", "q = Mul(d, d)"])
@pytest.mark.parametrize("total", ["v, eps", "eps, v"])
@pytest.mark.parametrize(
    ("rest", "more"),
    [("s = Mul(n, gamma) y = Add(s, beta)", 0), ("s = Mul(gamma, n) y = Add(beta, s)", 0), ("y = Relu(n)", 1)],
)
def test_layer_norm(square: str, total: str, rest: str, more: int) -> None:
    one_op(LAYER.format(square=square, sum=total, rest=rest), "LayerNormalization", normal(2, 3, 8), more)


def test_layer_norm_over_channels() -> None:
    """ConvNeXt's first kind: over axis 1 of an image, with scales `[c, 1, 1]`."""
    body = LAYER.format(square="q = Pow(d, two)", sum="v, eps", rest="y = Mul(n, column)").replace("[-1]", "[1]")
    one_op(body, "LayerNormalization", normal(2, 3, 4, 5), more=3)


@pytest.mark.parametrize(
    "divide",
    [
        "n = Div(x, r) y = Mul(gamma, n)",
        "i = Div(one, r) n = Mul(x, i) y = Mul(gamma, n)",
        "i = Reciprocal(r) n = Mul(i, x) y = Mul(n, gamma)",
        "y = Div(x, r)",
    ],
)
@pytest.mark.parametrize("square", ["q = Pow(x, two)", "q = Mul(x, x)"])
def test_rms_norm(square: str, divide: str) -> None:
    one_op(RMS.format(square=square, divide=divide), "RMSNormalization", normal(2, 3, 8))


@pytest.mark.parametrize("argument", ["t = Div(x, root)", "t = Mul(x, unroot)", "t = Mul(unroot, x)"])
@pytest.mark.parametrize("total", ["f, one", "one, f"])
@pytest.mark.parametrize(
    "rest",
    ["p = Mul(x, o) y = Mul(p, half)", "h = Mul(x, half) y = Mul(h, o)", "p = Mul(half, o) y = Mul(p, x)",
     "p = Mul(o, x) y = Div(p, two)"],
)  # fmt: skip
def test_gelu(argument: str, total: str, rest: str) -> None:
    one_op(ERF.format(argument=argument, sum=total, rest=rest), "Gelu", normal(2, 3, 8) * 3)


@pytest.mark.parametrize("cube", ["k = Pow(x, three)", "w = Mul(x, x) k = Mul(x, w)", "w = Pow(x, two) k = Mul(w, x)"])
@pytest.mark.parametrize("scaled", ["s, factor", "factor, s"])
@pytest.mark.parametrize("rest", ["h = Mul(half, x) y = Mul(h, o)", "p = Mul(x, o) y = Mul(p, half)"])
def test_gelu_by_tanh(cube: str, scaled: str, rest: str) -> None:
    one_op(TANH.format(cube=cube, scaled=scaled, rest=rest), "Gelu", normal(2, 3, 8) * 3)


def erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf)(x)


def third_moment(x: np.ndarray) -> np.ndarray:
    d = x - x.mean(-1, keepdims=True)
    return relu(d / np.sqrt((d**3).mean(-1, keepdims=True) + 1e-5))


def many_epsilons(x: np.ndarray) -> np.ndarray:
    return relu((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + np.abs(NUMBERS["beta"])))


def one_factor_not_centred(x: np.ndarray) -> np.ndarray:
    d = x - x.mean(-1, keepdims=True)
    return relu(d / np.sqrt((d * x).mean(-1, keepdims=True) + 1e-5))


def another_axis(x: np.ndarray) -> np.ndarray:
    d = x - x.mean(-1, keepdims=True)
    return relu(d / np.sqrt((d**2).mean(1, keepdims=True) + 1e-5))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (LAYER.format(square="q = Pow(d, three)", sum="v, eps", rest="y = Relu(n)"), third_moment),
        (LAYER.format(square="q = Pow(d, two)", sum="v, beta", rest="y = Relu(n)"), many_epsilons),
        (LAYER.format(square="q = Mul(d, x)", sum="v, eps", rest="y = Relu(n)"), one_factor_not_centred),
        (
            LAYER.replace("v = ReduceMean<axes = [-1]>", "v = ReduceMean<axes = [1]>").format(
                square="q = Pow(d, two)", sum="v, eps", rest="y = Relu(n)"
            ),
            another_axis,
        ),
        (
            RMS.format(square="q = Pow(x, two)", divide="z = Relu(r) y = Div(x, z)"),
            lambda x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5),
        ),
        (
            ERF.format(argument="t = Div(x, two)", sum="f, one", rest="p = Mul(x, o) y = Mul(p, half)"),
            lambda x: x * (erf(x / 2) + 1) / 2,
        ),
        (
            ERF.format(argument="t = Div(x, root)", sum="f, half", rest="p = Mul(x, o) y = Mul(p, half)"),
            lambda x: x * (erf(x / np.sqrt(2)) + 0.5) / 2,
        ),
        (
            ERF.format(argument="t = Div(x, root)", sum="f, one", rest="p = Mul(gamma, o) y = Mul(p, half)"),
            lambda x: NUMBERS["gamma"] * (erf(x / np.sqrt(2)) + 1) / 2,
        ),
        (
            ERF.format(argument="t = Div(x, root)", sum="f, one", rest="p = Mul(x, o) y = Mul(p, two)"),
            lambda x: x * (erf(x / np.sqrt(2)) + 1) * 2,
        ),
        (
            TANH.format(cube="k = Pow(x, two)", scaled="s, factor", rest="p = Mul(x, o) y = Mul(p, half)"),
            lambda x: x * (np.tanh((x + 0.044715 * x**2) * np.sqrt(2 / np.pi)) + 1) / 2,
        ),
        (
            TANH.format(cube="k = Pow(x, three)", scaled="s, half", rest="p = Mul(x, o) y = Mul(p, half)"),
            lambda x: x * (np.tanh((x + 0.044715 * x**3) * 0.5) + 1) / 2,
        ),
    ],
)
def test_what_only_looks_like_one_stays(body: str, expected: Callable[[np.ndarray], np.ndarray]) -> None:
    """numpy computes what the text says, in float64; one large number a row keeps each third moment above 0."""
    x = np.abs(normal(2, 3, 8)) + 0.1
    x[..., 0] += 4
    model = parse(
        f"g (float[a, b, c] x) => (float[a, b, c] y) {{ {body} }}", {**NUMBERS, "beta": np.abs(NUMBERS["beta"])}
    )
    fixed = check_simplified(model, {"x": x}, tolerance=1e-6)
    assert {"LayerNormalization", "RMSNormalization", "Gelu"}.isdisjoint(kinds(fixed))
    wanted = expected(x.astype(np.float64))
    (result,) = run(fixed, {"x": x})
    np.testing.assert_allclose(result, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())  # sums in float32


def test_values_that_others_read_stay() -> None:
    """The mean is also an output: it is computed, and the normalization all the same."""
    text = LAYER.format(square="q = Pow(d, two)", sum="v, eps", rest="y = Mul(n, gamma)")
    model = parse(f"g (float[a, b, c] x) => (float[a, b, c] y, float[a, b, n] m) {{ {text} }}", NUMBERS)
    fixed = check_simplified(model, {"x": normal(2, 3, 8)}, tolerance=2e-6)
    assert sorted(kinds(fixed)) == ["LayerNormalization", "ReduceMean"]
