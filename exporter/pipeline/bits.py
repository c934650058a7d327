"""Which bits every matrix of a model gets, from one budget or from a file, and whether what came of it keeps to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from exporter.compress import Candidate, Choice, Menu, TensorDecision
from exporter.compress.allocation import Frontier
from exporter.compress.plan import Origin, Plan, plan_of
from exporter.compress.plan_file import read_plan
from exporter.compress.search import (
    Choices,
    ErrorKind,
    Found,
    Goal,
    Offer,
    Point,
    Sensitivity,
    UnreachableQualityError,
    priced,
    search,
)
from exporter.errors import Diagnostic, UsageError
from exporter.graph.model import GraphSpec, Hub
from exporter.pipeline.parts import Part, candidates
from exporter.pipeline.settings import Budget, Settings
from exporter.progress import Progress

KL_MARGIN = 0.9  # of --max-kl is aimed at: parity judges on other texts than those that bits were chosen on
SIZE_ATTEMPTS = 5  # what files hold besides the tensors hardly changes with the bits: the second try fits as a rule

Weigh = Callable[[Choices], int]


@dataclass(frozen=True)
class Mixed:
    """Bits for every matrix, by the names of `model_candidates`.

    found, sensitivity: how they were chosen; None for a plan from a file. digest: of the checkpoint that the file is
    for, if it says so.
    """

    choices: Choices
    asked: str
    found: Found | None = None
    sensitivity: Sensitivity | None = None
    digest: str | None = None

    def of(self, hub: Hub, hubs: Sequence[Hub]) -> dict[str, Choice]:
        """Those of one of the model's graphs, by the names there."""
        prefix = _prefix(hub, hubs)
        return {name.removeprefix(prefix): c for name, c in self.choices.items() if name.startswith(prefix)}

    def origin(self, model: str, digest: str) -> Origin:
        """For the plan's file."""
        told = self.sensitivity
        return Origin(model, digest, self.asked, told.kind if told else None, told.words if told else None)


def model_candidates(hubs: Sequence[Hub]) -> list[Candidate]:
    """Of all graphs of a model; with several, names begin with the component's."""
    return [replace(c, name=_prefix(hub, hubs) + c.name) for hub in hubs for c in candidates(hub)]


def replayed(hubs: Sequence[Hub], settings: Settings) -> Mixed:
    """The plan that was asked for. Raises as `read_plan`, and UnsupportedError for bits that a target can't take."""
    path = settings.widths.plan
    assert path is not None
    saved = read_plan(path, model_candidates(hubs))
    used: dict[int, list[str]] = {}
    for name, choice in saved.choices.items():
        used.setdefault(choice.bits, []).append(name)
    settings.require_bits(used)
    return Mixed(saved.choices, "--plan", digest=saved.digest)


def require_reachable(hubs: Sequence[Hub], settings: Settings, weigh: Weigh) -> None:
    """Before anything is measured. weigh: as for `planned`. Raises UsageError for a size that can't be met."""
    if settings.widths.budget is not None:
        _require_reachable(settings.widths.budget, _Whole.of(hubs, settings), weigh)


def require_kl(budget: Budget | None, kind: ErrorKind) -> None:
    """kind: of what is measured. Raises UsageError for a limit on KL where that isn't it."""
    if budget is not None and budget.kind == "kl" and kind != "kl":
        reason = "it needs calibration text" if kind == "weights" else "this model's outputs have none"
        raise UsageError.of("options.budget", f"KL is not known here: {reason}", where=budget.option)


def planned(
    hubs: Sequence[Hub],
    settings: Settings,
    sensitivity: Sensitivity,
    weigh: Weigh,
    progress: Progress,
    aim: float = KL_MARGIN,
) -> Mixed:
    """The bits that meet the budget best. weigh: choices → bytes of the larger format's artifacts. aim: share of a
    limit on KL that is aimed at.

    Raises UsageError for a budget that can't be met, with the least or the most that can.
    """
    budget = settings.widths.budget
    assert budget is not None
    whole = _Whole.of(hubs, settings)
    require_kl(budget, sensitivity.kind)
    _require_reachable(budget, whole, weigh)
    tensors = priced(whole.offers, sensitivity.costs(whole.offers, progress))
    if budget.kind == "kl":
        goal = Goal(error=aim * budget.value)
    elif budget.kind == "bpw":
        goal = Goal(stored_bytes=whole.allowance(budget.value))
    else:
        goal = Goal(stored_bytes=_fitting(Frontier(tensors), int(budget.value), weigh))
    try:
        found = search(tensors, goal, sensitivity.joint, progress, sensitivity.measurements)
    except UnreachableQualityError as error:
        _unreachable(budget, f"the least that was measured is {error.least:.3g}, and {goal.error:.3g} is aimed at")
    if budget.kind == "size":
        found = _repacked(found, int(budget.value), weigh)
    return Mixed(found.choices, budget.option, found, sensitivity)


