"""Gather and scatter."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.mil.cases import Case, ints, normal, positive

X = normal(4, 5, 6)


def scatter64(data: np.ndarray, places: tuple[Any, ...], updates: np.ndarray, mode: str) -> np.ndarray:
    """numpy's unbuffered ufunc.at, which applies repeated indices one after the other."""
    out = data.astype(np.float64)
    ufuncs = {
        "add": np.add,
        "mul": np.multiply,
        "max": np.maximum,
        "min": np.minimum,
    }
    if mode == "update":
        out[places] = updates
    else:
        ufuncs[mode].at(out, places, updates)
    return out


PLACES = np.array([[0, 1], [3, 2], [0, 1]], np.int32)
INDEXING = [
    Case("gather", {"x": X, "indices": ints(0, 5, 2, 3)}, {"axis": 1}),
    Case("gather", {"x": X, "indices": ints(0, 4, 3)}),
    Case(
        "gather",
        {"x": X, "indices": ints(0, 6, 4, 2)},
        {"axis": 2, "batch_dims": 1},
        lambda x, indices, **_: np.stack([a[:, i] for a, i in zip(x, indices, strict=True)]),
    ),
    Case(
        "gather",
        {"x": X, "indices": ints(0, 6, 4, 5, 3)},
        {"axis": -1, "batch_dims": 2},
        lambda x, indices, **_: np.take_along_axis(x, indices, -1),
    ),
    Case("gather_along_axis", {"x": X, "indices": ints(0, 6, 4, 5, 2)}, {"axis": -1}),
    Case(
        "gather_nd",
        {"x": X, "indices": np.stack([ints(0, 4, 2, 3), ints(0, 5, 2, 3)], -1)},
        {},
        lambda x, indices: x[indices[..., 0], indices[..., 1]],
    ),
    Case(
        "gather_nd",
        {"x": X, "indices": ints(0, 5, 4, 2, 1)},
        {"batch_dims": 1},
        lambda x, indices, **_: np.stack([a[i[:, 0]] for a, i in zip(x, indices, strict=True)]),
    ),
    Case(
        "scatter_along_axis",
        {
            "data": normal(3, 3),
            "indices": np.array([[0, 2, 1], [2, 1, 0], [1, 1, 1]], np.int32),
            "updates": normal(3, 3),
        },
        {"axis": 0, "mode": "add"},
        lambda data, indices, updates, **_: scatter64(
            data, (indices, np.arange(3)[None, :].repeat(3, 0)), updates, "add"
        ),
    ),
    *[
        Case(
            "scatter_nd",
            {"data": positive(4, 3, 2), "indices": PLACES, "updates": positive(3, 2)},
            {"mode": mode},
            lambda data, indices, updates, mode: scatter64(data, (indices[:, 0], indices[:, 1]), updates, mode),
        )
        for mode in ("add", "mul", "max", "min")
    ],
    Case(
        "scatter_nd",
        {"data": normal(4, 3), "indices": np.array([[2], [0]], np.int32), "updates": normal(2, 3)},
        {"mode": "update"},
        lambda data, indices, updates, **_: scatter64(data, (indices[:, 0],), updates, "update"),
    ),
]
