"""Normalization."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from exporter.runners.torch_graph.attributes import Attributes, Op, OpMaker


def _rms(facts: Attributes) -> Op:
    axis, epsilon = facts.integer("axis", -1), facts.number("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor) -> Tensor:
        at = axis % x.ndim
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        mean = wide.square().mean(tuple(range(at, x.ndim)), keepdim=True)
        return (wide * torch.rsqrt(mean + epsilon)).to(x.dtype) * scale

    return run


def _layer(facts: Attributes) -> Op:
    axis, epsilon = facts.integer("axis", -1), facts.number("epsilon", 1e-5)
    if facts.used(1) or facts.used(2):
        raise NotImplementedError("the mean and the deviation as outputs")

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        shape = x.shape[axis:]
        if scale.shape == shape and (bias is None or bias.shape == shape):
            return functional.layer_norm(x, shape, scale, bias, epsilon)
        result = functional.layer_norm(x, shape, None, None, epsilon) * scale
        return result if bias is None else result + bias

    return run


def _batch(facts: Attributes) -> Op:
    epsilon = facts.number("epsilon", 1e-5)
    if facts.flag("training_mode"):
        raise NotImplementedError("training_mode")

    def run(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return functional.batch_norm(x, mean, variance, scale, bias, training=False, eps=epsilon)

    return run


def _instance(facts: Attributes) -> Op:
    epsilon = facts.number("epsilon", 1e-5)
    return lambda x, scale, bias: functional.group_norm(x, x.shape[1], scale, bias, epsilon)


def _group(facts: Attributes) -> Op:
    groups, epsilon = facts.integer("num_groups", 1), facts.number("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if scale.shape[0] == x.shape[1]:
            return functional.group_norm(x, groups, scale, bias, epsilon)
        repeats = x.shape[1] // groups  # before opset 21 there was one scale a group
        return functional.group_norm(
            x, groups, scale.repeat_interleave(repeats), bias.repeat_interleave(repeats), epsilon
        )

    return run


def _local_response(facts: Attributes) -> Op:
    size, alpha = facts.integer("size", 1), facts.number("alpha", 1e-4)
    beta, bias = facts.number("beta", 0.75), facts.number("bias", 1.0)

    def run(x: Tensor) -> Tensor:
        before = (size - 1) // 2
        sides = [0, 0] * (x.ndim - 2) + [before, size - 1 - before]
        squares = functional.pad(x.square(), sides).unfold(1, size, 1).sum(-1)
        return x / (bias + alpha / size * squares) ** beta

    return run


def _lp(facts: Attributes) -> Op:
    axis, order = facts.integer("axis", -1), facts.integer("p", 2)

    def run(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, order, axis, keepdim=True)
        return torch.where(norm == 0, torch.zeros_like(x), x / torch.where(norm == 0, torch.ones_like(norm), norm))

    return run


def _mean_variance(facts: Attributes) -> Op:
    axes = facts.integers("axes") or [0, 2, 3]

    def run(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, True)
        return centred / (centred.square().mean(axes, True).sqrt() + 1e-9)

    return run


OPS: dict[str, OpMaker] = {
    "BatchNormalization": _batch,
    "GroupNormalization": _group,
    "InstanceNormalization": _instance,
    "LRN": _local_response,
    "LayerNormalization": _layer,
    "LpNormalization": _lp,
    "MeanVarianceNormalization": _mean_variance,
    "RMSNormalization": _rms,
}
