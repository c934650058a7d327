"""Arithmetic, comparisons, logic and products of computed tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from exporter.runners.torch_graph.attributes import Attributes, Op, OpMaker, always


def _divided(a: Tensor, b: Tensor) -> Tensor:
    return torch.true_divide(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _power(a: Tensor, b: Tensor) -> Tensor:
    """The result has the base's type."""
    return torch.pow(a, b).to(a.dtype)


def _mod(facts: Attributes) -> Op:
    return torch.fmod if facts.flag("fmod") else torch.remainder


def _folded(op: Callable[[Tensor, Tensor], Tensor]) -> Op:
    """An op of any number of inputs."""

    def run(*tensors: Tensor) -> Tensor:
        return functools.reduce(op, tensors)

    return run


def _mean(*tensors: Tensor) -> Tensor:
    return functools.reduce(torch.add, tensors) / len(tensors)


def _clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if low is not None:
        x = torch.maximum(x, low.to(x.device))
    return x if high is None else torch.minimum(x, high.to(x.device))


def _is_inf(facts: Attributes) -> Op:
    down, up = facts.flag("detect_negative", True), facts.flag("detect_positive", True)

    def run(x: Tensor) -> Tensor:
        found = torch.isinf(x)
        if not down:
            found = found & (x > 0)
        return found if up else found & (x < 0)

    return run


def _cum_sum(facts: Attributes) -> Op:
    exclusive, reverse = facts.flag("exclusive"), facts.flag("reverse")

    def run(x: Tensor, axis: Tensor) -> Tensor:
        at = int(axis)
        x = x.flip(at) if reverse else x
        if exclusive:  # moved by one: an element taken off again would make NaN of infinity
            nothing = x.new_zeros([1 if i == at % x.ndim else size for i, size in enumerate(x.shape)])
            x = torch.cat([nothing, x], at).narrow(at, 0, x.shape[at])
        total = torch.cumsum(x, at, dtype=x.dtype)
        return total.flip(at) if reverse else total

    return run


def _mat_mul(a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


def _gemm(facts: Attributes) -> Op:
    alpha, beta = facts.number("alpha", 1.0), facts.number("beta", 1.0)
    turn_a, turn_b = facts.flag("transA"), facts.flag("transB")

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        result = torch.matmul(a.mT if turn_a else a, b.mT if turn_b else b)
        return affine(result, c, alpha, beta)

    return run


def affine(product: Tensor, bias: Tensor | None, alpha: float, beta: float) -> Tensor:
    """alpha · product + beta · bias, as Gemm defines them."""
    if alpha != 1.0:
        product = product * alpha
    if bias is None:
        return product
    return product + (bias if beta == 1.0 else bias * beta)


def _einsum(facts: Attributes) -> Op:
    equation = facts.text("equation", "").replace(" ", "")
    if not equation.isascii() or any(mark.isupper() for mark in equation):
        raise NotImplementedError("an equation with capitals")

    def run(*tensors: Tensor) -> Tensor:
        return torch.einsum(equation, *tensors)

    return run


OPS: dict[str, OpMaker] = {
    "Abs": always(torch.abs),
    "Acos": always(torch.acos),
    "Acosh": always(torch.acosh),
    "Add": always(torch.add),
    "And": always(torch.logical_and),
    "Asin": always(torch.asin),
    "Asinh": always(torch.asinh),
    "Atan": always(torch.atan),
    "Atanh": always(torch.atanh),
    "Ceil": always(torch.ceil),
    "Clip": always(_clip),
    "Cos": always(torch.cos),
    "Cosh": always(torch.cosh),
    "CumSum": _cum_sum,
    "Div": always(_divided),
    "Einsum": _einsum,
    "Equal": always(torch.eq),
    "Erf": always(torch.erf),
    "Exp": always(torch.exp),
    "Floor": always(torch.floor),
    "Gemm": _gemm,
    "Greater": always(torch.gt),
    "GreaterOrEqual": always(torch.ge),
    "IsInf": _is_inf,
    "IsNaN": always(torch.isnan),
    "Less": always(torch.lt),
    "LessOrEqual": always(torch.le),
    "Log": always(torch.log),
    "MatMul": always(_mat_mul),
    "Max": always(_folded(torch.maximum)),
    "Mean": always(_mean),
    "Min": always(_folded(torch.minimum)),
    "Mod": _mod,
    "Mul": always(torch.mul),
    "Neg": always(torch.neg),
    "Not": always(torch.logical_not),
    "Or": always(torch.logical_or),
    "Pow": always(_power),
    "Reciprocal": always(torch.reciprocal),
    "Round": always(torch.round),
    "Sign": always(torch.sign),
    "Sin": always(torch.sin),
    "Sinh": always(torch.sinh),
    "Sqrt": always(torch.sqrt),
    "Sub": always(torch.sub),
    "Sum": always(_folded(torch.add)),
    "Tan": always(torch.tan),
    "Where": always(torch.where),
    "Xor": always(torch.logical_xor),
}
