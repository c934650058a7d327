"""Arithmetic, comparison, logic, activations, casts."""

from __future__ import annotations

import numpy as np

from support.mil.cases import Case, binary, bools, ints, normal, positive, unary, unit

SIGNED = np.array([-3.5, -2.5, -1.5, -0.5, -0.0, 0.0, 0.5, 1.5, 2.5, 3.5], np.float32)

ELEMENTWISE = [
    *[unary(op, normal(3, 4)) for op in ("abs", "atan", "cos", "cosh", "erf", "exp", "relu", "sigmoid", "sign")],
    *[unary(op, normal(3, 4)) for op in ("sin", "sinh", "softplus", "softsign", "square", "tan", "tanh")],
    *[unary(op, unit(3, 4)) for op in ("acos", "asin", "atanh")],
    *[unary(op, SIGNED) for op in ("ceil", "floor", "round")],
    unary("silu", normal(3, 4), lambda x: x / (1 + np.exp(-x.astype(np.float64)))),
    unary("sqrt", positive(5)),
    unary("logical_not", bools(2, 3)),
    unary("abs", ints(-5, 5, 6)),
    unary("sign", ints(-2, 3, 6)),
    unary("square", ints(-5, 5, 6)),
    *[unary("gelu", normal(3, 4), mode=m) for m in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")],
    unary("inverse", positive(5)),
    unary("inverse", positive(5), epsilon=np.float32(0.25)),
    unary("log", positive(5)),
    unary("log", positive(5), epsilon=np.float32(0.5)),
    unary("rsqrt", positive(5)),
    unary("rsqrt", positive(5), epsilon=np.float32(0.5)),
    unary("leaky_relu", normal(9), alpha=np.float32(0.3)),
    unary("elu", normal(9), alpha=np.float32(0.3)),
    unary("sigmoid_hard", normal(9) * 3, alpha=np.float32(0.3), beta=np.float32(0.4)),
    *[binary(op, normal(3, 1, 4), normal(2, 1)) for op in ("add", "sub", "mul", "real_div", "maximum", "minimum")],
    *[
        binary(op, normal(8) * 5, np.where(np.arange(8) % 2, 1.5, -1.5).astype(np.float32))
        for op in ("mod", "floor_div")
    ],
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
