"""Bits for every matrix of a model, chosen to meet one budget or read from a plan file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from exporter.compress import Candidate, Choice, GridMenu, Menu, TensorDecision
from exporter.compress.allocation import Frontier
from exporter.compress.plan import Origin, Plan, plan_of
from exporter.compress.plan_file import read_plan
from exporter.compress.search import (
    Choices,
    ErrorKind,
    Goal,
    Offer,
    Point,
    SearchResult,
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

KL_MARGIN = 0.9  # share of --max-kl to aim at: parity judges on other texts than those that chose the bits
SIZE_ATTEMPTS = 5  # the second usually fits: what files hold besides tensors hardly changes with the bits

SizeOf = Callable[[Choices], int]
"""Bits for every matrix → bytes of the largest form's files."""


@dataclass(frozen=True)
class Mixed:
    """Bits for every matrix, by the names of `model_candidates`.

    asked: the option that asked for them. found, sensitivity: how they were chosen; None for a plan from a file.
    digest: of the checkpoint that the plan file was made for, where the file states it.
    """

    choices: Choices
    asked: str
    found: SearchResult | None = None
    sensitivity: Sensitivity | None = None
    digest: str | None = None

    def of(self, hub: Hub, hubs: Sequence[Hub]) -> dict[str, Choice]:
        """The bits of one of the model's graphs, by the graph's own names."""
        prefix = _prefix(hub, hubs)
        return {name.removeprefix(prefix): c for name, c in self.choices.items() if name.startswith(prefix)}

    def origin(self, model: str, digest: str) -> Origin:
        """What plan.json says of where it comes from."""
        measured = self.sensitivity
        kind, words = (measured.kind, measured.words) if measured else (None, None)
        return Origin(model, digest, self.asked, kind, words)


def model_candidates(hubs: Sequence[Hub]) -> list[Candidate]:
    """The tensors of all graphs of a model; where it has several graphs, names begin with the component's."""
    return [replace(c, name=_prefix(hub, hubs) + c.name) for hub in hubs for c in candidates(hub)]


def replayed(hubs: Sequence[Hub], settings: Settings) -> Mixed:
    """The bits from the plan file.

    Raises as `read_plan`, UsageError for a plan of palettes where files store grids, and the reverse, and
    UnsupportedError for bits that a target can't take.
    """
    path = settings.widths.plan
    assert path is not None
    saved = read_plan(path, model_candidates(hubs))
    used: dict[int, list[str]] = {}
    for name, choice in saved.choices.items():
        used.setdefault(choice.bits, []).append(name)
    _require_kind(path.name, saved.choices, grids=settings.grids_only)
    settings.require_bits(used)
    return Mixed(saved.choices, "--plan", digest=saved.digest)


def _require_kind(file: str, choices: Choices, *, grids: bool) -> None:
    """Raises UsageError for a plan of palettes where grids are stored, and the reverse."""
    other = [name for name, c in choices.items() if not c.kept and (c.block is not None) != grids]
    if not other:
        return
    has, written = ("group_size", "block") if grids else ("block", "group_size")
    names = other[0] if len(other) == 1 else f"{other[0]} and {len(other) - 1} more"
    hint = "--onnx-form mobile --onnx-weights int4 reads plans with block, all other exports read group_size"
    message = f"this export needs a {written}, the plan states a {has}: {names}"
    raise UsageError.of("plan.kind", message, where=file, hint=hint)


def require_reachable(hubs: Sequence[Hub], settings: Settings, size_of: SizeOf) -> None:
    """Checks the budget before anything is measured. Raises UsageError for a size that can't be met."""
    if settings.widths.budget is not None:
        _require_reachable(settings.widths.budget, _Whole.of(hubs, settings), size_of)


def require_kl(budget: Budget | None, kind: ErrorKind) -> None:
    """Raises UsageError for a limit on KL where something else is measured. kind: what is measured."""
    if budget is not None and budget.kind == "kl" and kind != "kl":
        reason = "it needs calibration text" if kind == "weights" else "this model's outputs are not probabilities"
        raise UsageError.of("options.budget", f"KL can't be measured here: {reason}", where=budget.option)


def planned(
    hubs: Sequence[Hub],
    settings: Settings,
    sensitivity: Sensitivity,
    size_of: SizeOf,
    progress: Progress,
    aim: float = KL_MARGIN,
) -> Mixed:
    """Chooses the bits that lose the least within the budget. aim: share of a limit on KL to aim at.

    Raises UsageError for a budget that can't be met, with the least or the most that can.
    """
    budget = settings.widths.budget
    assert budget is not None
    whole = _Whole.of(hubs, settings)
    require_kl(budget, sensitivity.kind)
    _require_reachable(budget, whole, size_of)
    tensors = priced(whole.offers, sensitivity.costs(whole.offers, progress))
    if budget.kind == "kl":
        goal = Goal(error=aim * budget.value)
    elif budget.kind == "bpw":
        goal = Goal(stored_bytes=whole.allowance(budget.value))
    else:
        goal = Goal(stored_bytes=_fitting(Frontier(tensors), int(budget.value), size_of))
    try:
        found = search(tensors, goal, sensitivity.joint, progress, sensitivity.measurements)
    except UnreachableQualityError as error:
        _unreachable(budget, f"the least that was measured is {error.least:.3g}, and the aim is {goal.error:.3g}")
    if budget.kind == "size":
        found = _repacked(found, int(budget.value), size_of)
    return Mixed(found.choices, budget.option, found, sensitivity)


