"""Every op against an independent source, through a saved package.

The source is coremltools' own value inference (numpy) where it has one: the op is built a second time on constants and
its `.val` is the expectation. Where it has none, or a wrong one, a numpy or torch formula stands in the case. Programs
are float32, where both sides round alike up to a few units in the last place (rtol 2e-6 for sums of few terms); rounding
to fp16 is tested apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from exporter.parity.mil.compile import STATE_OPS
from exporter.parity.mil.ops import REGISTRY

RNG = np.random.default_rng(20)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return (RNG.random(shape) * 3 + 0.1).astype(np.float32)


def unit(*shape: int) -> np.ndarray:
    return (RNG.random(shape) * 1.8 - 0.9).astype(np.float32)


def ints(low: int, high: int, *shape: int) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(np.int32)


def bools(*shape: int) -> np.ndarray:
    return RNG.random(shape) < 0.5


@dataclass(frozen=True)
class Case:
    """One op. given: operands that become program inputs; rest: constant operands; expect: instead of coremltools."""

    op: str
    given: dict[str, Any]
    rest: dict[str, Any] = field(default_factory=dict)
    expect: Callable[..., Any] | None = None


def unary(op: str, x: np.ndarray, expect: Callable[..., Any] | None = None, **rest: Any) -> Case:
    return Case(op, {"x": x}, rest, expect)


def binary(op: str, x: np.ndarray, y: np.ndarray, expect: Callable[..., Any] | None = None) -> Case:
    return Case(op, {"x": x, "y": y}, {}, expect)


SIGNED = np.array([-3.5, -2.5, -1.5, -0.5, -0.0, 0.0, 0.5, 1.5, 2.5, 3.5], np.float32)

ELEMENTWISE = [
    *[unary(op, normal(3, 4)) for op in ("abs", "atan", "cos", "cosh", "erf", "exp", "exp2", "relu", "sigmoid", "sign")],
    *[unary(op, normal(3, 4)) for op in ("sin", "sinh", "softplus", "softsign", "square", "tan", "tanh", "relu6")],
    *[unary(op, unit(3, 4)) for op in ("acos", "asin", "atanh")],
    *[unary(op, SIGNED) for op in ("ceil", "floor", "round")],
    unary("silu", normal(3, 4), lambda x: x / (1 + np.exp(-x.astype(np.float64)))),
    unary("sqrt", positive(5)),
    unary("logical_not", bools(2, 3)),
    unary("abs", ints(-5, 5, 6)),
    unary("sign", ints(-2, 3, 6)),
    unary("square", ints(-5, 5, 6)),
    *[unary("gelu", normal(3, 4), mode=m) for m in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")],
    unary("clip", normal(9), alpha=np.float32(-0.4), beta=np.float32(0.7)),
    unary("threshold", normal(9), alpha=np.float32(0.1)),
    unary("inverse", positive(5)),
    unary("inverse", positive(5), epsilon=np.float32(0.25)),
    unary("log", positive(5)),
    unary("log", positive(5), epsilon=np.float32(0.5)),
    unary("rsqrt", positive(5)),
    unary("rsqrt", positive(5), epsilon=np.float32(0.5)),
    unary("leaky_relu", normal(9), alpha=np.float32(0.3)),
    unary("elu", normal(9), alpha=np.float32(0.3)),
    unary("linear_activation", normal(9), alpha=np.float32(0.3), beta=np.float32(2)),
    unary("sigmoid_hard", normal(9) * 3, alpha=np.float32(0.3), beta=np.float32(0.4)),
    *[binary(op, normal(3, 1, 4), normal(2, 1)) for op in ("add", "sub", "mul", "real_div", "maximum", "minimum")],
    *[binary(op, normal(8) * 5, np.where(np.arange(8) % 2, 1.5, -1.5).astype(np.float32)) for op in ("mod", "floor_div")],
    *[binary(op, ints(-9, 9, 8), np.array([2, -2] * 4, np.int32)) for op in ("mod", "floor_div", "add", "sub", "mul")],
    binary("pow", positive(4), normal(4)),
    *[
        binary(op, ints(0, 3, 4, 1), ints(0, 3, 5))
        for op in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal", "maximum", "minimum")
    ],
    *[binary(op, SIGNED, SIGNED[::-1].copy()) for op in ("equal", "greater", "less_equal")],
    *[binary(op, bools(8), bools(8)) for op in ("logical_and", "logical_or", "logical_xor")],
    Case("select", {"cond": bools(3, 1), "a": normal(4), "b": normal(3, 4)}),
    unary("cast", SIGNED, dtype="int32"),
    unary("cast", SIGNED, dtype="bool"),
    unary("cast", ints(-5, 5, 6), dtype="fp32"),
    unary("cast", bools(6), dtype="fp32"),
    unary("cast", ints(-300, 300, 6), dtype="int8"),
    unary("cast", ints(-300, 300, 6), dtype="uint8"),
    unary("cast", ints(-70000, 70000, 6), dtype="int16"),
    unary("cast", ints(-70000, 70000, 6), dtype="uint16"),
    unary("identity", normal(2, 3)),
]


def softmax64(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def batch_norm64(x: np.ndarray, mean: Any, variance: Any, gamma: Any = 1.0, beta: Any = 0.0, epsilon: float = 1e-5) -> Any:
    def channel(v: Any) -> Any:
        return np.asarray(v, np.float64).reshape(-1, *[1] * (x.ndim - 2))

    return (x - channel(mean)) / np.sqrt(channel(variance) + epsilon) * channel(gamma) + channel(beta)


def instance_norm64(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    over = tuple(range(2, x.ndim))
    wide = x.astype(np.float64)
    return batch_norm64((wide - wide.mean(over, keepdims=True)) / np.sqrt(wide.var(over, keepdims=True) + 1e-5), 0, 1 - 1e-5, gamma, beta)


def conv_by_hand(x: np.ndarray, weight: np.ndarray, pads: list[tuple[int, int]], strides: tuple[int, ...]) -> np.ndarray:
    """A convolution by its definition, in float64, for one spatial axis or two."""
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *pads])
    kernel = weight.shape[2:]
    sizes = [(size - k) // s + 1 for size, k, s in zip(padded.shape[2:], kernel, strides, strict=True)]
    out = np.zeros((x.shape[0], weight.shape[0], *sizes))
    for place in np.ndindex(*sizes):
        window = tuple(slice(p * s, p * s + k) for p, s, k in zip(place, strides, kernel, strict=True))
        patch = padded[(slice(None), slice(None), *window)].reshape(x.shape[0], -1)
        out[(slice(None), slice(None), *place)] = patch @ weight.reshape(weight.shape[0], -1).astype(np.float64).T
    return out


WEIGHT = normal(5, 4)
KERNEL = normal(6, 3, 2, 3)

LINEAR = [
    Case("linear", {"x": normal(2, 3, 4)}, {"weight": WEIGHT}),
    Case("linear", {"x": normal(4)}, {"weight": WEIGHT, "bias": normal(5)}),
    Case("matmul", {"x": normal(2, 3, 4), "y": normal(4, 5)}),
    Case("matmul", {"x": normal(2, 1, 4, 3), "y": normal(3, 5, 4)}, {"transpose_x": True, "transpose_y": True}),
    Case("conv", {"x": normal(1, 4, 1, 7)}, {"weight": normal(5, 4, 1, 1)},
         lambda x, weight: np.einsum("ncxy,oc->noxy", x.astype(np.float64), weight[:, :, 0, 0])),
    Case("conv", {"x": normal(2, 3, 7, 8)}, {"weight": KERNEL, "pad_type": "same", "strides": [2, 3]},
         lambda x, weight, **_: conv_by_hand(x, weight, [(0, 1), (0, 1)], (2, 3))),
    Case("conv", {"x": normal(2, 3, 7, 8)}, {"weight": KERNEL, "pad_type": "same_lower"},
         lambda x, weight, **_: conv_by_hand(x, weight, [(1, 0), (1, 1)], (1, 1))),
    Case("conv", {"x": normal(2, 3, 7, 8)}, {"weight": KERNEL, "pad_type": "custom", "pad": [0, 2, 3, 1]},
         lambda x, weight, **_: conv_by_hand(x, weight, [(0, 2), (3, 1)], (1, 1))),
    Case("conv", {"x": normal(1, 4, 9)}, {"weight": normal(4, 1, 3), "groups": 4, "pad_type": "valid", "bias": np.ones(4, np.float32)},
         lambda x, weight, **_: np.concatenate([conv_by_hand(x[:, i:i + 1], weight[i:i + 1], [(0, 0)], (1,)) for i in range(4)], 1) + 1),
    Case("conv", {"x": normal(1, 2, 9)}, {"weight": np.ones((1, 2, 2), np.float32), "dilations": [3], "pad_type": "valid"},
         lambda x, **_: (x[:, :, :-3] + x[:, :, 3:]).astype(np.float64).sum(1, keepdims=True)),
]

NORMALIZATION = [
    Case("layer_norm", {"x": normal(2, 3, 4)}, {"axes": [-1], "gamma": normal(4), "beta": normal(4), "epsilon": np.float32(1e-3)}),
    Case("layer_norm", {"x": normal(2, 3, 4)}, {"axes": [1, 2]}),
    Case("layer_norm", {"x": normal(2, 3, 4)}, {"axes": [1], "gamma": normal(3), "beta": normal(3)}),
    Case("layer_norm", {"x": normal(2, 3, 4)}, {"axes": [0, 2]}),
    Case("batch_norm", {"x": normal(2, 3, 4)}, {"mean": normal(3), "variance": positive(3), "gamma": normal(3), "beta": normal(3)}, batch_norm64),
    Case("batch_norm", {"x": normal(2, 3, 4)}, {"mean": normal(3), "variance": positive(3), "epsilon": np.float32(0.1)}, batch_norm64),
    Case("instance_norm", {"x": normal(2, 3, 4, 2)}, {"gamma": normal(3), "beta": normal(3)}, instance_norm64),
    Case("l2_norm", {"x": normal(2, 3, 4, 2)}, {"epsilon": np.float32(0.1)}),
    Case("softmax", {"x": normal(2, 3, 4)}, {"axis": 1}),
    Case("softmax", {"x": normal(3, 4) * 50}, {}, softmax64),
]  # fmt: skip

REDUCTION = [
    *[Case(f"reduce_{kind}", {"x": normal(2, 3, 4)}, {"axes": [0, -1], "keep_dims": True})
      for kind in ("sum", "mean", "max", "min", "prod", "l1_norm", "l2_norm", "sum_square", "log_sum_exp")],
    *[Case(f"reduce_{kind}", {"x": ints(-4, 5, 2, 3)}, {"axes": [1]}) for kind in ("sum", "max", "min", "prod", "sum_square", "mean", "l1_norm")],
    Case("reduce_log_sum", {"x": positive(2, 3)}, {"axes": [1]}),
    Case("reduce_sum", {"x": normal(2, 3)}),
    *[Case(f"reduce_{kind}", {"x": normal(2, 5)}, {"axis": axis, "keep_dims": keep}) for kind in ("argmax", "argmin") for axis, keep in ((0, True), (-1, False))],
    Case("cumsum", {"x": normal(2, 5)}, {"axis": 1}),
    Case("cumsum", {"x": normal(2, 5)}, {"axis": 0, "reverse": True}),
    Case("cumsum", {"x": ints(0, 9, 2, 5)}, {"axis": 1, "exclusive": True}, lambda x, **_: np.cumsum(x, 1) - x),
    Case("cumsum", {"x": ints(0, 9, 2, 5)}, {"axis": 1, "exclusive": True, "reverse": True}, lambda x, **_: np.cumsum(x[:, ::-1], 1)[:, ::-1] - x),
    Case("topk", {"x": normal(2, 5)}, {"k": 3, "axis": 1}),
    Case("topk", {"x": normal(2, 5)}, {"k": 1, "axis": 0, "ascending": True}),
    Case("argsort", {"x": normal(2, 5)}, {"axis": 1, "ascending": True}),
    Case("argsort", {"x": normal(2, 5)}, {"axis": 0}),
]  # fmt: skip


def attention64(query: Any, key: Any, value: Any, attn_mask: Any = None) -> np.ndarray:
    scores = query.astype(np.float64) @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == bool else scores + attn_mask
    return softmax64(scores) @ value


LOOK = np.tril(np.ones((3, 5), bool), 2)
ATTENTION = [
    Case("scaled_dot_product_attention", {"query": normal(1, 2, 3, 4), "key": normal(1, 2, 5, 4), "value": normal(1, 2, 5, 6)}, {}, attention64),
    Case("scaled_dot_product_attention", {"query": normal(2, 2, 3, 4), "key": normal(2, 2, 5, 4), "value": normal(2, 2, 5, 6), "attn_mask": LOOK}, {}, attention64),
    Case("scaled_dot_product_attention", {"query": normal(2, 3, 4), "key": normal(2, 5, 4), "value": normal(2, 5, 6), "attn_mask": np.where(LOOK, 0, -4e4).astype(np.float32)}, {}, attention64),
    Case("scaled_dot_product_attention", {"query": normal(2, 2, 3, 4), "key": normal(2, 2, 5, 4), "value": normal(2, 2, 5, 6), "attn_mask": normal(2, 1, 1, 5)}, {}, attention64),
]  # fmt: skip

SHAPING = [
    unary("transpose", normal(2, 3, 4), perm=[2, 0, 1]),
    unary("transpose", normal(2, 3, 4), perm=[0, -1, -2]),
    unary("reshape", normal(2, 3, 4), shape=[4, -1]),
    unary("reshape", normal(2, 3, 4), shape=[0, 8]),
    unary("reshape", normal(2, 3, 4), shape=[-1, 0]),
    unary("reshape", normal(2, 50), shape=[1, 0, -1, 0], expect=lambda x, **_: x.reshape(1, 1, 2, 50)),
    unary("expand_dims", normal(2, 3), axes=[0, -1]),
    unary("expand_dims", normal(2, 3), axes=[1, 2]),
    unary("squeeze", normal(1, 2, 1, 3), axes=[0]),
    unary("squeeze", normal(1, 2, 1, 3)),
    unary("squeeze", normal(1, 2, 1, 3), axes=[0, 1], expect=lambda x, **_: x[0]),
    unary("reverse", normal(2, 3), axes=[1]),
    unary("reverse", normal(2, 3)),
    unary("flatten2d", normal(2, 3, 4), axis=2),
    unary("shape", normal(2, 3, 4)),
    unary("tile", normal(2, 3), reps=[3, 2]),
    unary("band_part", normal(4, 5), lower=1, upper=0),
    unary("band_part", normal(2, 4, 5), lower=-1, upper=2),
    unary("pad", normal(2, 3, 4), pad=[1, 2, 0, 3], constant_val=np.float32(7)),
    unary("pad", normal(2, 3, 4), pad=[1, 2, 3, 1], mode="reflect"),
    unary("pad", normal(2, 3, 4), pad=[1, 2, 3, 1], mode="replicate"),
    unary("non_zero", bools(3, 4)),
    unary("split", normal(2, 6), num_splits=3, axis=1),
    unary("split", normal(2, 6), split_sizes=[1, 3, 2], axis=-1),
    Case("fill_like", {"ref_tensor": normal(2, 3)}, {"value": np.float32(1.5)}),
    Case("one_hot", {"indices": ints(0, 4, 3)}, {"one_hot_vector_size": 4}, lambda indices, **_: np.eye(4, dtype=np.int32)[indices]),
    Case("one_hot", {"indices": ints(0, 4, 2, 3)}, {"one_hot_vector_size": 4, "axis": 1, "on_value": np.float32(2), "off_value": np.float32(-1)},
         lambda indices, **_: np.moveaxis(np.eye(4)[indices] * 3 - 1, -1, 1)),
]  # fmt: skip

X = normal(4, 5, 6)
SLICING = [
    unary("slice_by_index", X, begin=[1, 0, 2], end=[3, 5, 4]),
    unary("slice_by_index", X, begin=[1, 0, 0], end=[4, 5, 6], stride=[2, 3, 1]),
    unary("slice_by_index", X, begin=[-2, 0, 2], end=[-1, -1, 100]),
    unary("slice_by_index", X, begin=[3, 9, 2], end=[0, 9, 4], begin_mask=[True, True, False], end_mask=[False, True, False], stride=[1, 1, 1],
          expect=lambda x, **_: x[:0, :, 2:4]),
    unary("slice_by_index", X, begin=[-1, 0, -1], end=[0, 5, -4], stride=[-1, 1, -2]),
    unary("slice_by_index", X, begin=[0, 0, 0], end=[0, 0, 0], stride=[-1, 1, 1], begin_mask=[True] * 3, end_mask=[True] * 3),
    unary("slice_by_index", X, begin=[2, 0, -1], end=[0, 0, 0], end_mask=[False, True, False], squeeze_mask=[True, False, True], expect=lambda x, **_: x[2, :, -1]),
    unary("slice_by_size", X, begin=[1, 0, 2], size=[2, -1, 3]),
    unary("slice_by_size", X, begin=[-1, 0, 2], size=[1, 5, -1]),
    Case("slice_update", {"x": X, "update": normal(2, 5, 2)}, {"begin": [1, 0, 2], "end": [3, 5, 4]}),
    Case("slice_update", {"x": X, "update": normal(4, 3, 3)}, {"begin": [0, 0, 0], "end": [0, 5, 6], "stride": [1, 2, 2], "end_mask": [True, False, False]}),
    Case("slice_update", {"x": X, "update": normal(5, 6)}, {"begin": [2, 0, 0], "end": [0, 0, 0], "end_mask": [False, True, True], "squeeze_mask": [True, False, False]},
         lambda x, update, **_: np.concatenate([x[:2], update[None], x[3:]])),
    Case("slice_update", {"x": X, "update": normal(5, 6)}, {"begin": [-1, 0, 0], "end": [0, 0, 0], "end_mask": [False, True, True], "squeeze_mask": [True, False, False]},
         lambda x, update, **_: np.concatenate([x[:-1], update[None]])),
]  # fmt: skip


def scatter64(data: np.ndarray, places: tuple[Any, ...], updates: np.ndarray, mode: str) -> np.ndarray:
    """numpy's unbuffered ufunc.at, which applies repeated indices one after the other."""
    out = data.astype(np.float64)
    ufuncs = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum, "min": np.minimum}
    if mode == "update":
        out[places] = updates
    else:
        ufuncs[mode].at(out, places, updates)
    return out


