"""The bits for a budget: the knapsack's answer, corrected by the error of all tensors together.

Costs are measured tensor by tensor; their sum is only roughly the joint error. So the joint error of an allocation is
measured too, a limited number of times: to find the fewest bytes for a wanted quality, and to correct the costs. For
the correction, tensors move one step up or down from the allocation, one at a time, those with the largest predicted
change first. If the joint error changes by another factor than predicted, all costs of that tensor are multiplied by
this factor, and the knapsack is solved again: bits move from tensors whose costs were too high to those whose costs
were too low. The new allocation is kept only if its joint error is smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal, Protocol

from exporter.compress.allocation import Frontier, Option, TensorOptions
from exporter.compress.choices import Choice
from exporter.compress.decisions import Candidate
from exporter.progress import Progress

MAX_MEASUREMENTS = 32  # of joint errors for one budget: each takes as long as running the texts once
MIN_ROUNDS = 2  # of the correction
MEASUREMENTS_PER_ROUND = 32  # approximate, where there are enough measurements
SURVEYED_SHARES = (0.7, 0.85, 1.2, 1.5)  # of the budget: more sizes at which the curve is measured
BRACKET_WIDTH = 0.004  # as a share of the bytes: a search for a quality ends at this width
FACTOR_RANGE = (1 / 4, 4)  # corrections of costs beyond this range are treated as noise
CURVE_POINTS = 40  # points of the predicted curve

ErrorKind = Literal["kl", "distance", "weights"]
Choices = Mapping[str, Choice]


@dataclass(frozen=True)
class Offer:
    """A matrix, and the allowed ways to store it; at least one."""

    candidate: Candidate
    choices: tuple[Choice, ...]


class Sensitivity(Protocol):
    """Measures the cost of errors in the weights."""

    @property
    def kind(self) -> ErrorKind:
        """The kind of error.

        "kl": KL in nats from the uncompressed model; "distance": of embeddings or scores from the uncompressed model's;
        "weights": a stand-in that looks only at the weights.
        """

    @property
    def words(self) -> str:
        """The kind in words, for reports: "KL in nats on 16 sequences of the built-in texts"."""

    @property
    def measurements(self) -> int:
        """How many joint errors to measure for one budget."""

    def costs(self, offers: Sequence[Offer], progress: Progress) -> Mapping[str, Sequence[float]]:
        """Tensor → for each choice of its offer, the model's error if only this tensor is stored so (kept: 0)."""

    def joint(self, choices: Choices) -> float | None:
        """The model's error with these choices; tensors without a choice are kept. None: it can't be measured."""


@dataclass(frozen=True)
class Goal:
    """Either stored_bytes, the most bytes for all offered tensors, or error, the highest joint error."""

    stored_bytes: int | None = None
    error: float | None = None

    def __post_init__(self) -> None:
        if (self.stored_bytes is None) == (self.error is None):
            raise ValueError("a goal is in bytes or in error, not both")


@dataclass(frozen=True)
class Point:
    """A point of the size/quality curve. stored_bytes: of the offered tensors. measured: the joint error, or None."""

    stored_bytes: int
    predicted: float
    measured: float | None = None


@dataclass(frozen=True)
class SearchResult:
    """The result of a search. tensors: the offers with costs measured one by one. curve: by bytes, with `chosen`."""

    choices: Choices
    tensors: tuple[TensorOptions, ...]
    chosen: Point
    curve: tuple[Point, ...]


class UnreachableQualityError(ValueError):
    """No choices have so small a joint error. least: the smallest that was measured."""

    def __init__(self, least: float) -> None:
        super().__init__(f"at least {least}")
        self.least = least


def priced(offers: Sequence[Offer], costs: Mapping[str, Sequence[float]]) -> tuple[TensorOptions, ...]:
    """The offers with their costs. Raises ValueError if a cost is missing."""
    priced_tensors = []
    for offer in offers:
        candidate = offer.candidate
        options = zip(offer.choices, costs[candidate.name], strict=True)
        priced_tensors.append(
            TensorOptions(candidate.name, tuple(Option(c, candidate.bytes_as(c), e) for c, e in options))
        )
    return tuple(priced_tensors)


