"""Products, normalizations, reductions, attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from support.mil.cases import Case, ints, normal, positive


def softmax64(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def batch_norm64(
    x: np.ndarray, mean: Any, variance: Any, gamma: Any = 1.0, beta: Any = 0.0, epsilon: float = 1e-5
) -> Any:
    def channel(v: Any) -> Any:
        return np.asarray(v, np.float64).reshape(-1, *[1] * (x.ndim - 2))

    return (x - channel(mean)) / np.sqrt(channel(variance) + epsilon) * channel(gamma) + channel(beta)


def conv_by_hand(
    x: np.ndarray, weight: np.ndarray, pads: list[tuple[int, int]], strides: tuple[int, ...]
) -> np.ndarray:
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
    Case(
        "conv",
        {"x": normal(1, 4, 1, 7)},
        {"weight": normal(5, 4, 1, 1)},
        lambda x, weight: np.einsum("ncxy,oc->noxy", x.astype(np.float64), weight[:, :, 0, 0]),
    ),
    Case(
        "conv",
        {"x": normal(2, 3, 7, 8)},
        {"weight": KERNEL, "pad_type": "same", "strides": [2, 3]},
        lambda x, weight, **_: conv_by_hand(x, weight, [(0, 1), (0, 1)], (2, 3)),
    ),
    Case(
        "conv",
        {"x": normal(2, 3, 7, 8)},
        {"weight": KERNEL, "pad_type": "same_lower"},
        lambda x, weight, **_: conv_by_hand(x, weight, [(1, 0), (1, 1)], (1, 1)),
    ),
    Case(
        "conv",
        {"x": normal(2, 3, 7, 8)},
        {"weight": KERNEL, "pad_type": "custom", "pad": [0, 2, 3, 1]},
        lambda x, weight, **_: conv_by_hand(x, weight, [(0, 2), (3, 1)], (1, 1)),
    ),
    Case(
        "conv",
        {"x": normal(1, 4, 9)},
        {"weight": normal(4, 1, 3), "groups": 4, "pad_type": "valid", "bias": np.ones(4, np.float32)},
        lambda x, weight, **_: (
            np.concatenate([conv_by_hand(x[:, i : i + 1], weight[i : i + 1], [(0, 0)], (1,)) for i in range(4)], 1) + 1
        ),
    ),
    Case(
        "conv",
        {"x": normal(1, 2, 9)},
        {"weight": np.ones((1, 2, 2), np.float32), "dilations": [3], "pad_type": "valid"},
        lambda x, **_: (x[:, :, :-3] + x[:, :, 3:]).astype(np.float64).sum(1, keepdims=True),
    ),
]

NORMALIZATION = [
    Case(
        "layer_norm",
        {"x": normal(2, 3, 4)},
        {"axes": [-1], "gamma": normal(4), "beta": normal(4), "epsilon": np.float32(1e-3)},
    ),
    Case("layer_norm", {"x": normal(2, 3, 4)}, {"axes": [1, 2]}),
    Case("layer_norm", {"x": normal(2, 3, 4)}, {"axes": [1], "gamma": normal(3), "beta": normal(3)}),
    Case("layer_norm", {"x": normal(2, 3, 4)}, {"axes": [0, 2]}),
    Case(
        "batch_norm",
        {"x": normal(2, 3, 4)},
        {"mean": normal(3), "variance": positive(3), "gamma": normal(3), "beta": normal(3)},
        batch_norm64,
    ),
    Case(
        "batch_norm",
        {"x": normal(2, 3, 4)},
        {"mean": normal(3), "variance": positive(3), "epsilon": np.float32(0.1)},
        batch_norm64,
    ),
    Case("softmax", {"x": normal(2, 3, 4)}, {"axis": 1}),
    Case("softmax", {"x": normal(3, 4) * 50}, {}, softmax64),
]

REDUCTION = [
    *[
        Case(f"reduce_{kind}", {"x": normal(2, 3, 4)}, {"axes": [0, -1], "keep_dims": True})
        for kind in ("sum", "mean", "max", "min", "prod", "l1_norm", "l2_norm", "sum_square", "log_sum_exp")
    ],
    *[
        Case(f"reduce_{kind}", {"x": ints(-4, 5, 2, 3)}, {"axes": [1]})
        for kind in ("sum", "max", "min", "prod", "sum_square", "mean", "l1_norm")
    ],
    Case("reduce_log_sum", {"x": positive(2, 3)}, {"axes": [1]}),
    Case("reduce_sum", {"x": normal(2, 3)}),
    *[
        Case(f"reduce_{kind}", {"x": normal(2, 5)}, {"axis": axis, "keep_dims": keep})
        for kind in ("argmax", "argmin")
        for axis, keep in ((0, True), (-1, False))
    ],
    Case("cumsum", {"x": normal(2, 5)}, {"axis": 1}),
    Case("cumsum", {"x": normal(2, 5)}, {"axis": 0, "reverse": True}),
    Case("cumsum", {"x": ints(0, 9, 2, 5)}, {"axis": 1, "exclusive": True}, lambda x, **_: np.cumsum(x, 1) - x),
    Case(
        "cumsum",
        {"x": ints(0, 9, 2, 5)},
        {"axis": 1, "exclusive": True, "reverse": True},
        lambda x, **_: np.cumsum(x[:, ::-1], 1)[:, ::-1] - x,
    ),
    Case("topk", {"x": normal(2, 5)}, {"k": 3, "axis": 1}),
    Case("topk", {"x": normal(2, 5)}, {"k": 1, "axis": 0, "ascending": True}),
]


def attention64(query: Any, key: Any, value: Any, attn_mask: Any = None) -> np.ndarray:
    scores = query.astype(np.float64) @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == bool else scores + attn_mask
    return softmax64(scores) @ value


LOOK = np.tril(np.ones((3, 5), bool), 2)
ATTENTION = [
    Case(
        "scaled_dot_product_attention",
        {"query": normal(1, 2, 3, 4), "key": normal(1, 2, 5, 4), "value": normal(1, 2, 5, 6)},
        {},
        attention64,
    ),
    Case(
        "scaled_dot_product_attention",
        {"query": normal(2, 2, 3, 4), "key": normal(2, 2, 5, 4), "value": normal(2, 2, 5, 6), "attn_mask": LOOK},
        {},
        attention64,
    ),
    Case(
        "scaled_dot_product_attention",
        {
            "query": normal(2, 3, 4),
            "key": normal(2, 5, 4),
            "value": normal(2, 5, 6),
            "attn_mask": np.where(LOOK, 0, -4e4).astype(np.float32),
        },
        {},
        attention64,
    ),
    Case(
        "scaled_dot_product_attention",
        {
            "query": normal(2, 2, 3, 4),
            "key": normal(2, 2, 5, 4),
            "value": normal(2, 2, 5, 6),
            "attn_mask": normal(2, 1, 1, 5),
        },
        {},
        attention64,
    ),
]