REPEATED = np.array([1, 3, 1], np.int32)
ALONG = np.array([[0, 2, 1], [2, 2, 0]], np.int32)
PAIRS = np.array([[0, 1], [3, 2], [0, 1]], np.int32)
INDEXING = [
    Case("gather", {"x": X, "indices": ints(0, 5, 2, 3)}, {"axis": 1}),
    Case("gather", {"x": X, "indices": ints(0, 4, 3)}),
    Case("gather", {"x": X, "indices": ints(0, 6, 4, 2)}, {"axis": 2, "batch_dims": 1},
         lambda x, indices, **_: np.stack([a[:, i] for a, i in zip(x, indices, strict=True)])),
    Case("gather", {"x": X, "indices": ints(0, 6, 4, 5, 3)}, {"axis": -1, "batch_dims": 2}, lambda x, indices, **_: np.take_along_axis(x, indices, -1)),
    Case("gather_along_axis", {"x": X, "indices": ints(0, 6, 4, 5, 2)}, {"axis": -1}),
    Case("gather_nd", {"x": X, "indices": np.stack([ints(0, 4, 2, 3), ints(0, 5, 2, 3)], -1)}, {}, lambda x, indices: x[indices[..., 0], indices[..., 1]]),
    Case("gather_nd", {"x": X, "indices": ints(0, 5, 4, 2, 1)}, {"batch_dims": 1}, lambda x, indices, **_: np.stack([a[i[:, 0]] for a, i in zip(x, indices, strict=True)])),
    *[Case("scatter", {"data": positive(2, 4), "indices": REPEATED, "updates": positive(2, 3)}, {"axis": 1, "mode": mode},
           lambda data, indices, updates, axis, mode: scatter64(data, (slice(None), indices), updates, mode))
      for mode in ("add", "sub", "mul", "div", "max", "min")],
    Case("scatter", {"data": normal(4, 3), "indices": np.array([2, 0], np.int32), "updates": normal(2, 3)}, {"axis": 0, "mode": "update"},
         lambda data, indices, updates, **_: scatter64(data, (indices,), updates, "update")),
    Case("scatter_along_axis", {"data": normal(3, 3), "indices": np.array([[0, 2, 1], [2, 1, 0], [1, 1, 1]], np.int32), "updates": normal(3, 3)}, {"axis": 0, "mode": "add"},
         lambda data, indices, updates, **_: scatter64(data, (indices, np.arange(3)[None, :].repeat(3, 0)), updates, "add")),
    *[Case("scatter_nd", {"data": normal(4, 3, 2), "indices": PAIRS, "updates": normal(3, 2)}, {"mode": mode},
           lambda data, indices, updates, mode: scatter64(data, (indices[:, 0], indices[:, 1]), updates, mode)) for mode in ("add", "max")],
]  # fmt: skip