def search(
    tensors: Sequence[TensorOptions],
    goal: Goal,
    joint: Callable[[Choices], float | None],
    progress: Progress,
    measurements: int = MAX_MEASUREMENTS,
) -> SearchResult:
    """The best choices for the goal; the result depends only on the arguments.

    Raises UnreachableBudgetError, UnreachableQualityError; ValueError for a goal in error without joint errors.
    """
    frontier = Frontier(tuple(tensors))
    meter = _Meter(frontier, joint, progress, measurements)
    if goal.stored_bytes is not None:
        budget = goal.stored_bytes
        choices = frontier.at(budget)
    else:
        assert goal.error is not None
        choices = _smallest(frontier, goal.error, meter, measurements // 4)
        budget = frontier.stored_bytes(choices)
    if meter.begin(choices):
        meter.survey(budget)
        frontier, choices = _repaired(frontier, choices, budget, meter)
        if goal.error is not None and meter.left >= 4:
            choices = _smallest(frontier, goal.error, meter, meter.left, (frontier.least, choices))
    chosen = meter.point(choices)
    return SearchResult(choices, tuple(tensors), chosen, _curve(meter, chosen))


@dataclass
class _Meter:
    """Measures joint errors, each only once, and at most `left`. original: the frontier with uncorrected costs."""

    original: Frontier
    joint: Callable[[Choices], float | None]
    progress: Progress
    left: int
    known: dict[tuple[Choice, ...], float] = field(default_factory=dict)
    drawn: dict[tuple[Choice, ...], Choices] = field(default_factory=dict)
    started: bool = False

    def begin(self, choices: Choices) -> bool:
        """Measures these choices. Returns whether joint errors can be measured at all."""
        return self.value(choices) is not None

    def value(self, choices: Choices, *, draw: bool = True) -> float | None:
        """The joint error. draw: add a point to the curve; False for a trial that moves one tensor."""
        key = tuple(choices[tensor.name] for tensor in self.original.tensors)
        if draw:
            self.drawn[key] = dict(choices)
        if key not in self.known:
            if not self.started:
                self.progress.stage("measure allocations", self.left)
                self.started = True
            measured = self.joint(choices)
            if measured is None:
                self.drawn.clear()
                return None
            self.left -= 1
            self.progress.advance()
            self.known[key] = measured if math.isfinite(measured) else math.inf
        return self.known[key]

    def error(self, choices: Choices, *, draw: bool = True) -> float:
        """The joint error. Raises ValueError if it can't be measured."""
        value = self.value(choices, draw=draw)
        if value is None:
            raise ValueError("joint errors can't be measured without calibration")
        return value

    def survey(self, budget: int) -> None:
        """Measures some points around the budget, for the curve."""
        for share in SURVEYED_SHARES:
            nearby = round(share * budget)
            if self.original.least <= nearby <= self.original.most and self.left > len(SURVEYED_SHARES):
                self.value(self.original.at(nearby))

    def point(self, choices: Choices) -> Point:
        """The point of these choices, with the joint error if it was measured."""
        key = tuple(choices[tensor.name] for tensor in self.original.tensors)
        measured = self.known.get(key)
        return Point(
            self.original.stored_bytes(choices),
            self.original.cost(choices),
            measured if measured is None or math.isfinite(measured) else None,
        )


def _curve(meter: _Meter, chosen: Point) -> tuple[Point, ...]:
    frontier = meter.original
    span = (frontier.most - frontier.least) / (CURVE_POINTS - 1)
    predicted = [meter.point(frontier.at(frontier.least + int(i * span))) for i in range(CURVE_POINTS)]
    measured = [meter.point(choices) for choices in meter.drawn.values()]
    return tuple(sorted({*predicted, *measured, chosen}, key=lambda p: (p.stored_bytes, p.predicted, p.measured or 0)))


def _smallest(
    frontier: Frontier, limit: float, meter: _Meter, tries: int, bracket: tuple[int, Choices] | None = None
) -> dict[str, Choice]:
    """Choices of few bytes whose joint error is at most `limit`.

    A guess is the size at which predicted cost times a factor reaches the limit; the factor is the measured over the
    predicted error of the last guess. Where a guess would not narrow the bracket, the bracket is halved.
    bracket: bytes that may be too few, and choices within the limit.
    """
    if bracket is None:
        bracket = (frontier.least, frontier.at(frontier.most))
        if (error := meter.error(bracket[1])) > limit:
            raise UnreachableQualityError(error)
        tries -= 1
    low, best = bracket
    factor = 1.0
    for turn in range(tries):
        high = frontier.stored_bytes(best)
        if high - low <= BRACKET_WIDTH * high or meter.left <= 0:
            break
        guess = frontier.bytes_for(limit / factor)
        if not low < guess < high or turn % 3 == 2:  # every third step ignores the prediction
            guess = (low + high) // 2 if turn % 3 == 2 or guess <= low else round(0.9 * high + 0.1 * low)
        tried = frontier.at(guess)
        error = meter.error(tried)
        predicted = frontier.cost(tried)
        if predicted > 0 and error > 0 and math.isfinite(error):
            factor = error / predicted
        if error <= limit and frontier.stored_bytes(tried) < high:
            best = tried
        else:
            low = guess
    return dict(best)


def _repaired(
    frontier: Frontier, choices: dict[str, Choice], budget: int, meter: _Meter
) -> tuple[Frontier, dict[str, Choice]]:
    """The frontier with corrected costs and its choices within `budget`; `choices` if their joint error is smaller."""
    error = meter.error(choices)
    rounds = max(MIN_ROUNDS, round(meter.left / MEASUREMENTS_PER_ROUND))
    for turn in range(rounds):
        trials = (meter.left - 4) // (rounds - turn) - 2
        if trials < 2 or error == 0:
            break
        factors = _factors(frontier, choices, error, meter, trials)
        for strength in (1.0, 0.5):
            corrected = _corrected(frontier, factors, strength)
            moved = corrected.at(budget)
            if meter.left > 0 and (moved_error := meter.error(moved)) < error:
                frontier, choices, error = corrected, moved, moved_error
                break
        else:
            break
    return frontier, choices


def _factors(frontier: Frontier, choices: Choices, error: float, meter: _Meter, trials: int) -> dict[str, float]:
    """Tensor → measured over predicted change of the joint error, divided by the median of these ratios."""
    moves = sorted(filter(None, (_move(tensor, choices[tensor.name]) for tensor in frontier.tensors)), reverse=True)
    factors = {}
    for predicted, name, choice, sign in moves[:trials]:
        changed = meter.error({**choices, name: choice}, draw=False) - error
        factors[name] = sign * changed / predicted if math.isfinite(changed) else FACTOR_RANGE[1]
    usual = median([factor for factor in factors.values() if factor > 0] or [1.0])
    return {name: min(max(factor / usual, FACTOR_RANGE[0]), FACTOR_RANGE[1]) for name, factor in factors.items()}


def _move(tensor: TensorOptions, choice: Choice) -> tuple[float, str, Choice, int] | None:
    """The best step up or down: predicted change, name, choice, and whether the error grows (1) or shrinks (-1).

    None if there is no other option.
    """
    now = tensor.option(choice)
    steps = []
    for option in tensor.useful:
        size, change = option.stored_bytes - now.stored_bytes, option.cost - now.cost
        if size * change < 0:
            steps.append((-change / size, change, option.choice))
    up = [step for step in steps if step[1] < 0]
    down = [step for step in steps if step[1] > 0]
    best = [max(up, key=lambda s: s[0])] if up else []
    best += [min(down, key=lambda s: s[0])] if down else []
    if not best:
        return None
    _, change, other = max(best, key=lambda s: (abs(s[1]), s[2]))
    return abs(change), tensor.name, other, 1 if change > 0 else -1


def _corrected(frontier: Frontier, factors: Mapping[str, float], strength: float) -> Frontier:
    return Frontier(
        tuple(
            replace(t, options=tuple(replace(o, cost=o.cost * factors.get(t.name, 1.0) ** strength) for o in t.options))
            for t in frontier.tensors
        )
    )
