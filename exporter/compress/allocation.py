"""Bits for every tensor from one budget: a multiple-choice knapsack on real stored bytes.

One way to store each tensor is taken, so that the costs add up to the least that the bytes allow. Dynamic programming
over bytes solves that exactly where the sizes are multiples of few units; elsewhere sizes are rounded to the nearest of
`UNITS` units, whose errors cancel rather than add up, every answer is checked in real bytes, and what remains of the
budget is filled. One table answers for all budgets, which also gives the size/quality curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from exporter.compress.choices import Choice

UNITS = 1 << 15  # of the range from least to most bytes: one is 0.0005 bits a weight where the range is 16 bits
TRIED = 256  # answers that are looked at below a budget, a unit apart


@dataclass(frozen=True)
class Option:
    """One way to store a tensor. cost: what it adds to the model's error, 0 for keeping it; any unit that adds up."""

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
            raise ValueError(f"a cost of {self.name!r} is no number")

    def option(self, choice: Choice) -> Option:
        """That of a choice. KeyError where it isn't among them."""
        found = next((option for option in self.options if option.choice == choice), None)
        if found is None:
            raise KeyError(f"{self.name}: {choice}")
        return found

    @cached_property
    def useful(self) -> tuple[Option, ...]:
        """By bytes; without those that take more than another and cost no less."""
        kept: list[Option] = []
        for option in sorted(self.options, key=lambda o: (o.stored_bytes, o.cost, o.choice)):
            if not kept or option.cost < kept[-1].cost:
                kept.append(option)
        return tuple(kept)


class UnreachableBudgetError(ValueError):
    """No choice takes so few bytes. least: what the smallest takes."""

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
        """Bytes beyond which nothing gets better."""
        return sum(tensor.useful[-1].stored_bytes for tensor in self.tensors)

    def at(self, budget: int) -> dict[str, Choice]:
        """Tensor → how to store it, in at most `budget` bytes. Raises UnreachableBudgetError."""
        if budget < self.least:
            raise UnreachableBudgetError(self.least)
        first = min(len(self._table.best) - 1, (budget - self.least) // self._unit + TRIED // 8)
        found: list[tuple[float, int, list[int]]] = []
        for level in range(first, max(-1, first - TRIED), -1):
            taken = self._taken(level)
            size = self._bytes(taken)
            if size <= budget:
                found.append((self._cost(taken), size, taken))
                if len(found) == TRIED // 8:
                    break
        if not found:  # rounding hid all that fits, in a range of few bytes
            found.append((math.inf, self.least, [0] * len(self.tensors)))
        taken = self._filled(min(found)[2], budget)
        return {t.name: t.useful[i].choice for t, i in zip(self.tensors, taken, strict=True)}

    def bytes_for(self, cost: float) -> int:
        """A budget for which the summed cost is about `cost`; that of the least cost where none is as small."""
        enough = np.flatnonzero(self._table.best <= cost)
        level = int(enough[0]) if enough.size else len(self._table.best) - 1
        return min(self.most, self.least + level * self._unit)

    def stored_bytes(self, choices: Mapping[str, Choice]) -> int:
        """What these choices take."""
        return sum(tensor.option(choices[tensor.name]).stored_bytes for tensor in self.tensors)

    def cost(self, choices: Mapping[str, Choice]) -> float:
        """Summed costs of these choices."""
        return math.fsum(tensor.option(choices[tensor.name]).cost for tensor in self.tensors)

    def _bytes(self, taken: Sequence[int]) -> int:
        return sum(tensor.useful[i].stored_bytes for tensor, i in zip(self.tensors, taken, strict=True))

    def _cost(self, taken: Sequence[int]) -> float:
        return math.fsum(tensor.useful[i].cost for tensor, i in zip(self.tensors, taken, strict=True))

    @cached_property
    def _unit(self) -> int:
        """Bytes of a unit: what all sizes share where that is coarse enough, else `UNITS` of them make the range."""
        steps = [o.stored_bytes - t.useful[0].stored_bytes for t in self.tensors for o in t.useful]
        shared = max(1, math.gcd(*steps))
        span = self.most - self.least
        return shared if span // shared <= UNITS else -(-span // UNITS)

    @cached_property
    def _table(self) -> _Table:
        return _table(self.tensors, self._unit)

    def _taken(self, level: int) -> list[int]:
        """Index among `useful` for each tensor, of the best that takes up to `level` units more than the least."""
        taken = [0] * len(self.tensors)
        for at in range(len(self.tensors) - 1, -1, -1):
            taken[at] = int(self._table.taken[at][level])
            level -= self._table.units[at][taken[at]]
        return taken

    def _filled(self, taken: list[int], budget: int) -> list[int]:
        """With what still fits: steps up, the largest gain first, until nothing does."""
        room = budget - self._bytes(taken)
        while True:
            steps = [
                (option.cost - tensor.useful[i].cost, at, j)
                for at, (tensor, i) in enumerate(zip(self.tensors, taken, strict=True))
                for j, option in enumerate(tensor.useful)
                if j > i and option.stored_bytes - tensor.useful[i].stored_bytes <= room
            ]
            if not steps:
                return taken
            _, at, j = min(steps)
            room -= self.tensors[at].useful[j].stored_bytes - self.tensors[at].useful[taken[at]].stored_bytes
            taken[at] = j


@dataclass(frozen=True)
class _Table:
    """best: float64 `[units + 1]`, the least cost in up to so many units above the least bytes.

    taken: for each tensor, uint8 `[units + 1]`, the option that the best up to this tensor takes.
    units: for each tensor, what each option takes above the first.
    """

    best: NDArray[np.float64]
    taken: tuple[NDArray[np.uint8], ...]
    units: tuple[tuple[int, ...], ...]


def _table(tensors: Sequence[TensorOptions], unit: int) -> _Table:
    units = tuple(tuple(round((o.stored_bytes - t.useful[0].stored_bytes) / unit) for o in t.useful) for t in tensors)
    levels = sum(steps[-1] for steps in units) + 1
    best, taken = np.zeros(levels), []
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
        taken.append(chosen)
    return _Table(best, tuple(taken), units)
