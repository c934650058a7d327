"""Shapes and slices."""

from __future__ import annotations

import numpy as np

from support.mil.cases import Case, ints, normal, unary

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
    unary("shape", normal(2, 3, 4)),
    unary("tile", normal(2, 3), reps=[3, 2]),
    unary("pad", normal(2, 3, 4), pad=[1, 2, 0, 3], constant_val=np.float32(7)),
    unary("pad", normal(2, 3, 4), pad=[1, 2, 3, 1], mode="reflect"),
    unary("pad", normal(2, 3, 4), pad=[1, 2, 3, 1], mode="replicate"),
    unary("split", normal(2, 6), num_splits=3, axis=1),
    unary("split", normal(2, 6), split_sizes=[1, 3, 2], axis=-1),
    Case(
        "one_hot",
        {"indices": ints(0, 4, 3)},
        {"one_hot_vector_size": 4},
        lambda indices, **_: np.eye(4, dtype=np.int32)[indices],
    ),
    Case(
        "one_hot",
        {"indices": ints(0, 4, 2, 3)},
        {"one_hot_vector_size": 4, "axis": 1, "on_value": np.float32(2), "off_value": np.float32(-1)},
        lambda indices, **_: np.moveaxis(np.eye(4)[indices] * 3 - 1, -1, 1),
    ),
]

X = normal(4, 5, 6)
SLICING = [
    unary("slice_by_index", X, begin=[1, 0, 2], end=[3, 5, 4]),
    unary("slice_by_index", X, begin=[1, 0, 0], end=[4, 5, 6], stride=[2, 3, 1]),
    unary("slice_by_index", X, begin=[-2, 0, 2], end=[-1, -1, 100]),
    unary(
        "slice_by_index",
        X,
        begin=[3, 9, 2],
        end=[0, 9, 4],
        begin_mask=[True, True, False],
        end_mask=[False, True, False],
        stride=[1, 1, 1],
        expect=lambda x, **_: x[:0, :, 2:4],
    ),
    unary("slice_by_index", X, begin=[-1, 0, -1], end=[0, 5, -4], stride=[-1, 1, -2]),
    unary(
        "slice_by_index",
        X,
        begin=[0, 0, 0],
        end=[0, 0, 0],
        stride=[-1, 1, 1],
        begin_mask=[True] * 3,
        end_mask=[True] * 3,
    ),
    unary(
        "slice_by_index",
        X,
        begin=[2, 0, -1],
        end=[0, 0, 0],
        end_mask=[False, True, False],
        squeeze_mask=[True, False, True],
        expect=lambda x, **_: x[2, :, -1],
    ),
    unary("slice_by_size", X, begin=[1, 0, 2], size=[2, -1, 3]),
    unary("slice_by_size", X, begin=[-1, 0, 2], size=[1, 5, -1]),
    Case("slice_update", {"x": X, "update": normal(2, 5, 2)}, {"begin": [1, 0, 2], "end": [3, 5, 4]}),
    Case(
        "slice_update",
        {"x": X, "update": normal(4, 3, 3)},
        {"begin": [0, 0, 0], "end": [0, 5, 6], "stride": [1, 2, 2], "end_mask": [True, False, False]},
    ),
    Case(
        "slice_update",
        {"x": X, "update": normal(5, 6)},
        {"begin": [2, 0, 0], "end": [0, 0, 0], "end_mask": [False, True, True], "squeeze_mask": [True, False, False]},
        lambda x, update, **_: np.concatenate([x[:2], update[None], x[3:]]),
    ),
    Case(
        "slice_update",
        {"x": X, "update": normal(5, 6)},
        {"begin": [-1, 0, 0], "end": [0, 0, 0], "end_mask": [False, True, True], "squeeze_mask": [True, False, False]},
        lambda x, update, **_: np.concatenate([x[:-1], update[None]]),
    ),
]
