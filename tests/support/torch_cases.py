"""Cases beyond those that the Core ML lowering is tested with: forms that only calibration computes.

All sizes come from one generator of this file's own, so that the Core ML cases stay what they are in any order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, numpy_helper

from support.coreml_cases import Case, Known, case, known, number

RNG = np.random.default_rng(31)
INT32, INT64 = np.int32, np.int64
LOW, HIGH = -(2**63), 2**63 - 1  # what exporters write for "from the beginning" and "to the end"


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return (RNG.random(shape) * 3 + 0.1).astype(np.float32)


def ints(low: int, high: int, *shape: int, dtype: type = INT64) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(dtype)


def bools(*shape: int) -> np.ndarray:
    return RNG.random(shape) < 0.5


def floats(values: Sequence[float]) -> np.ndarray:
    return np.array(values, np.float32)


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


SPECIAL = floats([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2.5])
HUGE = floats([-200, -90, -20, -1e-3, 0, 1e-3, 20, 90, 200])

MATH = [
    *[case(op, ints(-9, 9, 3, 4, dtype=INT32), ints(1, 5, 4, dtype=INT32)) for op in ("Add", "Sub", "Mul", "Div")],
    *[case(op, ints(-9, 9, 3, 4, dtype=INT32), ints(-9, 9, 1, dtype=INT32)) for op in ("Min", "Max", "Equal", "Less")],
    *[case(op, SPECIAL) for op in ("Abs", "Neg", "IsNaN", "IsInf", "Floor", "Ceil", "Round", "Relu", "Identity")],
    case("IsInf", SPECIAL, detect_negative=0, detect_positive=0),
    *[case(op, SPECIAL, SPECIAL[::-1].copy()) for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")],
    *[case(op, SPECIAL, floats([0.5])) for op in ("Min", "Max", "Add", "Mul")],
    *[case(op, normal(3, 4), normal(1), normal(2, 1, 4)) for op in ("Sum", "Mean", "Min", "Max")],
    *[case(op, normal(3, 4)) for op in ("Sum", "Mean", "Max")],
    *[case(op, scalar(2.5), normal(2, 3)) for op in ("Add", "Div", "Pow", "Max")],
    case("Pow", ints(-3, 4, 6, dtype=INT32), Known(np.array(2.0, np.float32))),
    case("Pow", ints(1, 4, 6), Known(np.array(0.5, np.float32))),  # the base's type: whole parts
    case("Pow", positive(4), ints(-2, 3, 4, dtype=INT32)),
    case("Mod", ints(-9, 9, 3, 4, dtype=INT32), ints(1, 5, 4, dtype=INT32)),
    case("Mod", ints(-9, 9, 3, 4), known(np.array(-4))),
    *[case(op, bools(2, 3, 1), bools(4)) for op in ("And", "Or", "Xor")],
    *[case("Clip", ints(-9, 9, 9, dtype=INT32), *limits) for limits in (
        (Known(np.array(-2, INT32)), Known(np.array(3, INT32))), (None, Known(np.array(3, INT32))))],
    case("Clip", normal(9), number(1.0), number(-1.0)),  # where the lower limit is above: the upper one
    case("Clip", normal(9), scalar(-0.5), scalar(0.5)),
    case("Where", np.array(True), normal(3), normal(2, 1)),
    case("Where", bools(4), ints(0, 9, 3, 1, dtype=INT32), ints(0, 9, 4, dtype=INT32)),
    *[case("CumSum", floats([1, np.inf, 2, 3]), known(np.array(0)), exclusive=e) for e in (0, 1)],
    *[case("CumSum", ints(0, 9, 2, 5, dtype=INT32), known([1], INT32), exclusive=e, reverse=r)
      for e in (0, 1) for r in (0, 1)],
    *[case("CumSum", normal(2, 1, 3), known(np.array(-2)), exclusive=e) for e in (0, 1)],
    case("MatMul", ints(-9, 9, 3, 4, dtype=INT32), ints(-9, 9, 4, 2, dtype=INT32)),
    case("MatMul", normal(4), normal(4)),
    case("MatMul", normal(1, 3, 4), normal(5, 1, 4, 2)),
    case("MatMul", normal(0, 4), Known(normal(4, 2))),
    *[case("Gemm", normal(3, 4), normal(4, 2), c, beta=-0.5) for c in (normal(3, 2), normal(1, 2), normal(3, 1))],
    case("Gemm", normal(3, 4), Known(normal(4, 2)), scalar(1.5), alpha=2.0),
    case("Gemm", normal(4, 3), Known(normal(4, 2)), Known(normal(2)), transA=1, alpha=0.25),
    *[case("Einsum", *operands, equation=equation) for equation, operands in {
        "ii->i": (normal(3, 3),), "ii": (normal(3, 3),), "b i j , b j k -> b i k": (normal(2, 3, 4), normal(2, 4, 5)),
        "...i,...i->...": (normal(2, 3, 4), normal(2, 3, 4)), "bij,j->bi": (normal(2, 3, 4), normal(4)),
    }.items()],
]  # fmt: skip

ACTIVATION = [
    *[case(op, HUGE) for op in ("Sigmoid", "Tanh", "Softplus", "Softsign", "Mish", "HardSwish", "Gelu", "Erf", "Elu")],
    *[case(op, HUGE) for op in ("Selu", "Celu", "LeakyRelu", "HardSigmoid", "ThresholdedRelu", "Shrink", "Swish")],
    case("Gelu", HUGE, approximate="tanh"),
    *[case("Swish", normal(3, 4), **alpha) for alpha in ({}, {"alpha": 1.702})],
    case("PRelu", normal(2, 3, 4), normal(3, 1)),
    case("PRelu", normal(2, 3), floats([0.25])),
    case("Shrink", normal(12, scale=2)),
    *[case(op, normal(2, 3, 4, 5, scale=4), axis=a) for op in ("Softmax", "LogSoftmax", "Hardmax") for a in (0, 2, -3)],
    case("Softmax", floats([[-np.inf, 0, 1], [1e4, -1e4, 1e4]])),
    case("Hardmax", floats([[2, 5, 5], [1, 1, 1]])),  # the first of equal ones
]

_KINDS = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")
REDUCE = [
    *[case(f"Reduce{kind}", positive(2, 3, 4), known([1, -1]), keepdims=0) for kind in _KINDS],
    *[case(f"Reduce{kind}", positive(2, 3), known([])) for kind in _KINDS],
    *[case(f"Reduce{kind}", positive(2, 3), known([]), noop_with_empty_axes=1) for kind in _KINDS],
    *[case(f"Reduce{kind}", scalar(2.5)) for kind in _KINDS],
    *[case(f"Reduce{kind}", ints(1, 9, 2, 3, dtype=INT32), known([0])) for kind in _KINDS],
    case("ReduceMean", ints(-9, 9, 5, 4), known([0]), keepdims=0),
    case("ReduceProd", ints(1, 4, 2, 3, 2), known([0, -1])),
    *[case(f"Reduce{kind}", bools(3, 4), known([-1]), keepdims=0) for kind in ("Max", "Min")],
    case("ReduceSum", ints(0, 2**40, 4, 3), known([0])),
    *[case(op, ints(0, 3, 3, 7, dtype=INT32), axis=a, select_last_index=last) for op in ("ArgMax", "ArgMin")
      for a in (0, -1) for last in (0, 1)],
    *[case("TopK", ints(0, 4, 3, 9), known([4]), outputs=2, largest=large) for large in (0, 1)],  # with equal ones
    case("TopK", normal(3, 5, 2), known([2]), outputs=2, axis=-2),
]  # fmt: skip

SHAPE = [
    case("Reshape", normal(2, 0, 3), known([0, 0, 3])),
    case("Reshape", normal(4, 6), known([0, 2, -1])),
    case("Reshape", normal(2, 0, 3), known([3, 0]), allowzero=1),
    case("Reshape", normal(1, 1), known([])),
    case("Reshape", scalar(3), known([1, 1])),
    *[case("Unsqueeze", normal(2, 3), known(axes)) for axes in ([-1], [1, 3], [3, 0], [-4, -1])],
    case("Unsqueeze", scalar(3), known([0])),
    *[case("Squeeze", normal(1, 2, 1, 3, 1), known(axes)) for axes in ([0, -1], [2], [-3, 0])],
    *[case("Flatten", normal(2, 3, 4), axis=a) for a in (3, -2)],
    *[case("Flatten", normal(*shape), axis=a) for shape, a in (((0, 3), 1), ((5,), 0))],
    case("Concat", normal(2, 0), normal(2, 3), axis=-1),
    case("Concat", normal(3), axis=0),
    case("Split", normal(2, 7, 2), known([3, 4]), outputs=2, axis=-2),
    case("Split", normal(0, 4), outputs=2, num_outputs=2),
    case("Split", ints(0, 9, 6), outputs=3, num_outputs=3),
    case("Slice", normal(6, 7), known([LOW], INT64), known([HIGH], INT64)),
    case("Slice", normal(6, 7), known([HIGH], INT64), known([LOW], INT64), known([0]), known([-1])),
    case("Slice", normal(6, 7), known([2], INT32), known([5], INT32), known([-1], INT32), known([2], INT32)),
    case("Slice", normal(6, 7), known([4, 1]), known([2, 6]), known([0, 1])),  # nothing
    case("Slice", normal(6, 7), np.array([1, 6]), np.array([4, 0]), np.array([-2, -1]), np.array([2, -3])),
    case("Expand", normal(2, 1, 3), known([4, 1])),
    case("Expand", normal(1, 3), known([0, 3])),
    case("Expand", scalar(3), known([2, 2])),
    *[case("Tile", x, known([1, 3, 2])) for x in (normal(2, 1, 3), ints(0, 9, 1, 2, 2), bools(1, 2, 2))],
    case("Identity", bools(2, 3)),
    case("Transpose", ints(0, 9, 2, 3, 4), perm=[2, 0, 1]),
    case("Transpose", scalar(3)),
    *[case("Pad", normal(3, 4), known([2, 1]), None, known([-1]), mode=m) for m in ("reflect", "edge", "wrap")],
    *[case("Pad", ints(0, 9, 3, 4), known([0, 3, 0, 2]), mode=m) for m in ("reflect", "edge", "wrap")],
    case("Pad", normal(3, 4), known([1, 2, 0, 1]), number(-np.inf), known([-1, 0])),
    case("Pad", normal(3, 4), known([0, 0, 0, 0])),
    case("Pad", ints(-5, 5, 3, dtype=INT32), known([1, 1]), Known(np.array(-7, INT32))),
    *[case("DepthToSpace", normal(1, 18, 2, 1), blocksize=3, mode=m) for m in ("DCR", "CRD")],
    case("SpaceToDepth", normal(2, 2, 6, 3), blocksize=3),
    case("Trilu", normal(2, 3, 4, 5)),
    case("Trilu", ints(0, 9, 4, 5), known(np.array(-1)), upper=0),
    case("Trilu", np.full((4, 4), -np.inf, np.float32), known(np.array(1))),  # how decoders make causal masks
    *[case("Shape", normal(2, 3, 0, 4), **cut) for cut in ({}, {"start": 1}, {"start": -2}, {"end": -1},
      {"start": 1, "end": 3}, {"start": -9, "end": 9}, {"start": 3, "end": 1})],
    case("Shape", scalar(3)),
    *[case("Size", x) for x in (normal(2, 3), scalar(3), normal(0, 3))],
    *[case("Range", *[np.array(value, dtype) for value in limits]) for limits, dtype in (
        ((0, 5, 1), INT64), ((5, 0, -2), INT64), ((3, 3, 1), INT64), ((4, 2, 1), INT64), ((1, 8, 3), INT32),
        ((0.5, 4, 0.75), np.float32), ((4, 0, -1.5), np.float32))],
    *[case("ConstantOfShape", known(sizes), value=numpy_helper.from_array(np.array([value], dtype)))
      for sizes, value, dtype in (([2, 3], 1.5, np.float32), ([2], 7, INT64), ([], -1, INT32), ([0, 2], True, bool))],
    *[case("EyeLike", x, **form) for x in (normal(3, 4), ints(0, 9, 4, 3)) for form in (
        {}, {"k": 1}, {"k": -2}, {"dtype": TensorProto.INT32}, {"dtype": TensorProto.FLOAT, "k": 9})],
    *[case("Constant", value=numpy_helper.from_array(np.asarray(value))) for value in (
        normal(2, 3), scalar(3), ints(0, 9, 3), ints(0, 9, 2, 2, dtype=INT32), bools(3), np.zeros((0, 2), INT64))],
    *[case("Constant", **value) for value in ({"value_int": -7}, {"value_ints": [1, 2, 3]}, {"value_float": 0.1},
      {"value_floats": [0.5, -2.0]})],
]  # fmt: skip

CAST = [
    *[case("Cast", floats([-3.7, -0.5, 0, 0.5, 2.5, 100.25]), to=t) for t in (
        TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64, TensorProto.DOUBLE)],
    *[case("Cast", floats([0, 0.5, 2.5, 100.25]), to=t) for t in (TensorProto.UINT8, TensorProto.BOOL)],
    *[case("Cast", np.array([0, 1, 2**31 + 5, -1]), to=t) for t in (TensorProto.INT32, TensorProto.INT8, 9, 11)],
    *[case("CastLike", ints(-3, 4, 6), like) for like in (normal(1), bools(2), ints(0, 1, 1, dtype=INT32))],
    case("CastLike", floats([-1.5, 0, 2.75]), known(np.array(0))),
]  # fmt: skip

_ND = known(np.array([[[0, 1], [-1, 2]], [[2, -4], [1, 0]]]))
INDEX = [
    *[case("Gather", normal(2, 3, 4), places, axis=a) for a in (0, 1, -1, -3)
      for places in (known(np.array(1)), known([[1, 0], [-1, -2]], INT32), known([]))],
    case("Gather", ints(0, 9, 5), known(np.array(-1))),
    *[case("GatherElements", normal(3, 5, 2), ints(-2, 2, 2, 3, 2), axis=a) for a in (-1, 1, 0)],
    case("GatherElements", normal(3, 5), ints(0, 5, 3, 9, dtype=INT32), axis=1),
    case("GatherND", normal(3, 4, 5), _ND),
    case("GatherND", normal(3, 4), known(np.array([[1, 2], [-1, -4]]))),
    case("GatherND", normal(2, 3, 4, 5), known(np.array([[[1, -1]], [[2, 0]]])), batch_dims=1),
    case("GatherND", normal(2, 2, 4), known(np.array([[[1], [-1]], [[0], [3]]])), batch_dims=2),
    *[case("ScatterElements", normal(3, 5), known(np.array([[1, -1, 1], [0, 2, 0]])), normal(2, 3), axis=a, reduction=r)
      for a in (0, -1) for r in ("add", "mul", "max", "min")],
    case("ScatterElements", ints(0, 9, 3, 5), known(np.array([[1, 0]])), ints(0, 9, 1, 2), axis=0),
    *[case("ScatterND", normal(4, 3), known(np.array([[1], [-1], [1]])), normal(3, 3), reduction=r)
      for r in ("add", "mul", "max", "min")],
    *[case("ScatterND", normal(4, 3, 2), known(np.array([[1, 0], [-1, 2]])), normal(2, 2), reduction=r)
      for r in ("none", "add", "mul", "max", "min")],
    case("ScatterND", ints(0, 9, 4, 3), known(np.array([[[0, 1]], [[2, -1]]])), ints(0, 9, 2, 1)),
    case("ScatterND", bools(5), known(np.array([[0], [3]])), bools(2)),
    case("NonZero", normal(3, 4) * bools(3, 4)),
    *[case("NonZero", x) for x in (bools(2, 3, 2), ints(-1, 2, 9), np.zeros(3, np.float32))],
    *[case("OneHot", ints(-6, 7, 2, 3), known([5]), known([0, 1], dtype), axis=a)
      for dtype in (INT64, np.float32) for a in (-1, -2, 0)],
]  # fmt: skip

CASES: list[Case] = [*MATH, *ACTIVATION, *REDUCE, *SHAPE, *CAST, *INDEX]
