"""Elementwise ops: arithmetic, comparison, logic, activations, casts."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from exporter.runners.mil.ops.registry import OpTable

OPS = OpTable()

OPS.unary(
    {
        "acos": torch.acos,
        "asin": torch.asin,
        "atan": torch.atan,
        "atanh": torch.atanh,
        "cos": torch.cos,
        "cosh": torch.cosh,
        "erf": torch.erf,
        "exp": torch.exp,
        "sigmoid": torch.sigmoid,
        "silu": F.silu,
        "sin": torch.sin,
        "sinh": torch.sinh,
        "softplus": F.softplus,
        "softsign": F.softsign,
        "sqrt": torch.sqrt,
        "square": torch.square,
        "tan": torch.tan,
        "tanh": torch.tanh,
    }
)
OPS.unary(
    {
        "abs": torch.abs,
        "ceil": torch.ceil,
        "floor": torch.floor,
        "identity": lambda x: x,
        "logical_not": torch.logical_not,
        "relu": torch.relu,
        "round": torch.round,  # half to even, as in coremltools' value inference
        "sign": torch.sign,
    },
    exact=True,
)
OPS.binary(
    {
        "add": torch.add,
        "floor_div": torch.floor_divide,
        "mod": torch.remainder,  # has the sign of y, like Python's %
        "mul": torch.mul,
        "pow": torch.pow,
        "sub": torch.sub,
    }
)
OPS.binary(
    {
        "equal": torch.eq,
        "greater": torch.gt,
        "greater_equal": torch.ge,
        "less": torch.lt,
        "less_equal": torch.le,
        "logical_and": torch.logical_and,
        "logical_or": torch.logical_or,
        "logical_xor": torch.logical_xor,
        "maximum": torch.maximum,
        "minimum": torch.minimum,
        "not_equal": torch.ne,
    },
    exact=True,
)


@OPS(same=("x", "y"))
def real_div(x: Tensor, y: Tensor) -> Tensor:
    """x / y, for floats. An integer quotient would be rounded, and no documentation says how."""
    if not x.is_floating_point():
        raise ValueError("real_div of integers has no documented rounding; cast to fp16 first")
    return x / y


@OPS()
def inverse(x: Tensor, epsilon: float = 1e-4) -> Tensor:
    """1 / (x + epsilon)."""
    return torch.reciprocal(x + epsilon)


@OPS()
def log(x: Tensor, epsilon: float = 1e-45) -> Tensor:
    """ln(x + epsilon)."""
    return torch.log(x + epsilon)


@OPS()
def rsqrt(x: Tensor, epsilon: float = 1e-12) -> Tensor:
    """1 / sqrt(x + epsilon)."""
    return torch.rsqrt(x + epsilon)


@OPS()
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """Gaussian error linear unit, exact or one of the two approximations."""
    if mode == "EXACT":
        return F.gelu(x)
    if mode == "TANH_APPROXIMATION":
        return F.gelu(x, approximate="tanh")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    raise ValueError(f"gelu has no mode {mode!r}")


@OPS()
def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    """x where it is positive, alpha * x elsewhere."""
    return F.leaky_relu(x, alpha)


@OPS()
def elu(x: Tensor, alpha: float) -> Tensor:
    """x where it is positive, alpha * (exp(x) - 1) elsewhere."""
    return F.elu(x, alpha)


@OPS()
def sigmoid_hard(x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """alpha * x + beta limited to [0, 1]."""
    return torch.clamp(alpha * x + beta, 0, 1)


@OPS(exact=True, same=("a", "b"))
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`a` where cond is true, `b` elsewhere."""
    return torch.where(cond, a, b)


_CASTS = {
    "fp16": torch.float32,  # rounded afterwards, like every fp16 result
    "fp32": torch.float32,
    "bool": torch.bool,
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), torch.int32),  # wrapped afterwards
}


@OPS()
def cast(x: Tensor, dtype: str) -> Tensor:
    """Converts `x` to another type. Floats lose their fraction; floats beyond int32 are an error."""
    if dtype not in _CASTS:
        raise ValueError(f"cast has no type {dtype!r}")
    if x.is_floating_point() and _CASTS[dtype] is torch.int32 and not _fits_int32(x):
        raise ValueError(f"cast to {dtype}: values beyond 32 bits")
    return x.to(_CASTS[dtype])


def _fits_int32(x: Tensor) -> bool:
    return x.numel() == 0 or float(x.abs().max()) < 2**31  # False for NaN
