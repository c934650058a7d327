"""Gathering, scattering, and positions."""

from __future__ import annotations

import torch
from torch import Tensor

from exporter.runners.torch_graph.attributes import Attributes, Op, OpMaker, always

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _from_start(places: Tensor, size: int) -> Tensor:
    """Places counted from the end as places counted from the start."""
    places = places.to(torch.int64)
    return torch.where(places < 0, places + size, places)


def _gather(facts: Attributes) -> Op:
    axis = facts.integer("axis", 0)

    def run(x: Tensor, places: Tensor) -> Tensor:
        at = axis % x.ndim
        chosen = x.index_select(at, _from_start(places, x.shape[at]).reshape(-1))
        return chosen.reshape(x.shape[:at] + places.shape + x.shape[at + 1 :])

    return run


def _gather_elements(facts: Attributes) -> Op:
    axis = facts.integer("axis", 0)
    return lambda x, places: torch.gather(x, axis, _from_start(places, x.shape[axis]))


def _gather_nd(facts: Attributes) -> Op:
    batch_dims = facts.integer("batch_dims", 0)

    def run(x: Tensor, places: Tensor) -> Tensor:
        batch = [
            torch.arange(size, device=x.device).reshape([-1 if i == axis else 1 for i in range(places.ndim - 1)])
            for axis, size in enumerate(x.shape[:batch_dims])
        ]
        depth = places.shape[-1]
        picked = [_from_start(places[..., i], x.shape[batch_dims + i]) for i in range(depth)]
        return x[(*batch, *picked)]

    return run


def _scatter_elements(facts: Attributes) -> Op:
    axis, reduction = facts.integer("axis", 0), facts.text("reduction", "none")

    def run(x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
        found = _from_start(places, x.shape[axis])
        if reduction == "none":
            return x.scatter(axis, found, updates)
        return x.scatter_reduce(axis, found, updates, _REDUCTIONS[reduction])

    return run


def _scatter_nd(facts: Attributes) -> Op:
    reduction = facts.text("reduction", "none")

    def run(x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
        depth = places.shape[-1]
        picked = tuple(_from_start(places[..., i], x.shape[i]) for i in range(depth))
        if reduction in ("none", "add"):
            return x.index_put(picked, updates.to(x.dtype), accumulate=reduction == "add")
        flat = torch.zeros_like(picked[0])
        for place, size in zip(picked, x.shape, strict=False):
            flat = flat * size + place
        rows = x.reshape(-1, *x.shape[depth:])
        target = flat.reshape(-1, *([1] * (x.ndim - depth))).expand(-1, *x.shape[depth:])
        changed = updates.reshape(-1, *x.shape[depth:])
        return rows.scatter_reduce(0, target, changed, _REDUCTIONS[reduction]).reshape(x.shape)

    return run


def _one_hot(facts: Attributes) -> Op:
    axis = facts.integer("axis", -1)

    def run(places: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        size = int(depth)
        found = _from_start(places, size)
        hits = found.unsqueeze(-1) == torch.arange(size, device=found.device)
        dense = torch.where(hits, values[1], values[0])
        return dense if axis == -1 else dense.movedim(-1, axis)

    return run


def _non_zero(x: Tensor) -> Tensor:
    return torch.nonzero(x).T


OPS: dict[str, OpMaker] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonZero": always(_non_zero),
    "OneHot": _one_hot,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
}