def finished_plan(mixed: Mixed, parts: Sequence[Part], origin: Origin) -> Plan:
    """The plan as plan.json records it, with what became of every tensor."""
    hubs = [part.hub for part in parts]
    decisions: list[TensorDecision] = [
        replace(decision, name=_prefix(part.hub, hubs) + decision.name)
        for part in parts
        for decision in part.compression.decisions
    ]
    return plan_of(origin, model_candidates(hubs), decisions, mixed.found)


def plan_notes(mixed: Mixed | None, digest: str) -> tuple[Diagnostic, ...]:
    """A warning where the plan was made for another checkpoint."""
    if mixed is None or mixed.digest in (None, digest):
        return ()
    message = "the plan was made for a checkpoint with another digest; names and shapes are the same"
    return (Diagnostic("plan.source", message, "--plan", "choose bits for this checkpoint: --bpw", level="warning"),)


def _prefix(hub: Hub, hubs: Sequence[Hub]) -> str:
    return f"{hub.spec.component}/" if len(hubs) > 1 and isinstance(hub.spec, GraphSpec) else ""


@dataclass(frozen=True)
class _Whole:
    """A model's matrices with the choices for each. rest: bytes of all other tensors. parameters: of the model."""

    offers: tuple[Offer, ...]
    rest: int
    parameters: int

    @classmethod
    def of(cls, hubs: Sequence[Hub], settings: Settings) -> _Whole:
        tensors = model_candidates(hubs)
        palettes = Menu(settings.allowed_bits, settings.widths.group_size, settings.group_size)
        menu = GridMenu(settings.allowed_bits) if settings.grids_only else palettes
        offers = tuple(Offer(c, menu.choices(c.shape, c.stored_bytes)) for c in tensors if c.palettizable)
        rest = sum(c.stored_bytes for c in tensors if not c.palettizable)
        return cls(offers, rest, sum(c.parameters for c in tensors))

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
        """Bytes for the matrices, so that all tensors together take at most `bpw` bits per weight."""
        return int(bpw * self.parameters / 8) - self.rest


def _require_reachable(budget: Budget, whole: _Whole, size_of: SizeOf) -> None:
    smallest, least = whole.extreme(min)
    if budget.kind == "bpw":
        _, most = whole.extreme(max)
        if not whole.parameters:
            _unreachable(budget, "the model has no weights")
        lowest, highest = (8 * size / whole.parameters for size in (least, most))
        if int(budget.value * whole.parameters / 8) < least:
            _unreachable(budget, f"the least is {_up(lowest)} bits per weight")
        if budget.value > 1.01 * highest:
            _unreachable(budget, f"the most is {highest:.3f} bits per weight, with nothing compressed")
    elif budget.kind == "size" and (size := size_of(smallest)) > budget.value:
        _unreachable(budget, f"the smallest files take {size:,} bytes")


def _unreachable(budget: Budget, message: str) -> NoReturn:
    raise UsageError.of("budget.unreachable", message, where=budget.option)


def _up(value: float) -> str:
    """Three decimals, rounded up, so that the user can ask for the number that is printed."""
    return f"{math.ceil(1000 * value) / 1000:.3f}"


def _fitting(frontier: Frontier, limit: int, size_of: SizeOf) -> int:
    """The most bytes for the matrices such that the files stay within `limit`."""
    budget, best = frontier.least, frontier.least
    for _ in range(SIZE_ATTEMPTS):
        choices = frontier.at(budget)
        left = limit - size_of(choices)
        if left >= 0:
            best = max(best, budget)
        if (budget == frontier.most and left >= 0) or 0 <= left <= limit // 500:  # within 0.2 %
            break
        budget = min(frontier.most, max(frontier.least, frontier.stored_bytes(choices) + left))
    return best


def _repacked(found: SearchResult, limit: int, size_of: SizeOf) -> SearchResult:
    """`found`; where its files exceed the limit, the knapsack's answer for a little less."""
    if size_of(found.choices) <= limit:
        return found
    frontier = Frontier(found.tensors)
    choices = frontier.at(_fitting(frontier, limit, size_of))
    size, predicted = frontier.stored_bytes(choices), frontier.cost(choices)
    chosen = Point(size, predicted)
    curve = sorted({*found.curve, chosen}, key=lambda p: (p.stored_bytes, p.predicted))
    return replace(found, choices=choices, chosen=chosen, curve=tuple(curve))
