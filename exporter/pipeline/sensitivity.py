"""How much a model's outputs change with the bits of each matrix, measured on calibration text.

The second moments of its inputs predict the cost of an error in a matrix, up to a factor. The factor is measured: the
matrix alone is replaced by a fitted palette of a few bits, and the outputs are compared. The palette of the fewest bits
is measured too, because it can cost ten times what palettes of more bits suggest. Costs of other bits and group sizes
are interpolated between these two, by the k-means error on a sample of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exporter.compress import Choice, palettize
from exporter.compress.fit_task import Fit, FitOptions, row_costs
from exporter.compress.fitting import fit_palette
from exporter.compress.grids import GridFit, fit_grid, round_grid
from exporter.compress.kmeans import weight_problem
from exporter.compress.proxy import spread
from exporter.compress.search import Choices, ErrorKind, Offer
from exporter.errors import InputError, KogataError, UnsupportedError
from exporter.graph.grid import Grid, spilled_grid
from exporter.graph.moments import Moments
from exporter.graph.palette import Palette, spilled
from exporter.graph.spill import Spill, Spilled
from exporter.progress import Progress

if TYPE_CHECKING:
    from exporter.calibration.session import FitRequest, Session

Dense = NDArray[np.float32]
SAMPLE = 1 << 16  # weights of a matrix whose k-means error is measured for every choice
PROBE_BITS = 3  # of the palettes that are measured in the model: a common choice, with an error large enough to see
QUICK = FitOptions(rounds=1, sweeps=3)
SMALLEST_COST = 1e-300  # costs are compared as logarithms
FACTOR_RANGE = (1 / 16, 16)  # a measured factor outside of this is taken for noise
MAX_MEASUREMENTS, USUAL_MEASUREMENTS, MIN_MEASUREMENTS = 128, 32, 6  # of allocations of bits
EXTRA_FLOPS = 1e13  # operations to spend on more than the usual number of measurements: a minute or two
MEASURING_FLOPS = 2e14  # operations to spend on more than the smallest number of measurements
SOLO_SHARE = 1 / 4  # share of the held-back texts that is enough to measure one matrix on
SOLO_FLOPS = 1e14  # operations that measuring all matrices one by one should take; more means fewer texts
MAX_SOLO_FLOPS = 8 * SOLO_FLOPS  # beyond this, predicted costs are used as they are


@dataclass
class TextSensitivity:
    """A `Sensitivity` by measurement. bound: joint errors are upper bounds for other texts instead of means."""

    session: Session
    spill: Spill
    bound: bool = False
    _moments: dict[str, _Stored] = field(default_factory=dict)
    _fitted: dict[tuple[str, Choice], Palette | Grid] = field(default_factory=dict)
    _costs: dict[tuple[object, ...], Mapping[str, Sequence[float]]] = field(default_factory=dict)
    _joint: dict[frozenset[tuple[str, Choice]], float] = field(default_factory=dict)

    @property
    def kind(self) -> ErrorKind:
        """What errors are measured in: the session's objective."""
        return self.session.objective.kind

    @property
    def words(self) -> str:
        """What is measured, and on which texts, for reports."""
        what = "KL in nats" if self.kind == "kl" else "half the squared distance of outputs"
        return f"{what} to the uncompressed model, on {self.session.description}"

    @property
    def measurements(self) -> int:
        """How many allocations may be measured: fewer where each takes long."""
        work = max(1, self.session.operations)
        return int(
            min(
                MAX_MEASUREMENTS,
                max(MIN_MEASUREMENTS, min(USUAL_MEASUREMENTS, MEASURING_FLOPS // work), EXTRA_FLOPS // work),
            )
        )

    def costs(self, offers: Sequence[Offer], progress: Progress) -> Mapping[str, Sequence[float]]:
        """Matrix → the cost of each choice on offer, in `kind`.

        Raises InputError and UnsupportedError, naming all weights that can't be palettized.
        """
        key = tuple((offer.candidate.name, offer.choices) for offer in offers)
        if key not in self._costs:
            self._costs[key] = self._measured(offers, progress)
        return self._costs[key]

    def _measured(self, offers: Sequence[Offer], progress: Progress) -> Mapping[str, Sequence[float]]:
        progress.stage("measure sensitivities", len(offers))
        wanted = {offer.candidate.name: offer for offer in offers}
        predicted: dict[str, dict[Choice, float]] = {}
        kmeans: dict[str, dict[Choice, float]] = {}
        problems: list[KogataError] = []

        def visit(request: FitRequest) -> None:
            offer = wanted.get(request.name)
            problem = weight_problem(request.name, request.weight) if offer is not None else None
            if problem is not None:
                problems.append(problem)
            elif offer is not None:
                self._moments[request.name] = _Stored.of(request.moments, self.spill)
                kmeans[request.name] = dict(zip(offer.choices, _kmeans_costs(request, offer.choices), strict=True))
                predicted[request.name] = {
                    probe: self._fit(request.name, probe, request.weight, request.moments) for probe in _probes(offer)
                }
                progress.advance(request.name)

        self.session.visit(visit, sequential=False)
        for kind in (InputError, UnsupportedError):
            kind.raise_all([d for problem in problems if isinstance(problem, kind) for d in problem.diagnostics])
        costs = {name: _scaled(kmeans[name], errors) for name, errors in self._solo(predicted, progress).items()}
        return {name: costs.get(name, [0.0] * len(offer.choices)) for name, offer in wanted.items()}

    def joint(self, choices: Choices) -> float | None:
        """The error of the model with these choices; palettes are fitted to the uncompressed model's inputs."""
        key = frozenset(choices.items())
        if key not in self._joint:
            self._joint[key] = self.session.distance(lambda n: self._dense(n, choices.get(n)), bound=self.bound)
        return self._joint[key]

    def _solo(
        self, predicted: Mapping[str, Mapping[Choice, float]], progress: Progress
    ) -> Mapping[str, Mapping[Choice, float]]:
        """The error of each matrix alone: measured, or as predicted where measuring would take too long."""
        count = sum(map(len, predicted.values()))
        session = self.session.with_fewer_texts(min(SOLO_SHARE * self.session.operations, SOLO_FLOPS / max(1, count)))
        if session.operations * count > MAX_SOLO_FLOPS:
            return predicted
        progress.stage("measure matrices alone", len(predicted))
        errors: dict[str, dict[Choice, float]] = {}
        low, high = FACTOR_RANGE
        for name, costs in predicted.items():
            errors[name] = {}
            for choice, cost in costs.items():
                error = session.distance(lambda n, own=name, c=choice: self._dense(n, c) if n == own else None)  # type: ignore[misc]
                errors[name][choice] = min(max(error, low * cost), high * cost) if error > 0 else cost
            progress.advance(name)
        return errors

    def _dense(self, name: str, choice: Choice | None) -> Dense | None:
        """What the matrix decodes to; None for one that isn't compressed."""
        if choice is None or choice.kept or name not in self._moments:
            return None
        if (name, choice) not in self._fitted:
            self._fit(name, choice, self.session.weight(name), self._moments[name].read())
        return self._fitted[name, choice].dense()

    def _fit(self, name: str, choice: Choice, weight: Dense, moments: Moments) -> float:
        """Fits a palette or a grid and keeps it; returns the error that it is predicted to add to the outputs."""
        if choice.kept:
            return 0.0
        fit: Fit | GridFit
        if choice.block is None:
            fit = fit_palette(weight, *choice.form, moments, QUICK)
            self._fitted[name, choice] = spilled(fit.palette, self.spill)
        else:
            fit = fit_grid(weight, *choice.grid, moments, QUICK)
            self._fitted[name, choice] = spilled_grid(fit.grid, self.spill)
        return fit.cost / (2 * self.session.saliency.count)


def _probes(offer: Offer) -> list[Choice]:
    """The choice whose bits are nearest to `PROBE_BITS`, and the one of the fewest bits, with a middle group size."""
    compressed = [choice for choice in offer.choices if not choice.kept]
    probes = []
    for aim in (PROBE_BITS, 0) if compressed else ():
        bits = min((abs(choice.bits - aim), choice.bits) for choice in compressed)[1]
        same = sorted(choice for choice in compressed if choice.bits == bits)
        probes.append(same[len(same) // 2])
    return list(dict.fromkeys(probes)) or list(offer.choices[:1])


def _scaled(kmeans: Mapping[Choice, float], errors: Mapping[Choice, float]) -> list[float]:
    """The error of every choice, in the unit of `errors`.

    kmeans: the k-means error of every choice, in any unit. errors: of the measured choices. The factor between the two
    is interpolated linearly in logarithms, and constant outside of the measured range.
    """
    known = [(max(kmeans[choice], SMALLEST_COST), max(error, SMALLEST_COST)) for choice, error in errors.items()]
    costs, measured = np.log(sorted(known)).T

    def scaled(cost: float) -> float:
        return cost * float(np.exp(np.interp(np.log(max(cost, SMALLEST_COST)), costs, measured - costs)))

    return [0.0 if choice.kept else scaled(cost) for choice, cost in kmeans.items()]


def _kmeans_costs(request: FitRequest, choices: Sequence[Choice]) -> list[float]:
    """The error on a sample of rows for each choice, of importance-weighted k-means or a rounded grid; the unit is the
    same for all."""
    count, columns = request.weight.shape
    rows = np.concatenate([np.r_[part] for part in spread(count, max(64, SAMPLE // columns))])
    weight = np.ascontiguousarray(request.weight[rows])
    moments = Moments(request.moments.bases, np.ascontiguousarray(request.moments.coefficients[rows]))
    importance = moments.coefficients @ np.diagonal(moments.bases, axis1=1, axis2=2)
    costs = []
    for choice in choices:
        if choice.kept:
            costs.append(0.0)
            continue
        if choice.block is None:
            dense = palettize(weight, *choice.form, np.maximum(importance, 0)).dense()
        else:
            dense = round_grid(weight, *choice.grid).dense()
        costs.append(float(row_costs(weight, dense, moments).sum()))
    return costs


@dataclass(frozen=True)
class _Stored:
    """Moments in a temporary file."""

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
            part.read(0, part.size)
            .view(np.float32)
            .reshape(shape)
            .copy()  # a copy: what `read` gives must not be changed
            for part, shape in zip((self.bases, self.coefficients), self.shapes, strict=True)
        )
        return Moments(bases, coefficients)
