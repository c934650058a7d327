"""Cases of attention, rotations, norms, convolutions, pools and resizing, beyond those of the Core ML lowering."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.coreml_cases import Case, Known, known
from support.torch_cases import bools, case, floats, ints, normal, positive

LOWEST = float(np.finfo(np.float32).min)


def _additive(*shape: int, value: float = LOWEST) -> np.ndarray:
    """A mask to add, in which every query sees at least the first key."""
    mask = np.where(bools(*shape), np.float32(value), np.float32(0))
    mask[..., 0] = 0
    return mask


def _seen(*shape: int) -> np.ndarray:
    return _additive(*shape) == 0


def _blind(mask: np.ndarray) -> np.ndarray:
    """The mask, under which the second query sees nothing."""
    mask[..., 1, :] = False if mask.dtype == bool else -np.inf
    return mask


def _heads(queries: int = 4, keys: int | None = None, heads: tuple[int, int] = (4, 4)) -> list[np.ndarray]:
    """Query, key and value `[2, heads, tokens, 6]`; scaled so that attention is neither flat nor one token."""
    count = queries if keys is None else keys
    return [normal(2, heads[0], queries, 6), normal(2, heads[1], count, 6), normal(2, heads[1], count, 6)]


def _rows(queries: int = 4, keys: int = 4, heads: tuple[int, int] = (4, 4)) -> list[np.ndarray]:
    """The same as `[2, tokens, heads * 6]`."""
    return [x.transpose(0, 2, 1, 3).reshape(2, x.shape[2], -1) for x in _heads(queries, keys, heads)]


def _past(heads: int, tokens: int = 3) -> list[np.ndarray]:
    return [normal(2, heads, tokens, 6), normal(2, heads, tokens, 6)]


_GROUPED = {"q_num_heads": 4, "kv_num_heads": 2}
ATTENTION = [
    case("Attention", *_heads()),
    case("Attention", *_heads(3, 5)),
    case("Attention", *_heads(3, 5)[:2], normal(2, 4, 5, 7)),  # values of another width
    *[case("Attention", *_heads(heads=(4, count)), scale=0.3) for count in (2, 1)],
    *[case("Attention", *_rows(3, 5, (4, count)), q_num_heads=4, kv_num_heads=count) for count in (4, 2)],
    *[case("Attention", *_heads(3, 5), mask) for mask in (
        _additive(3, 5), _additive(2, 1, 3, 5), _additive(2, 4, 3, 5), _additive(1, 3, 5), _additive(4, 3, 5),
        _seen(3, 5), _seen(2, 1, 3, 5), _additive(3, 5, value=-np.inf), normal(2, 1, 3, 5))],
    *[case("Attention", *_heads(5), is_causal=1), case("Attention", *_heads(5), _additive(5, 5), is_causal=1)],
    case("Attention", *_heads(5), _seen(2, 1, 5, 5), is_causal=1),
    *[case("Attention", *_heads(3, heads=(4, 2)), None, *_past(2), outputs=3, **causal)
      for causal in ({}, {"is_causal": 1})],
    case("Attention", *_heads(3, heads=(4, 2)), _additive(2, 1, 3, 6), *_past(2), outputs=3, is_causal=1),
    case("Attention", *_rows(1, 1, (4, 2)), _additive(2, 1, 1, 4), *_past(2), outputs=3, **_GROUPED),
    case("Attention", *_heads(3, heads=(4, 2)), _additive(2, 1, 3, 3), *_past(2, 0), outputs=3),
    *[case("Attention", *_heads(3, 5, (4, count)), *mask, softcap=2.0) for count in (4, 2)
      for mask in ((), (_additive(3, 5),), (_seen(3, 5),), (normal(3, 5),))],
    *[case("Attention", *_heads(3, 5), _blind(mask), **cap) for mask in (_additive(3, 5), _seen(2, 1, 3, 5))
      for cap in ({}, {"softcap": 2.0})],
    case("Attention", *_heads(4), None, softcap=1.5, scale=0.7, is_causal=1),
    case("Attention", *_rows(4, 4, (4, 2)), _additive(4, 4), softcap=3.0, is_causal=1, **_GROUPED),
]  # fmt: skip

_ANGLES = normal(9, 3)
_COS, _SIN = np.cos(_ANGLES), np.sin(_ANGLES)
_PLACES = ints(0, 9, 2, 4)
ROTARY = [
    *[case("RotaryEmbedding", normal(2, 3, 4, 6), Known(_COS), Known(_SIN), _PLACES, interleaved=i) for i in (0, 1)],
    *[case("RotaryEmbedding", normal(2, 4, 18), _COS, _SIN, _PLACES, num_heads=3, interleaved=i) for i in (0, 1)],
    *[case("RotaryEmbedding", normal(2, 3, 4, 6), _COS[_PLACES], _SIN[_PLACES], interleaved=i) for i in (0, 1)],
    case("RotaryEmbedding", normal(2, 4, 18), _COS[_PLACES], _SIN[_PLACES], num_heads=3),
    *[case("RotaryEmbedding", normal(2, 3, 4, 10), _COS, _SIN, _PLACES, rotary_embedding_dim=6, interleaved=i)
      for i in (0, 1)],
    case("RotaryEmbedding", normal(2, 4, 30), _COS, _SIN, _PLACES, num_heads=3, rotary_embedding_dim=6),
]  # fmt: skip

NORM = [
    *[case("LayerNormalization", normal(2, 3, 4), normal(3, 4), normal(3, 4), axis=a, epsilon=0.1) for a in (1, -2)],
    case("LayerNormalization", normal(2, 3, 4), normal(2, 3, 4), axis=0),
    case("LayerNormalization", normal(2, 8), normal(8), outputs=1, axis=1),
    *[case("RMSNormalization", normal(2, 3, 4), normal(*shape), axis=a) for shape, a in (
        ((4,), -1), ((3, 4), 1), ((2, 3, 4), 0), ((1,), 2))],
    case("RMSNormalization", normal(2, 3, 8, scale=1e-3), normal(8), epsilon=1e-6),
    case("LpNormalization", normal(2, 3, 4), axis=0),
    case("LpNormalization", floats([[0, 0, 0], [3, 0, 4]])),  # nothing stays nothing
    case("GroupNormalization", normal(2, 6, 5), normal(6), normal(6), num_groups=3, epsilon=0.25),
    case("InstanceNormalization", normal(1, 2, 3, 4, 2), normal(2), normal(2)),
    case("MeanVarianceNormalization", normal(2, 3, 4, 5), axes=[1, 3]),
    *[case("LRN", normal(2, 7, 4, 1), size=size) for size in (1, 5)],
]  # fmt: skip


def _conv(x: np.ndarray, *kernel: int, bias: bool = True, **attributes: Any) -> Case:
    """The kernel as an operand, so that it is no constant of the graph."""
    return case("Conv", x, normal(*kernel, scale=0.3), *([normal(kernel[0])] if bias else []), **attributes)


CONV = [
    *[_conv(normal(2, 4, n), 6, 4, 4, auto_pad=m, strides=[3]) for m in ("SAME_UPPER", "SAME_LOWER") for n in (9, 10)],
    _conv(normal(1, 4, 5, 6, 4), 4, 2, 2, 3, 1, group=2, pads=[0, 1, 0, 1, 0, 2], dilations=[2, 1, 1], bias=False),
    _conv(normal(1, 2, 6, 6), 3, 2, 1, 1, auto_pad="NOTSET"),
    _conv(normal(1, 2, 6, 6), 3, 2, 3, 3, auto_pad="VALID", kernel_shape=[3, 3]),
    case("ConvTranspose", normal(1, 4, 5), normal(4, 3, 3), strides=[3], output_padding=[2], pads=[1, 0]),
    case("ConvTranspose", normal(1, 4, 5), normal(4, 3, 3), normal(6), strides=[2], group=2),
    case("ConvTranspose", normal(1, 4, 3, 2, 3), normal(4, 2, 2, 1, 2), strides=[2, 1, 2], pads=[1, 0, 0, 0, 0, 1]),
    case("ConvTranspose", normal(1, 4, 5), normal(4, 3, 2), normal(3), strides=[4], output_padding=[3], pads=[1, 1]),
]

POOL = [
    *[case(op, normal(1, 2, 9, 8), kernel_shape=[2, 3], dilations=[2, 1], strides=[1, 2])
      for op in ("MaxPool", "AveragePool")],
    *[case(op, normal(1, 2, 9), kernel_shape=[4], strides=[3], ceil_mode=1, pads=p) for op in ("MaxPool", "AveragePool")
      for p in ([0, 0], [2, 1], [1, 2])],
    *[case("AveragePool", normal(1, 2, 10), kernel_shape=[3], strides=[2], ceil_mode=1, pads=[1, 1],
           count_include_pad=c) for c in (0, 1)],
    *[case("AveragePool", normal(1, 2, 7, 6), kernel_shape=[3, 2], strides=[2, 2], auto_pad=m, count_include_pad=c)
      for m in ("SAME_UPPER", "SAME_LOWER", "VALID") for c in (0, 1)],
    case("MaxPool", -positive(1, 2, 5), kernel_shape=[3], pads=[1, 1]),  # padding is below everything
    *[case("MaxPool", ints(-99, 99, 1, 2, 5, 4, dtype=dtype), kernel_shape=[2, 2], pads=[1, 0, 0, 1])
      for dtype in (np.int8, np.uint8)],
    *[case(op, normal(2, 3, 4, 5, 2)) for op in ("GlobalMaxPool", "GlobalAveragePool")],
]  # fmt: skip


def _resize(x: np.ndarray, scales: list[float] | None = None, sizes: list[int] | None = None, **form: Any) -> Case:
    by_scale = None if scales is None else known(scales, np.float32)
    return case("Resize", x, None, by_scale, *([] if sizes is None else [known(sizes)]), **form)


RESIZE = [
    *[_resize(normal(1, 2, 10), [1, 1, factor]) for factor in (0.3, 0.7, 1.1, 2.6)],
    _resize(normal(1, 1, 4, 5), sizes=[7, 3], axes=[-2, -1], mode="linear"),
    _resize(normal(1, 1, 4, 5), [1, 1, 1, 1]),
    _resize(ints(0, 9, 1, 1, 3, 2, dtype=np.int32), [1, 1, 2, 2]),
    _resize(normal(1, 1, 6, 6), [1, 1, 2, 2], mode="linear", antialias=1),  # which only shrinking knows
    case("Resize", normal(1, 1, 3), None, floats([1, 1, 2]), mode="linear"),  # scales that come as an input
]

LAYERS: list[Case] = [*ATTENTION, *ROTARY, *NORM, *CONV, *POOL, *RESIZE]

# What the definition allows and onnxruntime refuses; onnx's own reference implementation is the reference here.
BY_DEFINITION: list[Case] = [
    *[case("Attention", *_heads(3, 5), mask) for mask in (
        _additive(1, 5), _seen(2, 1, 1, 5), normal(3, 4), _seen(3, 4), normal(2, 1, 1, 4), normal(3, 1))],
    *[case("Attention", *_heads(3, 5), mask, is_causal=1) for mask in (normal(3, 4), _seen(3, 4), normal(3, 1))],
    *[_conv(normal(2, 4, n), 6, 4, 3, auto_pad=m, strides=[2], dilations=[2]) for m in ("SAME_UPPER", "SAME_LOWER")
      for n in (9, 10)],
    case("Where", bools(4), bools(3, 1), bools(4)),
]  # fmt: skip
