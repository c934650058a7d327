"""Bits for every tensor from one budget: a multiple-choice knapsack on real stored bytes.

For each tensor one way to store it is chosen, so that the sum of costs is minimal within the budget. Dynamic
programming over bytes is exact where all sizes are multiples of a unit and there are at most `MAX_UNITS` units.
Elsewhere sizes are rounded to units (these errors largely cancel out), every answer is checked in real bytes, and the
rest of the budget is filled. One table answers all budgets, and gives the size/quality curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from exporter.compress.choices import Choice

MAX_UNITS = 1 << 15  # of the range from least to most bytes: over 16 bits per weight, a unit is 0.0005 bits per weight
ANSWERS_CHECKED = 256  # for a budget: answers for budgets that are 1, 2, … units smaller


@dataclass(frozen=True)
class Option:
    """One way to store a tensor. cost: its share of the model's error, in any additive unit; 0 for keeping it."""

    choice: Choice
    stored_bytes: int
    cost: float


@dataclass(frozen=True)
class TensorOptions:
    """All ways to store one tensor; at least one."""

    name: str
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError(f"no way to store {self.name!r}")
        if not all(math.isfinite(option.cost) for option in self.options):
            raise ValueError(f"a cost of {self.name!r} is not finite")

    def option(self, choice: Choice) -> Option:
        """The option with this choice. Raises KeyError if there is none."""
        match = next((option for option in self.options if option.choice == choice), None)
        if match is None:
            raise KeyError(f"{self.name}: {choice}")
        return match

    @cached_property
    def useful(self) -> tuple[Option, ...]:
        """The options by bytes, without those that another option beats in both bytes and cost."""
        pareto: list[Option] = []
        for option in sorted(self.options, key=lambda o: (o.stored_bytes, o.cost, o.choice)):
            if not pareto or option.cost < pareto[-1].cost:
                pareto.append(option)
        return tuple(pareto)


class UnreachableBudgetError(ValueError):
    """The budget is too small. least: bytes of the smallest choices."""

    def __init__(self, least: int) -> None:
        super().__init__(f"at least {least} bytes")
        self.least = least


@dataclass(frozen=True)
class Frontier:
    """The best choices for every budget. `tensors`: in any order; the same order gives the same answers."""

    tensors: tuple[TensorOptions, ...]

    @property
    def least(self) -> int:
        """Bytes of the smallest choices."""
        return sum(tensor.useful[0].stored_bytes for tensor in self.tensors)

    @property
    def most(self) -> int:
        """More bytes than this don't lower the cost."""
        return sum(tensor.useful[-1].stored_bytes for tensor in self.tensors)

    def at(self, budget: int) -> dict[str, Choice]:
        """Tensor → how to store it, in at most `budget` bytes. Raises UnreachableBudgetError."""
        if budget < self.least:
            raise UnreachableBudgetError(self.least)
        first = min(len(self._table.best) - 1, (budget - self.least) // self._unit + ANSWERS_CHECKED // 8)
        answers: list[tuple[float, int, list[int]]] = []
        for level in range(first, max(-1, first - ANSWERS_CHECKED), -1):
            indices = self._indices(level)
            size = self._bytes(indices)
            if size <= budget:
                answers.append((self._cost(indices), size, indices))
                if len(answers) == ANSWERS_CHECKED // 8:
                    break
        if not answers:  # in a small range, rounding can hide every answer that fits
            answers.append((math.inf, self.least, [0] * len(self.tensors)))
        indices = self._filled(min(answers)[2], budget)
        return {t.name: t.useful[i].choice for t, i in zip(self.tensors, indices, strict=True)}

    def bytes_for(self, cost: float) -> int:
        """A budget for which the summed cost is about `cost`; if none has so low a cost, the largest budget."""
        enough = np.flatnonzero(self._table.best <= cost)
        level = int(enough[0]) if enough.size else len(self._table.best) - 1
        return min(self.most, self.least + level * self._unit)

    def stored_bytes(self, choices: Mapping[str, Choice]) -> int:
        """Bytes of these choices."""
        return sum(tensor.option(choices[tensor.name]).stored_bytes for tensor in self.tensors)

    def cost(self, choices: Mapping[str, Choice]) -> float:
        """Summed costs of these choices."""
        return math.fsum(tensor.option(choices[tensor.name]).cost for tensor in self.tensors)

    def _bytes(self, indices: Sequence[int]) -> int:
        return sum(tensor.useful[i].stored_bytes for tensor, i in zip(self.tensors, indices, strict=True))

    def _cost(self, indices: Sequence[int]) -> float:
        return math.fsum(tensor.useful[i].cost for tensor, i in zip(self.tensors, indices, strict=True))

    @cached_property
    def _unit(self) -> int:
        """Bytes of a unit: the common divisor of all sizes, or more: the range has at most `MAX_UNITS` units."""
        steps = [o.stored_bytes - t.useful[0].stored_bytes for t in self.tensors for o in t.useful]
        shared = max(1, math.gcd(*steps))
        span = self.most - self.least
        return shared if span // shared <= MAX_UNITS else -(-span // MAX_UNITS)

    @cached_property
    def _table(self) -> _Table:
        return _table(self.tensors, self._unit)

    def _indices(self, level: int) -> list[int]:
        """For each tensor the index of its option in `useful`: the best answer for `level` units above the least."""
        indices = [0] * len(self.tensors)
        for at in range(len(self.tensors) - 1, -1, -1):
            indices[at] = int(self._table.indices[at][level])
            level -= self._table.units[at][indices[at]]
        return indices

    def _filled(self, indices: list[int], budget: int) -> list[int]:
        """Spends the rest of the budget: larger options, the largest gain first, while one fits."""
        room = budget - self._bytes(indices)
        while True:
            steps = [
                (option.cost - tensor.useful[i].cost, at, j)
                for at, (tensor, i) in enumerate(zip(self.tensors, indices, strict=True))
                for j, option in enumerate(tensor.useful)
                if j > i and option.stored_bytes - tensor.useful[i].stored_bytes <= room
            ]
            if not steps:
                return indices
            _, at, j = min(steps)
            room -= self.tensors[at].useful[j].stored_bytes - self.tensors[at].useful[indices[at]].stored_bytes
            indices[at] = j


@dataclass(frozen=True)
class _Table:
    """best: float64 `[units + 1]`, the lowest cost for each number of units above the least bytes.

    indices: for each tensor, uint8 `[units + 1]`: the index of its option in the best answer for the tensors up to it.
    units: for each tensor, the units of each option above its smallest.
    """

    best: NDArray[np.float64]
    indices: tuple[NDArray[np.uint8], ...]
    units: tuple[tuple[int, ...], ...]


def _table(tensors: Sequence[TensorOptions], unit: int) -> _Table:
    units = tuple(tuple(round((o.stored_bytes - t.useful[0].stored_bytes) / unit) for o in t.useful) for t in tensors)
    levels = sum(steps[-1] for steps in units) + 1
    best, indices = np.zeros(levels), []
    for tensor, steps in zip(tensors, units, strict=True):
        lowest = best + tensor.useful[0].cost
        chosen = np.zeros(levels, np.uint8)
        for index, (option, step) in enumerate(zip(tensor.useful, steps, strict=True)):
            if index:
                cost = best[: levels - step] + option.cost
                better = cost < lowest[step:]
                lowest[step:][better] = cost[better]
                chosen[step:][better] = index
        best = lowest
        indices.append(chosen)
    return _Table(best, tuple(indices), units)
