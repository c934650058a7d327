"""What bits cost a model's answers, measured on calibration text.

A matrix's error costs what its moments say, up to a factor that is measured: its palettes of a few bits, fitted, are
put into the model alone, and the answers compared. So are its palettes of the fewest bits, which cost up to ten times
as much as those of more bits would let expect: a fit gains less, and answers change by more than a square. Other bits
and groups lie between these two as the error of k-means palettes does, on some of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exporter.compress import Choice, palettize
from exporter.compress.fit_task import FitOptions, row_costs
from exporter.compress.fitting import fit_palette
from exporter.compress.kmeans import weight_problem
from exporter.compress.proxy import spread
from exporter.compress.search import Choices, ErrorKind, Offer
from exporter.errors import InputError, KogataError, UnsupportedError
from exporter.graph.moments import Moments
from exporter.graph.palette import Palette, spilled
from exporter.graph.spill import Spill, Spilled
from exporter.progress import Progress

if TYPE_CHECKING:
    from exporter.calibration.session import Session, Weighed

Dense = NDArray[np.float32]
SAMPLE = 1 << 16  # weights of a matrix whose k-means error is measured for every choice
PROBE = 3  # bits of the palettes that are put into the model: enough of an error to be seen, and a usual size
QUICK = FitOptions(rounds=1, sweeps=3)
TINY = 1e-300  # has a logarithm
FACTORS = (1 / 16, 16)  # a measured factor beyond this is taken for noise
MOST, ENOUGH, LEAST = 128, 32, 6  # measurements of allocations
QUICKLY = 1e13  # operations that more than enough of them may take: a minute or two
WORK = 2e14  # operations that more than the least may take
SHARE = 1 / 4  # of the texts kept apart is enough to measure matrices alone on, where they come in as many batches
ALONE = 1e14  # operations that this should take, on fewer texts still if need be
LONGEST = 8 * ALONE  # and may take


@dataclass
class TextSensitivity:
    """A `Sensitivity`. bound: joint errors are what they should stay below on other texts, instead of their mean."""

    session: Session
    spill: Spill
    bound: bool = False
    _moments: dict[str, _Stored] = field(default_factory=dict)
    _palettes: dict[tuple[str, Choice], Palette] = field(default_factory=dict)
    _costs: dict[tuple[object, ...], Mapping[str, Sequence[float]]] = field(default_factory=dict)
    _joint: dict[frozenset[tuple[str, Choice]], float] = field(default_factory=dict)

    @property
    def kind(self) -> ErrorKind:
        """Of the session's objective."""
        return self.session.objective.kind

    @property
    def words(self) -> str:
        """For reports."""
        what = "KL in nats" if self.kind == "kl" else "half the squared distance of outputs"
        return f"{what} to the uncompressed model, on {self.session.words}"

    @property
    def measurements(self) -> int:
        """Fewer where each takes long."""
        work = max(1, self.session.work)
        return int(min(MOST, max(LEAST, min(ENOUGH, WORK // work), QUICKLY // work)))

    def costs(self, offers: Sequence[Offer], progress: Progress) -> Mapping[str, Sequence[float]]:
        """Raises InputError and UnsupportedError, naming all weights that can't be palettized."""
        key = tuple((offer.candidate.name, offer.choices) for offer in offers)
        if key not in self._costs:
            self._costs[key] = self._measured(offers, progress)
        return self._costs[key]

    def _measured(self, offers: Sequence[Offer], progress: Progress) -> Mapping[str, Sequence[float]]:
        progress.stage("measure sensitivities", len(offers))
        wanted = {offer.candidate.name: offer for offer in offers}
        probed: dict[str, dict[Choice, float]] = {}
        quick: dict[str, dict[Choice, float]] = {}
        problems: list[KogataError] = []

        def meet(weighed: Weighed) -> None:
            offer = wanted.get(weighed.name)
            problem = weight_problem(weighed.name, weighed.weight) if offer is not None else None
            if problem is not None:
                problems.append(problem)
            elif offer is not None:
                self._moments[weighed.name] = _Stored.of(weighed.moments, self.spill)
                quick[weighed.name] = dict(zip(offer.choices, _quick_costs(weighed, offer.choices), strict=True))
                probed[weighed.name] = {
                    probe: self._fit(weighed.name, probe, weighed.weight, weighed.moments) for probe in _probes(offer)
                }
                progress.advance(weighed.name)

        self.session.visit(meet, sequential=False)
        for kind in (InputError, UnsupportedError):
            kind.raise_all([d for problem in problems if isinstance(problem, kind) for d in problem.diagnostics])
        found = {name: _scaled(quick[name], errors) for name, errors in self._alone(probed, progress).items()}
        return {name: found.get(name, [0.0] * len(offer.choices)) for name, offer in wanted.items()}

    def joint(self, choices: Choices) -> float | None:
        """With palettes fitted to the inputs of the uncompressed model."""
        key = frozenset(choices.items())
        if key not in self._joint:
            self._joint[key] = self.session.distance(lambda n: self._dense(n, choices.get(n)), bound=self.bound)
        return self._joint[key]

    def _alone(
        self, predicted: Mapping[str, Mapping[Choice, float]], progress: Progress
    ) -> Mapping[str, Mapping[Choice, float]]:
        """Errors of each matrix alone, measured; as predicted where that would take too long."""
        count = sum(map(len, predicted.values()))
        session = self.session.brief(min(SHARE * self.session.work, ALONE / max(1, count)))
        if session.work * count > LONGEST:
            return predicted
        progress.stage("measure matrices alone", len(predicted))
        found: dict[str, dict[Choice, float]] = {}
        for name, costs in predicted.items():
            found[name] = {}
            for choice, cost in costs.items():
                alone = session.distance(lambda n, own=name, c=choice: self._dense(n, c) if n == own else None)  # type: ignore[misc]
                found[name][choice] = min(max(alone, FACTORS[0] * cost), FACTORS[1] * cost) if alone > 0 else cost
            progress.advance(name)
        return found

    def _dense(self, name: str, choice: Choice | None) -> Dense | None:
        """None for what is kept."""
        if choice is None or choice.kept or name not in self._moments:
            return None
        if (name, choice) not in self._palettes:
            self._fit(name, choice, self.session.weight(name), self._moments[name].read())
        return self._palettes[name, choice].dense()

    def _fit(self, name: str, choice: Choice, weight: Dense, moments: Moments) -> float:
        """Keeps the palette; the error that it is predicted to add to the answers."""
        if choice.group_size is None:
            return 0.0
        fit = fit_palette(weight, choice.bits, choice.group_size, moments, QUICK)
        self._palettes[name, choice] = spilled(fit.palette, self.spill)
        return fit.cost / (2 * self.session.matters.count)


def _probes(offer: Offer) -> list[Choice]:
    """The palette whose bits are nearest to `PROBE`, and the one of the fewest bits; each with groups in the middle."""
    palettes = [choice for choice in offer.choices if not choice.kept]
    found = []
    for aim in (PROBE, 0) if palettes else ():
        bits = min((abs(choice.bits - aim), choice.bits) for choice in palettes)[1]
        same = sorted(choice for choice in palettes if choice.bits == bits)
        found.append(same[len(same) // 2])
    return list(dict.fromkeys(found)) or list(offer.choices[:1])


def _scaled(quick: Mapping[Choice, float], errors: Mapping[Choice, float]) -> list[float]:
    """The error of every choice in the unit of `errors`, which are those of some choices; quick: of all, in any unit.

    What makes one of the other runs along a line between two that are known, both as logarithms, and stays what it is
    at the nearer one outside.
    """
    costs, alone = np.log(sorted((max(quick[probe], TINY), max(error, TINY)) for probe, error in errors.items())).T

    def scaled(cost: float) -> float:
        return cost * float(np.exp(np.interp(np.log(max(cost, TINY)), costs, alone - costs)))

    return [0.0 if choice.kept else scaled(cost) for choice, cost in quick.items()]


def _quick_costs(weighed: Weighed, choices: Sequence[Choice]) -> list[float]:
    """Of importance-weighted k-means on some of the rows, in any unit that is the same for all choices."""
    count, columns = weighed.weight.shape
    rows = np.concatenate([np.r_[part] for part in spread(count, max(64, SAMPLE // columns))])
    weight = np.ascontiguousarray(weighed.weight[rows])
    moments = Moments(weighed.moments.bases, np.ascontiguousarray(weighed.moments.coefficients[rows]))
    importance = moments.coefficients @ np.diagonal(moments.bases, axis1=1, axis2=2)
    found = []
    for choice in choices:
        group_size = choice.group_size
        if group_size is None:
            found.append(0.0)
        else:
            palette = palettize(weight, choice.bits, group_size, np.maximum(importance, 0))
            found.append(float(row_costs(weight, palette.dense(), moments).sum()))
    return found


@dataclass(frozen=True)
class _Stored:
    """Moments on the disk."""

    bases: Spilled
    coefficients: Spilled
    shapes: tuple[tuple[int, ...], tuple[int, ...]]

    @classmethod
    def of(cls, moments: Moments, spill: Spill) -> _Stored:
        bases, coefficients = (
            spill.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
            for array in (moments.bases, moments.coefficients)
        )
        return cls(bases, coefficients, (moments.bases.shape, moments.coefficients.shape))

    def read(self) -> Moments:
        bases, coefficients = (
            part.read(0, part.size).view(np.float32).reshape(shape).copy()  # what was read is not to be written to
            for part, shape in zip((self.bases, self.coefficients), self.shapes, strict=True)
        )
        return Moments(bases, coefficients)
