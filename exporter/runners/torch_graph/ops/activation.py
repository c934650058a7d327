"""Activations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from exporter.runners.torch_graph.attributes import Attributes, Op, OpMaker, always


def _gelu(facts: Attributes) -> Op:
    form = facts.text("approximate", "none")
    return lambda x: functional.gelu(x, approximate=form)


def _elu(facts: Attributes) -> Op:
    alpha = facts.number("alpha", 1.0)
    return lambda x: functional.elu(x, alpha)


def _celu(facts: Attributes) -> Op:
    alpha = facts.number("alpha", 1.0)
    return lambda x: functional.celu(x, alpha)


def _selu(facts: Attributes) -> Op:
    alpha, gamma = facts.number("alpha", 1.6732632423543772), facts.number("gamma", 1.0507009873554805)
    return lambda x: gamma * functional.elu(x, alpha)


def _leaky_relu(facts: Attributes) -> Op:
    slope = facts.number("alpha", 0.01)
    return lambda x: functional.leaky_relu(x, slope)


def _thresholded_relu(facts: Attributes) -> Op:
    alpha = facts.number("alpha", 1.0)
    return lambda x: torch.where(x > alpha, x, torch.zeros_like(x))


def _hard_sigmoid(facts: Attributes) -> Op:
    alpha, beta = facts.number("alpha", 0.2), facts.number("beta", 0.5)
    return lambda x: torch.clamp(x * alpha + beta, 0, 1)


def _swish(facts: Attributes) -> Op:
    alpha = facts.number("alpha", 1.0)
    return lambda x: x * torch.sigmoid(x * alpha)


def _shrink(facts: Attributes) -> Op:
    bias, edge = facts.number("bias", 0.0), facts.number("lambd", 0.5)

    def run(x: Tensor) -> Tensor:
        return torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, torch.zeros_like(x)))

    return run


def _softmax(facts: Attributes) -> Op:
    axis = facts.integer("axis", -1)
    return lambda x: torch.softmax(x, axis)


def _log_softmax(facts: Attributes) -> Op:
    axis = facts.integer("axis", -1)
    return lambda x: torch.log_softmax(x, axis)


def _hardmax(facts: Attributes) -> Op:
    axis = facts.integer("axis", -1)
    return lambda x: torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1)


OPS: dict[str, OpMaker] = {
    "Celu": _celu,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": always(functional.hardswish),
    "Hardmax": _hardmax,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _log_softmax,
    "Mish": always(functional.mish),
    "PRelu": always(lambda x, slope: torch.where(x < 0, x * slope, x)),
    "Relu": always(torch.relu),
    "Selu": _selu,
    "Shrink": _shrink,
    "Sigmoid": always(torch.sigmoid),
    "Softmax": _softmax,
    "Softplus": always(lambda x: torch.logaddexp(x, torch.zeros_like(x))),
    "Softsign": always(functional.softsign),
    "Swish": _swish,
    "Tanh": always(torch.tanh),
    "ThresholdedRelu": _thresholded_relu,
}
