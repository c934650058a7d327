"""Cases of products, convolutions, pools and resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.coreml_cases import Case, Known, case, known, normal

_X, _W = normal(2, 3, 8), normal(8, 5)
WEIGHT = [
    case("MatMul", _X, Known(_W)),
    case("MatMul", _X, _W),
    case("MatMul", normal(2, 4, 3, 5), normal(4, 5, 2)),
    case("MatMul", normal(5), normal(2, 5, 3)),
    case("MatMul", normal(2, 3, 5), normal(5)),
    case("MatMul", normal(5), Known(normal(5, 3))),
    case("MatMul", Known(normal(4, 8)), normal(8, 3)),
    *[
        case(
            "Gemm",
            normal(*((8, 3) if a else (3, 8))),
            Known(normal(*((5, 8) if b else (8, 5)))),
            *c,
            transA=a,
            transB=b,
        )
        for a in (0, 1)
        for b in (0, 1)
        for c in ((), (Known(normal(5)),))
    ],
    case("Gemm", normal(3, 8), Known(normal(5, 8)), normal(3, 1), transB=1, alpha=0.5, beta=2.0),
    case("Gemm", normal(3, 8), normal(5, 8), normal(5), transB=1),
    *[
        case("Einsum", *operands, equation=equation)
        for equation, operands in {
            "bij,bjk->bik": (normal(2, 3, 4), normal(2, 4, 5)),
            "bhid,bhjd->bhij": (normal(2, 2, 3, 4), normal(2, 2, 5, 4)),
            "bhwc,hkc->bhwk": (normal(2, 3, 4, 5), normal(3, 6, 5)),
            "ij->ji": (normal(3, 4),),
            "ijk->j": (normal(2, 3, 4),),
            "i,j->ij": (normal(3), normal(4)),
            "ij,ij->": (np.abs(normal(3, 4)) + 1, np.abs(normal(3, 4)) + 1),  # no cancellation: rounding is judged
            "...ij,...jk->...ik": (normal(2, 3, 4), normal(2, 4, 5)),
            "ab,bc,cd->ad": (normal(2, 3), normal(3, 4), normal(4, 2)),
            "ij,jk": (normal(2, 3), normal(3, 4)),
        }.items()
    ],
]


def _conv(x: np.ndarray, *weight: int, bias: bool = True, **attributes: Any) -> Case:
    rest = (Known(normal(weight[0])),) if bias else ()
    return case("Conv", x, Known(normal(*weight, scale=0.3)), *rest, **attributes)


def _turned(x: np.ndarray, *weight: int, groups: int = 1, **attributes: Any) -> Case:
    bias = Known(normal(weight[1] * groups))
    return case("ConvTranspose", x, Known(normal(*weight, scale=0.3)), bias, group=groups, **attributes)


CONV = [
    _conv(normal(1, 4, 9, 8), 6, 4, 3, 3),
    _conv(normal(2, 4, 9, 8), 6, 4, 3, 3, bias=False, strides=[2, 1], pads=[1, 0, 2, 1]),
    _conv(normal(1, 4, 9, 8), 6, 4, 3, 2, dilations=[2, 3], pads=[1, 1, 1, 1]),
    _conv(normal(1, 4, 9, 8), 8, 1, 3, 3, group=4, pads=[1, 1, 1, 1]),
    _conv(normal(1, 4, 9, 8), 6, 2, 3, 3, group=2),
    *[_conv(normal(1, 4, 9, 8), 6, 4, 3, 2, auto_pad=m, strides=[2, 2]) for m in ("SAME_UPPER", "SAME_LOWER", "VALID")],
    _conv(normal(1, 4, 20), 6, 4, 5, strides=[3], pads=[2, 1]),
    _conv(normal(1, 6, 20), 6, 1, 4, group=6, auto_pad="SAME_UPPER"),
    _conv(normal(1, 2, 5, 6, 4), 3, 2, 2, 3, 2, strides=[1, 2, 1]),
    case("Conv", normal(1, 4, 9, 8), normal(6, 4, 3, 3), normal(6)),
    _turned(normal(1, 4, 5, 6), 4, 3, 3, 3),
    _turned(normal(1, 4, 5, 6), 4, 3, 3, 2, strides=[2, 3], pads=[1, 0, 0, 1]),
    _turned(normal(1, 4, 5, 6), 4, 3, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    _turned(normal(1, 4, 5, 6), 4, 3, 2, 2, strides=[3, 3], output_padding=[1, 2]),
    _turned(normal(1, 4, 5, 6), 4, 2, 3, 3, groups=2, dilations=[2, 1]),
    _turned(normal(1, 4, 5, 6), 4, 3, 3, 3, strides=[2, 2], output_shape=[10, 11]),
    *[
        _turned(normal(1, 4, 5, 6), 4, 3, 3, 4, strides=[2, 2], auto_pad=m)
        for m in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ],
    _turned(normal(1, 4, 7), 4, 3, 4, strides=[2], pads=[1, 1]),
]

POOL = [
    *[
        case(op, normal(1, 3, 9, 8), kernel_shape=[3, 2], **attributes)
        for op in ("MaxPool", "AveragePool")
        for attributes in (
            {},
            {"strides": [2, 3]},
            {"strides": [2, 1], "pads": [1, 0, 1, 1]},
            {"strides": [2, 2], "ceil_mode": 1},
            {"strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 0, 0]},
            {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
            {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        )
    ],
    case("AveragePool", normal(1, 3, 9, 8), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    case("AveragePool", normal(1, 3, 8, 8), kernel_shape=[3, 3], pads=[1, 0, 0, 1], count_include_pad=1, ceil_mode=1,
         strides=[2, 2]),
    case("MaxPool", np.arange(200, 225, dtype=np.uint8).reshape(1, 1, 5, 5), kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    *[case(op, normal(1, 3, 9), kernel_shape=[3], strides=[2]) for op in ("MaxPool", "AveragePool")],
    *[case(op, normal(1, 3, 4, 5, 4), kernel_shape=[2, 3, 2]) for op in ("MaxPool", "AveragePool")],
    *[case(op, normal(2, 3, 4, 5)) for op in ("GlobalMaxPool", "GlobalAveragePool")],
    *[case(op, normal(2, 3, 4)) for op in ("GlobalMaxPool", "GlobalAveragePool")],
]  # fmt: skip


def _resize(x: np.ndarray, scales: list[float] | None, sizes: list[int] | None = None, **attributes: Any) -> Case:
    by_scale = None if scales is None else known(scales, np.float32)
    by_size = () if sizes is None else (known(sizes),)
    return case("Resize", x, None, by_scale, *by_size, **attributes)


RESIZE = [
    *[
        _resize(normal(1, 2, 4, 5), [1, 1, 2, 3], mode=mode, coordinate_transformation_mode=how)
        for mode in ("nearest", "linear", "cubic")
        for how in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
    ],
    *[
        _resize(normal(1, 2, 8, 6), None, [1, 2, 5, 3], mode=mode, coordinate_transformation_mode=how)
        for mode in ("nearest", "linear", "cubic")
        for how in ("half_pixel", "asymmetric", "align_corners")
    ],
    *[
        _resize(normal(1, 2, 4, 5), [1, 1, 1.75, 2.6], nearest_mode=rounding)
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ],
    _resize(normal(1, 2, 7), [1, 1, 2], mode="linear"),
    _resize(normal(1, 2, 4, 5), None, [1, 2, 1, 1], mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    _resize(normal(1, 2, 4, 5), [1, 1, 2, 2], mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1),
    _resize(normal(1, 4, 5, 2), [1, 2, 2, 1], mode="linear"),
    _resize(normal(1, 2, 4, 5), [2, 2], mode="linear", axes=[2, 3]),
]

LAYERS = [*WEIGHT, *CONV, *POOL, *RESIZE]