CASES = [*ELEMENTWISE, *LINEAR, *NORMALIZATION, *REDUCTION, *ATTENTION, *SHAPING, *SLICING, *INDEXING]
IDS = [f"{case.op}-{i}" for i, case in enumerate(CASES)]


def _expectation(case: Case) -> tuple[np.ndarray, ...]:
    from coremltools.converters.mil.mil import Builder as mb

    if case.expect is not None:
        return (np.asarray(case.expect(**case.given, **case.rest)),)
    results = getattr(mb, case.op)(**case.given, **case.rest)
    many = isinstance(results, list | tuple)
    values = tuple(np.asarray(result.val) for result in (results if many else [results]))
    assert all(value.dtype != object for value in values), "coremltools has no value inference: give the case a formula"
    return values


@pytest.fixture(scope="module")
def answers(evaluate: Any) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """(ours, expected) of every case's every output, from one saved program."""
    from coremltools.converters.mil.mil import Builder as mb

    expected: dict[int, tuple[np.ndarray, ...]] = {}

    def body(values: dict[str, Any]) -> dict[str, Any]:
        outputs = {}
        for i, case in enumerate(CASES):
            given = {name: values[f"c{i}_{name}"] for name in case.given}
            results = getattr(mb, case.op)(**given, **case.rest)
            for k, result in enumerate(results if isinstance(results, list | tuple) else [results]):
                outputs[f"o{i}_{k}"] = result
            expected[i] = _expectation(case)
        return outputs

    arrays = {f"c{i}_{name}": array for i, case in enumerate(CASES) for name, array in case.given.items()}
    ours = evaluate(body, arrays)
    return {i: [(ours[f"o{i}_{k}"], value) for k, value in enumerate(expected[i])] for i in expected}