def finished_plan(mixed: Mixed, parts: Sequence[Part], origin: Origin) -> Plan:
    """With what became of every tensor."""
    hubs = [part.hub for part in parts]
    decisions: list[TensorDecision] = [
        replace(decision, name=_prefix(part.hub, hubs) + decision.name)
        for part in parts
        for decision in part.compression.decisions
    ]
    return plan_of(origin, model_candidates(hubs), decisions, mixed.found)


def plan_notes(mixed: Mixed | None, digest: str) -> tuple[Diagnostic, ...]:
    """What a reader must know: that the plan was made for another checkpoint."""
    if mixed is None or mixed.digest in (None, digest):
        return ()
    message = "the plan was made for a checkpoint with another digest; names and shapes are the same"
    return (Diagnostic("plan.source", message, "--plan", "measure this one: --bpw", level="warning"),)


def _prefix(hub: Hub, hubs: Sequence[Hub]) -> str:
    return f"{hub.spec.component}/" if len(hubs) > 1 and isinstance(hub.spec, GraphSpec) else ""


@dataclass(frozen=True)
class _Whole:
    """All of a model's matrices on offer. rest: bytes of the other tensors; parameters: of all."""

    offers: tuple[Offer, ...]
    rest: int
    parameters: int

    @classmethod
    def of(cls, hubs: Sequence[Hub], settings: Settings) -> _Whole:
        every = model_candidates(hubs)
        menu = Menu(settings.allowed_bits, settings.widths.group_size, settings.group_size)
        offers = tuple(Offer(c, menu.choices(c.shape, c.stored_bytes)) for c in every if c.palettizable)
        rest = sum(c.stored_bytes for c in every if not c.palettizable)
        return cls(offers, rest, sum(c.parameters for c in every))

    def extreme(self, pick: Callable[[list[int]], int]) -> tuple[dict[str, Choice], int]:
        """The choices with the fewest (`min`) or most (`max`) bytes, and the bytes of all tensors then."""
        choices, total = {}, self.rest
        for offer in self.offers:
            sizes = [offer.candidate.bytes_as(choice) for choice in offer.choices]
            chosen = pick(sizes)
            choices[offer.candidate.name] = offer.choices[sizes.index(chosen)]
            total += chosen
        return choices, total

    def allowance(self, bpw: float) -> int:
        """Bytes for the matrices, so that all tensors take at most so many bits per weight."""
        return int(bpw * self.parameters / 8) - self.rest


def _require_reachable(budget: Budget, whole: _Whole, weigh: Weigh) -> None:
    smallest, least = whole.extreme(min)
    if budget.kind == "bpw":
        _, most = whole.extreme(max)
        lowest, highest = (8 * size / whole.parameters for size in (least, most))
        if int(budget.value * whole.parameters / 8) < least:
            _unreachable(budget, f"the least is {_up(lowest)} bits per weight")
        if budget.value > 1.01 * highest:
            _unreachable(budget, f"the most is {highest:.3f} bits per weight, with everything kept that may be")
    elif budget.kind == "size" and (size := weigh(smallest)) > budget.value:
        _unreachable(budget, f"the smallest files take {size:,} bytes")


def _unreachable(budget: Budget, message: str) -> NoReturn:
    raise UsageError.of("budget.unreachable", message, where=budget.option)


def _up(value: float) -> str:
    """Three decimals, rounded up: what is told can be asked for."""
    return f"{math.ceil(1000 * value) / 1000:.3f}"


def _fitting(frontier: Frontier, limit: int, weigh: Weigh) -> int:
    """The most bytes for the matrices whose files stay within `limit`; `weigh` says what else is in them."""
    budget, best = frontier.least, frontier.least
    for _ in range(SIZE_ATTEMPTS):
        choices = frontier.at(budget)
        room = limit - weigh(choices)
        if room >= 0:
            best = max(best, budget)
        if (budget == frontier.most and room >= 0) or 0 <= room <= limit // 500:  # within 0.2 %
            break
        budget = min(frontier.most, max(frontier.least, frontier.stored_bytes(choices) + room))
    return best


def _repacked(found: Found, limit: int, weigh: Weigh) -> Found:
    """`found`, or the knapsack's answer for a little less where the repair made files that don't fit."""
    if weigh(found.choices) <= limit:
        return found
    frontier = Frontier(found.tensors)
    choices = frontier.at(_fitting(frontier, limit, weigh))
    size, predicted = frontier.stored_bytes(choices), frontier.cost(choices)
    chosen = Point(size, predicted)
    curve = sorted({*found.curve, chosen}, key=lambda p: (p.stored_bytes, p.predicted))
    return replace(found, choices=choices, chosen=chosen, curve=tuple(curve))
