"""Which bits meet a budget: the knapsack's answer, held against the error of all tensors together, and repaired.

Costs are measured tensor by tensor; together they only roughly add up. So the joint error of an allocation is measured
too, a bounded number of times: to find the fewest bytes that keep a wanted quality, and to correct the costs. For that,
tensors are moved one step up or down from the allocation, one at a time, those first for which most is at stake. Where
the joint error changes by another factor than the costs said, all costs of that tensor get this factor, and the
knapsack is solved again: bits move from the tensors that were measured too dear to those that were measured too cheap.
What that yields is kept only where it has the smaller joint error.
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

MEASUREMENTS = 32  # of joint errors for one budget, at most: each takes as long as running the texts once
ROUNDS = 2  # of the repair, at least
ROUND = 32  # measurements for a round, about, where there are enough
SURVEY = (0.7, 0.85, 1.2, 1.5)  # of the bytes: where the curve is measured beside the budget itself
CLOSE = 0.004  # of the bytes: a search for a quality ends when its bracket is as narrow as that
FACTORS = (1 / 4, 4)  # a measured correction of costs beyond this is taken for noise
CURVE = 40  # points of the predicted curve

ErrorKind = Literal["kl", "distance", "weights"]
Choices = Mapping[str, Choice]


@dataclass(frozen=True)
class Offer:
    """A matrix, and the ways to store it that are allowed; at least one."""

    candidate: Candidate
    choices: tuple[Choice, ...]


class Sensitivity(Protocol):
    """What errors in the weights cost."""

    @property
    def kind(self) -> ErrorKind:
        """Of the numbers: "kl": nats to the uncompressed model; "distance": of embeddings or scores to the uncompressed
        model's; "weights": a stand-in that looks at nothing but the weights."""

    @property
    def words(self) -> str:
        """The same in words, for reports: "KL in nats on 16 sequences of the built-in texts"."""

    @property
    def measurements(self) -> int:
        """How many joint errors are worth their time for one budget."""

    def costs(self, offers: Sequence[Offer], progress: Progress) -> Mapping[str, Sequence[float]]:
        """Tensor → the model's error with this tensor alone stored as each of its offer's choices; 0 for keeping it."""

    def joint(self, choices: Choices) -> float | None:
        """The model's error with all tensors stored like this; those that are not named are kept. None: not known."""


@dataclass(frozen=True)
class Goal:
    """Either: stored_bytes, of all the tensors on offer, at most so many; or error, the joint error at most that."""

    stored_bytes: int | None = None
    error: float | None = None

    def __post_init__(self) -> None:
        if (self.stored_bytes is None) == (self.error is None):
            raise ValueError("a goal is in bytes or in error, not both")


@dataclass(frozen=True)
class Point:
    """Of the size/quality curve. stored_bytes: of the tensors on offer; measured: the joint error, None if unknown."""

    stored_bytes: int
    predicted: float
    measured: float | None = None


@dataclass(frozen=True)
class Found:
    """tensors: the offers with their costs, as measured one by one. curve: by bytes, the chosen point among them."""

    choices: Choices
    tensors: tuple[TensorOptions, ...]
    chosen: Point
    curve: tuple[Point, ...]


class UnreachableQualityError(ValueError):
    """Nothing on offer has so small a joint error. least: the smallest that was measured."""

    def __init__(self, least: float) -> None:
        super().__init__(f"at least {least}")
        self.least = least


def priced(offers: Sequence[Offer], costs: Mapping[str, Sequence[float]]) -> tuple[TensorOptions, ...]:
    """The offers with what they cost. ValueError where costs are missing."""
    found = []
    for offer in offers:
        candidate = offer.candidate
        options = zip(offer.choices, costs[candidate.name], strict=True)
        found.append(TensorOptions(candidate.name, tuple(Option(c, candidate.bytes_as(c), e) for c, e in options)))
    return tuple(found)


