"""fp16: one rounding per op, overflow as fp16 does it, and the float32 mode that leaves rounding out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from exporter.errors import InputError

RNG = np.random.default_rng(5)


def half(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (RNG.standard_normal(shape) * scale).astype(np.float16)


def ulps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many fp16 numbers lie between two arrays of fp16."""
    ordered = [
        np.where(bits < 0, -(bits & 0x7FFF), bits) for bits in (x.view(np.int16).astype(np.int64) for x in (a, b))
    ]
    return np.abs(ordered[0] - ordered[1])


WEIGHT, BIAS, GAMMA = half(32, 64, scale=0.1), half(32), half(64)


def layer_norm(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    epsilon = float(np.float16(1e-5))  # MIL stores it in the type of x
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * GAMMA


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "tanh": np.tanh,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "square": np.square,
    "mean": lambda x: x.mean(-1),
    "norm": lambda x: np.sqrt((x**2).sum(-1)),
    "softmax": softmax,
    "layer_norm": layer_norm,
    "linear": lambda x: x @ WEIGHT.astype(np.float64).T + BIAS,
}


@pytest.fixture(scope="module")
def rounded(evaluate: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    from coremltools.converters.mil.mil import Builder as mb

    x = half(16, 64)

    def body(v: dict[str, Any]) -> dict[str, Any]:
        x = v["x"]
        return {
            "exp": mb.exp(x=x),
            "tanh": mb.tanh(x=x),
            "silu": mb.silu(x=x),
            "square": mb.square(x=x),
            "mean": mb.reduce_mean(x=x, axes=[-1]),
            "norm": mb.reduce_l2_norm(x=x, axes=[-1]),
            "softmax": mb.softmax(x=x),
            "layer_norm": mb.layer_norm(x=x, axes=[-1], gamma=GAMMA),
            "linear": mb.linear(x=x, weight=WEIGHT, bias=BIAS),
        }

    return x.astype(np.float64), evaluate(body, {"x": x})


@pytest.mark.parametrize("op", sorted(FORMULAS))
def test_result_is_the_exact_one_rounded_once(op: str, rounded: tuple[np.ndarray, dict[str, np.ndarray]]) -> None:
    """Against float64. Computing in float32 first moves a value over a rounding boundary now and then: by one step, and
    rarely, since float32 is 2**13 times finer.
    """
    x, ours = rounded
    distance = ulps(ours[op], FORMULAS[op](x).astype(np.float16))
    assert ours[op].dtype == np.float16
    assert distance.max() <= 1
    assert (distance == 0).mean() > 0.98


def chain(v: dict[str, Any]) -> dict[str, Any]:
    from coremltools.converters.mil.mil import Builder as mb

    product = mb.mul(x=mb.mul(x=v["x"], y=v["y"]), y=v["z"])
    return {"half": product, "single": mb.cast(x=product, dtype="fp32")}


def test_every_op_rounds_and_without_rounding_none_does(evaluate: Any) -> None:
    """A product of two fp16 numbers is exact in float32, so both expectations are exact."""
    x, y, z = half(500), half(500), half(500)
    given = {"x": x, "y": y, "z": z}
    once = (x.astype(np.float32) * y).astype(np.float16)
    ours = evaluate(chain, given)
    np.testing.assert_array_equal(ours["half"], (once.astype(np.float32) * z).astype(np.float16))
    np.testing.assert_array_equal(ours["single"], ours["half"].astype(np.float32))
    plain = evaluate(chain, given, fp16_rounding=False)
    expected = x.astype(np.float32) * y.astype(np.float32) * z.astype(np.float32)
    assert plain["half"].dtype == np.float32
    np.testing.assert_array_equal(plain["half"], expected)
    np.testing.assert_array_equal(plain["single"], expected)
    assert (plain["half"] != ours["half"]).any()


def test_a_range_is_rounded(evaluate: Any) -> None:
    from coremltools.converters.mil.mil import Builder as mb

    def body(v: dict[str, Any]) -> dict[str, Any]:
        start, step = (mb.squeeze(x=v[name], axes=[0]) for name in ("start", "step"))
        return {"y": mb.cast(x=mb.range_1d(start=start, end=np.float16(40), step=step), dtype="fp32")}

    start, step = np.array([0.1], np.float16), np.array([0.3], np.float16)
    ours = evaluate(body, {"start": start, "step": step})["y"]
    assert len(ours) == 133  # ceil((40 - 0.1) / 0.3) with both as fp16 stores them: 132.98
    exact = float(start[0]) + np.arange(133) * float(step[0])
    np.testing.assert_array_equal(ours, exact.astype(np.float16).astype(np.float32))


def test_overflow_becomes_infinity_and_is_seen_before(evaluate: Any) -> None:
    from coremltools.converters.mil.mil import Builder as mb

    seen: dict[str, float] = {}

    def body(v: dict[str, Any]) -> dict[str, Any]:
        square = mb.square(x=v["x"], name="squared")
        return {"big": square, "small": mb.inverse(x=square, epsilon=np.float16(0))}

    x = np.array([300.0, -300.0, 2.0], np.float16)
    watch = lambda name, tensor: seen.update({name: float(tensor.abs().max())})  # noqa: E731
    ours = evaluate(body, {"x": x}, observe=watch)
    np.testing.assert_array_equal(ours["big"], np.array([np.inf, np.inf, 4], np.float16))
    np.testing.assert_array_equal(ours["small"], np.array([0, 0, 0.25], np.float16))
    assert seen["squared"] == 90_000
    plain = evaluate(body, {"x": x}, fp16_rounding=False)
    np.testing.assert_allclose(plain["small"], [1 / 90_000, 1 / 90_000, 0.25], rtol=1e-6)


def test_subnormal_values_are_kept(evaluate: Any) -> None:
    from coremltools.converters.mil.mil import Builder as mb

    x = np.array([2**-14, 2**-20, 2**-24, 2**-25], np.float32)
    ours = evaluate(lambda v: {"half": mb.cast(x=v["x"], dtype="fp16")}, {"x": x})
    np.testing.assert_array_equal(ours["half"], x.astype(np.float16))
    assert ours["half"][2] == 2**-24


def test_an_epsilon_that_fp16_cannot_hold_is_zero_as_stored(evaluate: Any) -> None:
    from coremltools.converters.mil.mil import Builder as mb

    x = np.array([0.0, 4.0], np.float16)
    ours = evaluate(lambda v: {"y": mb.rsqrt(x=v["x"], epsilon=np.float16(1e-12))}, {"x": x})
    np.testing.assert_array_equal(ours["y"], np.array([np.inf, 0.5], np.float16))


def test_an_undefined_cast_is_refused(evaluate: Any) -> None:
    from coremltools.converters.mil.mil import Builder as mb

    for value in (np.inf, np.nan, 3e9):
        with pytest.raises(InputError, match="beyond 32 bits"):
            evaluate(lambda v: {"y": mb.cast(x=v["x"], dtype="int32")}, {"x": np.array([value], np.float32)})


def test_an_index_outside_is_refused(evaluate: Any) -> None:
    from coremltools.converters.mil.mil import Builder as mb

    table = half(5, 3)
    for index in (-1, 5):
        with pytest.raises(InputError, match="into an axis of 5"):
            evaluate(lambda v: {"y": mb.gather(x=table, indices=v["i"], axis=0)}, {"i": np.array([0, index], np.int32)})
