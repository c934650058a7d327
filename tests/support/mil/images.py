"""Pools, transposed convolutions and ops on images, by their definitions in numpy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from support.mil.cases import Case, normal

Pads = list[tuple[int, int]]


def windows(x: np.ndarray, kernel: tuple[int, ...], strides: tuple[int, ...]) -> tuple[np.ndarray, list[int]]:
    """All windows `[n, channels, place, element]`, and how many places each axis has."""
    sizes = [(size - k) // s + 1 for size, k, s in zip(x.shape[2:], kernel, strides, strict=True)]
    parts = []
    for place in np.ndindex(*sizes):
        at = tuple(slice(p * s, p * s + k) for p, s, k in zip(place, strides, kernel, strict=True))
        parts.append(x[(slice(None), slice(None), *at)].reshape(*x.shape[:2], -1))
    return np.stack(parts, 2), sizes


def max_pool64(x: np.ndarray, kernel_sizes: Any, strides: Any, pad: Any = (0,) * 6, **_: Any) -> np.ndarray:
    around = [(pad[2 * i], pad[2 * i + 1]) for i in range(x.ndim - 2)]
    padded = np.pad(x, [(0, 0), (0, 0), *around], constant_values=-np.inf)
    parts, sizes = windows(padded, tuple(kernel_sizes), tuple(strides))
    return parts.max(-1).reshape(*x.shape[:2], *sizes)


def avg_pool64(
    x: np.ndarray,
    kernel_sizes: Any,
    strides: Any,
    pad: Any = (0,) * 6,
    exclude_padding_from_average: Any = False,
    **_: Any,
) -> np.ndarray:
    around = [(pad[2 * i], pad[2 * i + 1]) for i in range(x.ndim - 2)]
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *around])
    parts, sizes = windows(padded, tuple(kernel_sizes), tuple(strides))
    inside, _ = windows(np.pad(np.ones_like(x), [(0, 0), (0, 0), *around]), tuple(kernel_sizes), tuple(strides))
    count = inside.sum(-1) if exclude_padding_from_average else parts.shape[-1]
    return (parts.sum(-1) / count).reshape(*x.shape[:2], *sizes)


def same_pool(x: np.ndarray, pad_type: str, kernel: tuple[int, int], strides: tuple[int, int]) -> np.ndarray:
    """ceil(size / stride) results; an odd element of padding goes behind, or before for same_lower."""
    pads: list[int] = []
    for size, k, s in zip(x.shape[2:], kernel, strides, strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        less, more = total // 2, total - total // 2
        pads += [less, more] if pad_type == "same" else [more, less]
    return max_pool64(x, kernel, strides, pads)


def conv_transpose64(
    x: np.ndarray,
    weight: np.ndarray,
    strides: Any,
    pad: Any,
    dilations: Any,
    groups: int = 1,
    bias: Any = 0.0,
    **_: Any,
) -> np.ndarray:
    """Every element of x adds its kernel to the result at its place; `pad` is cut off."""
    kernel = weight.shape[2:]
    full = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(x.shape[2:], strides, kernel, dilations, strict=True)]
    outs, ins = weight.shape[1], x.shape[1] // groups
    out = np.zeros((x.shape[0], outs * groups, *full))
    places = itertools.product(np.ndindex(*x.shape[2:]), np.ndindex(*kernel))
    for at, tap in places:
        to = tuple(a * s + t * d for a, s, t, d in zip(at, strides, tap, dilations, strict=True))
        for group in range(groups):
            part = x[(slice(None), slice(group * ins, (group + 1) * ins), *at)].astype(np.float64)
            taps = weight[(slice(group * ins, (group + 1) * ins), slice(None), *tap)].astype(np.float64)
            out[(slice(None), slice(group * outs, (group + 1) * outs), *to)] += part @ taps
    cut = tuple(slice(pad[2 * i], size - pad[2 * i + 1]) for i, size in enumerate(full))
    return out[(slice(None), slice(None), *cut)] + np.reshape(bias, (-1, *[1] * len(full)))


def bilinear64(x: np.ndarray, rows: list[float], columns: list[float]) -> np.ndarray:
    """x at the places given for its last two axes."""
    for axis, places in ((-2, rows), (-1, columns)):
        size = x.shape[axis]
        at = np.clip(np.array(places), 0, size - 1)
        low = np.floor(at).astype(int)
        weight = (at - low).reshape(-1, *[1] * (-1 - axis))
        high = np.minimum(low + 1, size - 1)
        x = x.take(low, axis) * (1 - weight) + x.take(high, axis) * weight
    return x


_X, _KERNEL = normal(2, 3, 7, 6), {"kernel_sizes": [3, 2], "pad_type": "custom"}
_POOLS: list[dict[str, Any]] = [
    {"strides": [1, 1], "pad": [0, 0, 0, 0]},
    {"strides": [2, 1], "pad": [1, 2, 0, 1]},
]
_IMAGE = normal(2, 2, 3)

IMAGES = [
    *[Case("max_pool", {"x": _X}, {**_KERNEL, **pool}, max_pool64) for pool in _POOLS],
    *[Case("avg_pool", {"x": _X}, {**_KERNEL, **pool}, avg_pool64) for pool in _POOLS],
    Case("avg_pool", {"x": _X}, {**_KERNEL, **_POOLS[1], "exclude_padding_from_average": True},
         avg_pool64),
    Case("max_pool", {"x": normal(2, 3, 9)}, {"kernel_sizes": [4], "strides": [2], "pad_type": "valid"},
         max_pool64),
    Case("avg_pool", {"x": normal(1, 2, 4, 5, 3)}, {"kernel_sizes": [2, 3, 2], "strides": [1, 2, 1],
                                                    "pad_type": "valid"}, avg_pool64),
    *[Case("max_pool", {"x": _X}, {"kernel_sizes": [3, 4], "strides": [2, 3], "pad_type": kind},
           lambda x, pad_type, **_: same_pool(x, pad_type, (3, 4), (2, 3))) for kind in ("same", "same_lower")],
    Case("conv_transpose", {"x": normal(2, 4, 3, 5)}, {
        "weight": normal(4, 3, 2, 3), "strides": [2, 3], "dilations": [1, 1], "pad_type": "custom",
        "pad": [1, 0, 0, 2]}, conv_transpose64),
    Case("conv_transpose", {"x": normal(1, 4, 6)}, {
        "weight": normal(4, 2, 3), "strides": [2], "dilations": [2], "groups": 2, "bias": normal(4)},
        lambda **v: conv_transpose64(**v, pad=[0, 0])),
    Case("upsample_nearest_neighbor", {"x": _IMAGE},
         {"scale_factor_height": np.int32(2), "scale_factor_width": np.int32(3)},
         lambda x, **_: x.repeat(2, -2).repeat(3, -1)),
    Case("upsample_nearest_neighbor", {"x": _IMAGE},
         {"scale_factor_height": 2.5, "scale_factor_width": 1.0},
         lambda x, **_: x[:, [0, 0, 0, 1, 1]]),
    # grid points that coremltools' documentation of resize_bilinear prints for an axis of 2 (there to two digits)
    *[Case("resize_bilinear", {"x": _IMAGE[:, :, :2]},
           {"target_size_height": 5, "target_size_width": 6, "sampling_mode": mode},
           lambda x, rows=rows, columns=columns, **_: bilinear64(x, rows, columns))
      for mode, rows, columns in (
          ("UNALIGN_CORNERS", [0, 0.1, 0.5, 0.9, 1], [0, 0, 1 / 3, 2 / 3, 1, 1]),
          ("STRICT_ALIGN_CORNERS", [0, 0.25, 0.5, 0.75, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]),
          ("ALIGN_CORNERS", [0, 0.25, 0.5, 0.75, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]),
          ("DEFAULT", [0, 0.4, 0.8, 1, 1], [0, 1 / 3, 2 / 3, 1, 1, 1]),
          ("OFFSET_CORNERS", [0.1, 0.3, 0.5, 0.7, 0.9], [1 / 12, 0.25, 5 / 12, 7 / 12, 0.75, 11 / 12]),
      )],
    Case("pixel_shuffle", {"x": normal(2, 8, 3, 2)}, {"upscale_factor": 2},
         lambda x, **_: x.reshape(2, 2, 2, 2, 3, 2).transpose(0, 1, 4, 2, 5, 3).reshape(2, 2, 6, 4)),
    Case("pixel_unshuffle", {"x": normal(2, 2, 6, 4)}, {"downscale_factor": np.uint32(2)},
         lambda x, **_: x.reshape(2, 2, 3, 2, 2, 2).transpose(0, 1, 3, 5, 2, 4).reshape(2, 8, 3, 2)),
    Case("local_response_norm", {"x": normal(2, 5, 3, 4)},
         {"size": 3, "alpha": np.float32(0.5), "beta": np.float32(0.75), "k": np.float32(2)},
         lambda x, **_: x / (2 + 0.5 / 3 * sum(
             np.pad(x.astype(np.float64) ** 2, [(0, 0), (1, 1), (0, 0), (0, 0)])[:, i : i + 5] for i in range(3)
         )) ** 0.75),
]  # fmt: skip