def search(
    tensors: Sequence[TensorOptions],
    goal: Goal,
    joint: Callable[[Choices], float | None],
    progress: Progress,
    measurements: int = MEASUREMENTS,
) -> Found:
    """The choices that meet the goal best; nothing depends on anything but the arguments.

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
    return Found(choices, tuple(tensors), chosen, _curve(meter, chosen))


@dataclass
class _Meter:
    """Measures joint errors, each only once, and no more than `left`. original: with the costs as they came."""

    original: Frontier
    joint: Callable[[Choices], float | None]
    progress: Progress
    left: int
    known: dict[tuple[Choice, ...], float] = field(default_factory=dict)
    drawn: dict[tuple[Choice, ...], Choices] = field(default_factory=dict)
    started: bool = False

    def begin(self, choices: Choices) -> bool:
        """Whether joint errors are known at all: measures these."""
        return self.value(choices) is not None

    def value(self, choices: Choices, *, draw: bool = True) -> float | None:
        """The joint error; draw: it is a point of the curve, and not of a trial with one tensor moved."""
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
        """The joint error where there is one. ValueError elsewhere."""
        value = self.value(choices, draw=draw)
        if value is None:
            raise ValueError("without calibration no joint error is known")
        return value

    def survey(self, budget: int) -> None:
        """Some points around the budget, for the curve."""
        for share in SURVEY:
            nearby = round(share * budget)
            if self.original.least <= nearby <= self.original.most and self.left > len(SURVEY):
                self.value(self.original.at(nearby))

    def point(self, choices: Choices) -> Point:
        """With all that is known of it."""
        key = tuple(choices[tensor.name] for tensor in self.original.tensors)
        measured = self.known.get(key)
        return Point(
            self.original.stored_bytes(choices),
            self.original.cost(choices),
            measured if measured is None or math.isfinite(measured) else None,
        )


def _curve(meter: _Meter, chosen: Point) -> tuple[Point, ...]:
    frontier = meter.original
    span = (frontier.most - frontier.least) / (CURVE - 1)
    predicted = [meter.point(frontier.at(frontier.least + int(i * span))) for i in range(CURVE)]
    measured = [meter.point(choices) for choices in meter.drawn.values()]
    return tuple(sorted({*predicted, *measured, chosen}, key=lambda p: (p.stored_bytes, p.predicted, p.measured or 0)))


def _smallest(
    frontier: Frontier, limit: float, meter: _Meter, tries: int, bracket: tuple[int, Choices] | None = None
) -> dict[str, Choice]:
    """Choices of few bytes whose joint error is at most `limit`.

    Guesses where the predicted cost, times the factor by which predictions were last wrong, is the limit; cuts the
    bracket in half where a guess would not make it smaller. bracket: bytes that may not do, and choices that do.
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
        if high - low <= CLOSE * high or meter.left <= 0:
            break
        guess = frontier.bytes_for(limit / factor)
        if not low < guess < high or turn % 3 == 2:  # a third of the steps shrink the bracket whatever predictions say
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
    """The frontier with corrected costs, and its choices within `budget`, or `choices` where these do better."""
    error = meter.error(choices)
    rounds = max(ROUNDS, round(meter.left / ROUND))
    for turn in range(rounds):
        trials = (meter.left - 4) // (rounds - turn) - 2
        if trials < 2 or error == 0:
            break
        factors = _factors(frontier, choices, error, meter, trials)
        for strength in (1.0, 0.5):
            corrected = _corrected(frontier, factors, strength)
            moved = corrected.at(budget)
            if meter.left > 0 and (found := meter.error(moved)) < error:
                frontier, choices, error = corrected, moved, found
                break
        else:
            break
    return frontier, choices


def _factors(frontier: Frontier, choices: Choices, error: float, meter: _Meter, trials: int) -> dict[str, float]:
    """Tensor → measured over predicted change of the joint error, as a multiple of their median."""
    moves = sorted(filter(None, (_move(tensor, choices[tensor.name]) for tensor in frontier.tensors)), reverse=True)
    found = {}
    for predicted, name, choice, sign in moves[:trials]:
        changed = meter.error({**choices, name: choice}, draw=False) - error
        found[name] = sign * changed / predicted if math.isfinite(changed) else FACTORS[1]
    usual = median([factor for factor in found.values() if factor > 0] or [1.0])
    return {name: min(max(factor / usual, FACTORS[0]), FACTORS[1]) for name, factor in found.items()}


def _move(tensor: TensorOptions, choice: Choice) -> tuple[float, str, Choice, int] | None:
    """The best step up or down: the predicted change, name, choice, and whether the error grows (1) or shrinks (-1).

    None where there is no other way.
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
