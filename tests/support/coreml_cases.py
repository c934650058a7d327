"""Cases: one ONNX node (opset 23) each, with its operands and attributes.

Operands are numbers that float16 holds exactly: onnxruntime and the Core ML program start from the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RNG = np.random.default_rng(23)


@dataclass(frozen=True)
class Known:
    """An operand that is an initializer of the graph."""

    array: np.ndarray


@dataclass(frozen=True)
class Case:
    """One node. operands: an array becomes a graph input, None is left out."""

    op: str
    operands: tuple[np.ndarray | Known | None, ...]
    attributes: dict[str, Any]
    outputs: int = 1


def case(op: str, *operands: np.ndarray | Known | None, outputs: int = 1, **attributes: Any) -> Case:
    return Case(op, operands, attributes, outputs)


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (RNG.standard_normal(shape) * scale).astype(np.float16).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return (RNG.random(shape) * 3 + 0.1).astype(np.float16).astype(np.float32)


def unit(*shape: int) -> np.ndarray:
    return (RNG.random(shape) * 1.8 - 0.9).astype(np.float16).astype(np.float32)


def ints(low: int, high: int, *shape: int) -> np.ndarray:
    return RNG.integers(low, high, shape)


def bools(*shape: int) -> np.ndarray:
    return RNG.random(shape) < 0.5


def known(values: Sequence[int] | Sequence[float] | np.ndarray, dtype: type = np.int64) -> Known:
    return Known(np.asarray(values, dtype if not isinstance(values, np.ndarray) else values.dtype))


def number(value: float) -> Known:
    return Known(np.asarray(value, np.float32))


HALVES = np.array([-3.5, -2.5, -1.5, -0.5, -0.0, 0.0, 0.5, 1.5, 2.5, 3.5], np.float32)
INF = float("-inf")

MATH = [
    *[case(op, normal(2, 3, 4), normal(3, 1)) for op in ("Add", "Sub", "Mul", "Min", "Max", "Sum")],
    *[case(op, normal(4), Known(normal(3, 4))) for op in ("Add", "Sub", "Mul", "Div")],
    case("Div", normal(3, 4), positive(4)),
    *[case(op, ints(-9, 9, 3, 4), ints(1, 5, 4)) for op in ("Add", "Sub", "Mul", "Max", "Div")],
    case("Div", ints(-9, 9, 20), np.array([-3, 2] * 10)),
    case("Mod", ints(-9, 9, 20), np.array([-3, 2] * 10)),
    case("Mod", ints(-9, 9, 20), np.array([-3, 2] * 10), fmod=1),
    case("Mod", normal(8, scale=5), Known(np.array([1.5, -2] * 4, np.float32)), fmod=1),
    *[case("Pow", positive(3, 4), number(e)) for e in (2, 3, 0.5, -0.5, -1, 1, 1.5)],
    case("Pow", normal(3, 4), number(2)),
    case("Pow", normal(3, 4), Known(np.array(3, np.int64))),
    case("Pow", positive(3, 4), normal(4)),
    case("Pow", ints(-3, 4, 6), Known(np.array(2, np.int64))),
    case("Mean", normal(3, 4), normal(4), normal(1, 4)),
    case("Max", normal(3, 4), normal(4), normal(1, 4)),
    case("Min", normal(3, 4)),
    *[
        case(op, ints(0, 3, 4, 1), ints(0, 3, 5))
        for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
    ],
    *[case(op, HALVES, HALVES[::-1].copy()) for op in ("Equal", "Less", "GreaterOrEqual")],
    case("Equal", bools(8), bools(8)),
    *[case(op, bools(3, 1), bools(4)) for op in ("And", "Or", "Xor")],
    case("Not", bools(3, 4)),
    case("IsNaN", np.array([1, np.nan, -2], np.float32)),
    *[
        case("IsInf", np.array([1, np.inf, -np.inf], np.float32), detect_negative=n, detect_positive=p)
        for n, p in ((1, 1), (0, 1), (1, 0))
    ],
    *[case(op, normal(3, 4)) for op in ("Exp", "Abs", "Sign", "Neg", "Sin", "Cos", "Atan", "Sinh", "Cosh", "Erf")],
    *[case(op, positive(3, 4)) for op in ("Sqrt", "Log", "Reciprocal")],
    *[case(op, unit(3, 4)) for op in ("Asin", "Acos", "Atanh", "Tan")],
    *[case(op, HALVES) for op in ("Floor", "Ceil", "Round")],
    *[case(op, ints(-5, 5, 6)) for op in ("Abs", "Sign", "Neg")],
    case("Clip", normal(9), number(-0.5), number(0.5)),
    case("Clip", normal(9), None, number(0.5)),
    case("Clip", normal(9), number(-0.25)),
    case("Clip", normal(9)),
    case("Clip", np.abs(normal(9)), number(1e-12), number(3.4e38)),
    case("Clip", ints(-9, 9, 9), known(np.array(-2)), known(np.array(3))),
    *[case("Cast", HALVES, to=t) for t in (1, 6, 7, 9, 11)],
    *[case("Cast", ints(-2, 3, 6), to=t) for t in (1, 6, 9)],
    *[case("Cast", bools(6), to=t) for t in (1, 7)],
    case("Where", bools(3, 1), normal(4), normal(3, 4)),
    case("Where", bools(3, 4), number(INF), normal(3, 4)),
    case("Where", bools(3, 4), ints(0, 9, 3, 4), known(np.array(5))),
    case("Where", bools(3, 4), number(0.5), number(-2)),
    case("Where", bools(2, 3, 4), normal(4), normal(3, 1)),
    case("Add", Known(np.array([[0, -3.4028235e38]], np.float32)), normal(3, 2)),
]

ACTIVATION = [
    *[
        case(op, normal(3, 4, scale=3))
        for op in ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Mish", "HardSwish")
    ],
    *[case(op, normal(3, 4, scale=3)) for op in ("Elu", "Selu", "Celu", "LeakyRelu", "HardSigmoid", "ThresholdedRelu")],
    *[case("Gelu", normal(3, 4, scale=3), approximate=a) for a in ("none", "tanh")],
    *[case(op, normal(3, 4), alpha=0.75) for op in ("Elu", "Celu", "LeakyRelu", "ThresholdedRelu")],
    case("Selu", normal(9), alpha=1.5, gamma=1.25),
    case("HardSigmoid", normal(9), alpha=0.25, beta=0.375),
    case("Relu", ints(-5, 5, 6).astype(np.int32)),
    case("PRelu", normal(2, 3, 4, 5), Known(normal(3, 1, 1))),
    case("PRelu", normal(3, 4), Known(normal(1))),
    case("Shrink", normal(12, scale=2), lambd=0.75, bias=0.25),
    case("Asinh", normal(12)),
    case("Acosh", positive(12) + 1),
    *[case(op, normal(2, 3, 4, scale=4), axis=a) for op in ("Softmax", "LogSoftmax", "Hardmax") for a in (-1, 1)],
    *[case("Shape", normal(2, 3, 4), start=a, end=b) for a, b in ((-9, -1), (-9, 9), (1, 9), (-2, 3), (0, -2))],
    case("Hardmax", np.tile(np.float32([0, 2, 2, 1, 2]), (3, 1)), axis=-1),
    case("Softmax", normal(2, 5)),
]

_KINDS = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")
_REDUCTIONS = [f"Reduce{kind}" for kind in _KINDS]
REDUCE = [
    *[case(op, positive(2, 3, 4), known([1]), keepdims=k) for op in _REDUCTIONS for k in (0, 1)],
    *[case(op, positive(2, 3, 4), known([-1, 0])) for op in _REDUCTIONS],
    *[case(op, positive(2, 3, 4), keepdims=0) for op in ("ReduceSum", "ReduceMax", "ReduceLogSumExp")],
    case("ReduceSum", normal(2, 3), None, noop_with_empty_axes=1),
    case("ReduceLogSumExp", normal(2, 9, scale=30), known([1])),
    *[case(op, ints(-9, 9, 2, 3), known([1])) for op in ("ReduceSum", "ReduceMax", "ReduceMin")],
    case("ReduceMax", bools(2, 3), known([1])),
    *[case(op, normal(3, 7), axis=1, keepdims=k) for op in ("ArgMax", "ArgMin") for k in (0, 1)],
    *[case(op, ints(0, 3, 3, 7).astype(np.float32), axis=-1, select_last_index=1) for op in ("ArgMax", "ArgMin")],
    case("ArgMax", normal(3, 7)),
    *[case("CumSum", normal(3, 4), known(np.array(1)), exclusive=e, reverse=r) for e in (0, 1) for r in (0, 1)],
    case("CumSum", ints(0, 4, 3, 4), known(np.array(-2))),
    *[case("TopK", normal(3, 7), known([3]), outputs=2, largest=large) for large in (0, 1)],
    case("TopK", normal(7, 3), known([2]), outputs=2, axis=0),
    # equal values: the lowest index comes first
    *[case(op, ints(0, 3, 3, 7).astype(np.float32), axis=a, keepdims=a) for op in ("ArgMax", "ArgMin") for a in (0, 1)],
    *[case(op, ints(0, 3, 3, 7), axis=1) for op in ("ArgMax", "ArgMin")],
    case("ArgMax", np.zeros((2, 3, 4), np.float32), axis=-2),
    *[
        case("TopK", ints(0, 3, 4, 9).astype(np.float32), known([k]), outputs=2, largest=large)
        for k in (1, 2, 5, 9)
        for large in (0, 1)
    ],
    case("TopK", np.zeros((2, 6), np.float32), known([4]), outputs=2),
    case("TopK", ints(-1, 2, 8), known([5]), outputs=2),
    case("TopK", ints(0, 3, 2, 6, 2, 3).astype(np.float32), known([4]), outputs=2, axis=1),
]

NORM = [
    case("LayerNormalization", normal(2, 3, 8), Known(normal(8)), Known(normal(8)), epsilon=1e-6),
    case("LayerNormalization", normal(2, 3, 8), Known(normal(8))),
    case("LayerNormalization", normal(2, 3, 8, scale=400), Known(normal(3, 8)), Known(normal(3, 8)), axis=1),
    case("LayerNormalization", normal(2, 3, 8), normal(8), normal(8)),
    case("LayerNormalization", normal(2, 3, 8), Known(normal(1)), Known(normal(1))),
    case("RMSNormalization", normal(2, 3, 8, scale=400), Known(normal(8))),
    *[case("LpNormalization", normal(2, 3, 8), axis=a, p=p) for a in (-1, 1) for p in (1, 2)],
    *[
        case("BatchNormalization", x, Known(positive(4)), Known(normal(4)), Known(normal(4)), Known(positive(4)))
        for x in (normal(2, 4), normal(2, 4, 5), normal(2, 4, 5, 3))
    ],
    case("BatchNormalization", normal(1, 2, 3), *[Known(positive(2)) for _ in range(4)], epsilon=0.25),
    case("InstanceNormalization", normal(2, 4, 5, 3), Known(normal(4)), Known(normal(4)), epsilon=1e-3),
    case("InstanceNormalization", normal(2, 4, 9), normal(4), normal(4)),
    *[
        case("GroupNormalization", normal(2, 6, 5, 3), Known(normal(6)), Known(normal(6)), num_groups=g)
        for g in (1, 2, 6)
    ],
    case("MeanVarianceNormalization", normal(2, 3, 4, 5)),
    case("MeanVarianceNormalization", normal(2, 3, 4), axes=[0, 2]),
    case("LRN", normal(2, 7, 4, 3, scale=3), size=3, alpha=0.5, beta=0.75, bias=2.0),
]

SHAPE = [
    case("Reshape", normal(2, 3, 4), known([4, -1])),
    case("Reshape", normal(2, 3, 4), known([0, 2, -1])),
    case("Reshape", bools(2, 3), known([3, 2])),
    case("Unsqueeze", normal(2, 3), known([0, -1])),
    case("Squeeze", normal(2, 1, 3, 1), known([1])),
    case("Squeeze", normal(2, 1, 3, 1)),
    *[case("Flatten", normal(2, 3, 4), axis=a) for a in (0, 1, -1)],
    *[case("Concat", normal(2, 3), Known(normal(2, 1)), normal(2, 2), axis=a) for a in (1, -1)],
    case("Concat", bools(2, 3), bools(1, 3), axis=0),
    case("Concat", ints(0, 9, 2, 3), known(np.array([[1, 2, 3]])), axis=0),
    case("Split", normal(2, 7), known([2, 4, 1]), outputs=3, axis=1),
    case("Split", normal(2, 7), outputs=3, axis=-1, num_outputs=3),
    case("Split", normal(6, 2), outputs=2, num_outputs=2),
    case("Slice", normal(6, 7), known([1]), known([5])),
    case("Slice", normal(6, 7), known([1, -3]), known([2**62, -1]), known([0, 1])),
    case("Slice", normal(6, 7), known([-1]), known([-(2**62)]), known([1]), known([-1])),
    case("Slice", normal(6, 7), known([5]), known([0]), known([0]), known([-2])),
    case("Slice", normal(6, 7), known([-100]), known([100]), known([-1]), known([3])),
    case("Slice", ints(0, 9, 6), known([-2]), known([6])),
    case("Slice", bools(6), known([2]), known([-1])),
    case("Expand", normal(3, 1), known([2, 1, 4])),
    case("Expand", bools(1), known([2, 3])),
    case("Expand", ints(0, 5, 2, 1), known([2, 2])),
    case("Tile", normal(2, 3), known([2, 1])),
    case("Identity", normal(2, 3)),
    case("ConstantOfShape", known([300, 300])),
    case("Transpose", normal(2, 3, 4)),
    case("Transpose", normal(2, 3, 4), perm=[1, 2, 0]),
    case("Transpose", bools(2, 3), perm=[1, 0]),
    *[case("Pad", normal(2, 3, 4), known([0, 1, 2, 0, 0, 3]), mode=m) for m in ("reflect", "edge", "wrap")
      if m != "reflect"],
    case("Pad", normal(2, 3, 4), known([0, 1, 2, 0, 2, 3]), mode="reflect"),
    case("Pad", normal(2, 3, 4), known([1, 1, 2, 0, 0, 3]), number(1.5)),
    case("Pad", normal(3, 4), known([1, 1]), None, known([1])),
    case("Pad", normal(3, 4), known([-1, 2, 0, -1])),
    case("Pad", ints(0, 60000, 3, 4), known([1, 1, 0, 2]), known(np.array(40001))),
    case("Pad", bools(3, 4), known([1, 1, 0, 2]), Known(np.array(True))),
    *[case("DepthToSpace", normal(2, 12, 3, 4), blocksize=2, mode=m) for m in ("DCR", "CRD")],
    case("SpaceToDepth", normal(2, 3, 4, 6), blocksize=2),
    *[case("Trilu", normal(2, 4, 5), known(np.array(k)), upper=u) for k in (0, 1, -2) for u in (0, 1)],
    case("Trilu", bools(4, 4)),
]  # fmt: skip

INDEX = [
    case("Gather", normal(5, 3, 4), ints(0, 5, 2, 2)),
    case("Gather", Known(normal(5, 3)), ints(0, 5, 2, 2)),
    case("Gather", normal(5, 3, 4), known([-1, 0, -3]), axis=1),
    case("Gather", normal(5, 3), known(np.array(-1))),
    case("Gather", bools(5, 3), known([0, 2]), axis=1),
    case("Gather", ints(0, 9, 5, 3), known([0, 2]), axis=1),
    *[case("GatherElements", normal(3, 5), ints(0, 3, 3, 5), axis=a) for a in (0, 1)],
    case("GatherElements", normal(3, 5), known(np.array([[-1, 0], [1, -5]])), axis=1),
    case("GatherND", normal(3, 4, 5), known(np.array([[0, 1], [2, -1]]))),
    case("GatherND", normal(3, 4, 5), ints(0, 3, 2, 2)),
    case("GatherND", normal(2, 3, 4), known(np.array([[1], [2]])), batch_dims=1),
    *[
        case(
            "ScatterElements",
            normal(3, 5),
            known(np.array([[1, 0, 2, 1, 0]])[:, :5]),
            normal(1, 5),
            axis=0,
            reduction=r,
        )
        for r in ("none", "add", "mul", "max", "min")
    ],
    case("ScatterElements", normal(3, 5), known(np.array([[1, -1], [0, 2], [3, 4]])), normal(3, 2), axis=1),
    *[
        case("ScatterND", normal(4, 3), known(np.array([[1], [-1]])), normal(2, 3), reduction=r)
        for r in ("none", "add")
    ],
    case("ScatterND", normal(4, 3), ints(0, 3, 1, 2), normal(1)),
    *[case("OneHot", ints(0, 5, 2, 3), known(np.array(5)), known([0.5, 2], np.float32), axis=a) for a in (-1, 0, 1)],
    case("OneHot", ints(-7, 7, 4, 3), known(np.array(5)), known([1, 3], np.float32)),
    case("OneHot", known(np.array([-1, 7, 2])), known(np.array(5)), known([0, 1])),
]

CASES = [*MATH, *ACTIVATION, *REDUCE, *NORM, *SHAPE, *INDEX]
