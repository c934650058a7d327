"""Reductions and searches along axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from exporter.runners.torch_graph.attributes import Attributes, Op, OpMaker, ints

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _reduced(over: Reduction) -> OpMaker:
    """The maker of a reduction: over all axes where none are given, unless the node says that it does nothing then."""

    def make(facts: Attributes) -> Op:
        keep, idle = facts.flag("keepdims", True), facts.flag("noop_with_empty_axes")

        def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
            chosen = [] if axes is None else ints(axes)
            if not chosen:
                if idle:
                    return over(x.unsqueeze(-1), [-1], False)  # each element by itself: squares and logarithms remain
                chosen = list(range(x.ndim))
            return over(x, chosen, keep)

        return run

    return make


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keep)
    return torch.div(x.sum(axes, keep), _count(x, axes), rounding_mode="trunc").to(x.dtype)


def _count(x: Tensor, axes: list[int]) -> int:
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return count


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = torch.prod(x, axis, keep, dtype=x.dtype)
    return x


def _norm(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x if x.is_floating_point() else x.double(), 2, axes, keep)
    return norm.to(x.dtype)


def _log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _sum(x, axes, keep).log().to(x.dtype)


def _log_sum_exp(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.logsumexp(x, axes, keep).to(x.dtype)


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.sum(x, axes, keep, dtype=x.dtype)


def _extreme_place(largest: bool) -> OpMaker:
    def make(facts: Attributes) -> Op:
        axis, keep, last = facts.integer("axis", 0), facts.flag("keepdims", True), facts.flag("select_last_index")

        def run(x: Tensor) -> Tensor:
            best = x.amax(axis, True) if largest else x.amin(axis, True)
            hits = x == best
            if last:
                place = x.shape[axis] - 1 - hits.flip(axis).to(torch.uint8).argmax(axis, True)
            else:
                place = hits.to(torch.uint8).argmax(axis, True)
            return place if keep else place.squeeze(axis)

        return run

    return make


def _top_k(facts: Attributes) -> Op:
    axis, largest = facts.integer("axis", -1), facts.flag("largest", True)

    def run(x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        count = int(k)  # stable, so that of equal elements the first one wins
        values, places = torch.sort(x, dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, count), places.narrow(axis, 0, count)

    return run


OPS: dict[str, OpMaker] = {
    "ArgMax": _extreme_place(True),
    "ArgMin": _extreme_place(False),
    "ReduceL1": _reduced(lambda x, axes, keep: _sum(x.abs(), axes, keep)),
    "ReduceL2": _reduced(_norm),
    "ReduceLogSum": _reduced(_log_sum),
    "ReduceLogSumExp": _reduced(_log_sum_exp),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(_mean),
    "ReduceMin": _reduced(torch.amin),
    "ReduceProd": _reduced(_product),
    "ReduceSum": _reduced(_sum),
    "ReduceSumSquare": _reduced(lambda x, axes, keep: _sum(x.square(), axes, keep)),
    "TopK": _top_k,
}