@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
def test_op_agrees_with_its_source(index: int, answers: dict[int, list[tuple[np.ndarray, np.ndarray]]]) -> None:
    for ours, expected in answers[index]:
        assert ours.shape == expected.shape
        if ours.dtype == np.int32:
            np.testing.assert_array_equal(ours, expected.astype(np.int64))
        else:
            np.testing.assert_allclose(ours, expected, rtol=5e-6, atol=1e-6)


def test_concat_stack_and_values_made_from_nothing(evaluate: Any) -> None:
    from coremltools.converters.mil.mil import Builder as mb

    a, b, n = normal(2, 3), normal(2, 3), np.array([3], np.int32)

    def body(v: dict[str, Any]) -> dict[str, Any]:
        scalar = mb.squeeze(x=v["n"], axes=[0])
        return {
            "joined": mb.concat(values=[v["a"], v["b"], v["a"]], axis=-1),
            "woven": mb.concat(values=[v["a"], v["b"]], axis=0, interleave=True),
            "scalars": mb.concat(values=[scalar, mb.add(x=scalar, y=np.int32(1))], axis=0),
            "stacked": mb.stack(values=[v["a"], v["b"]], axis=1),
            "range": mb.range_1d(start=np.int32(-1), end=scalar, step=np.int32(2)),
            "filled": mb.fill(shape=mb.concat(values=[scalar, np.int32(2)], axis=0), value=np.float32(2.5)),
            "shaped": mb.reshape(x=v["a"], shape=mb.concat(values=[scalar, np.int32(-1)], axis=0)),
            "part": mb.slice_by_index(
                x=v["a"], begin=mb.concat(values=[np.int32(0), np.int32(1)], axis=0),
                end=mb.concat(values=[np.int32(2), scalar], axis=0),
            ),
        }  # fmt: skip

    got = evaluate(body, {"a": a, "b": b, "n": n})
    np.testing.assert_array_equal(got["joined"], np.concatenate([a, b, a], -1))
    np.testing.assert_array_equal(got["woven"], np.stack([a, b], 1).reshape(4, 3))
    np.testing.assert_array_equal(got["scalars"], [3, 4])
    np.testing.assert_array_equal(got["stacked"], np.stack([a, b], 1))
    np.testing.assert_array_equal(got["range"], [-1, 1])
    np.testing.assert_array_equal(got["filled"], np.full((3, 2), 2.5))
    np.testing.assert_array_equal(got["shaped"], a.reshape(3, 2))
    np.testing.assert_array_equal(got["part"], a[:, 1:3])


def test_every_registered_op_has_a_case() -> None:
    elsewhere = {"concat", "stack", "range_1d", "fill"}
    assert set(REGISTRY) - {case.op for case in CASES} - elsewhere == set()
    assert not STATE_OPS & set(REGISTRY)
