"""Recovery: LUT entries trained so that the compressed model answers as the uncompressed one does.

Indices stay as they are: a palette's groups of rows get other numbers, of which there are hundreds of times fewer than
weights. The loss is the objective's distance to what the uncompressed model makes of the same texts, so no labels are
needed; Adam takes the steps, at a rate that is relative to how far apart a LUT's entries are.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exporter.calibration.feeds import Batch
from exporter.calibration.objective import Objective, Outputs
from exporter.calibration.recovery_state import ResumeFile, State, Tensors
from exporter.errors import Diagnostic
from exporter.graph.bits import pack
from exporter.graph.palette import Palette
from exporter.graph.spill import InMemory, Spill
from exporter.progress import Progress
from exporter.runners.torch_graph.graph import TorchGraph
from exporter.runners.torch_graph.matrices import Lookup, runs

HELD_BACK = 8  # one batch in so many judges
LARGEST = float(np.finfo(np.float16).max)
EPSILON = 1e-8


@dataclass(frozen=True)
class RecoveryOptions:
    """steps: of one batch each. rate: how far an entry moves in a step, as a share of the distance between a LUT's
    entries. warmup: steps until the rate is reached; from there it falls to nothing, as a cosine does. betas: of Adam's
    means of gradients and of their squares. seed: of the order of batches."""

    steps: int
    rate: float = 0.005
    warmup: int = 10
    betas: tuple[float, float] = (0.9, 0.99)
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """After so many steps."""
        rising = min(1.0, (step + 1) / max(1, self.warmup))
        return self.rate * rising * (1 + math.cos(math.pi * step / self.steps)) / 2


@dataclass(frozen=True)
class Lessons:
    """graph: with the weights that teach. objective: which of its answers count. batches: two at least."""

    graph: TorchGraph
    objective: Objective
    batches: tuple[Batch, ...]

    def __post_init__(self) -> None:
        if len(self.batches) < 2:
            raise ValueError("recovery takes two batches at least: one teaches, one judges")

    @property
    def judging(self) -> tuple[Batch, ...]:
        """Those that nothing is learned from, evenly spread: batches may come sorted by length."""
        every = min(HELD_BACK, len(self.batches))
        return self.batches[every // 2 :: every]

    @property
    def teaching(self) -> tuple[Batch, ...]:
        """All others."""
        judging = {id(batch) for batch in self.judging}
        return tuple(batch for batch in self.batches if id(batch) not in judging)

    def answers(self, batch: Batch, lookups: Mapping[str, Lookup] | None = None) -> Outputs:
        """What counts, with other weights where there are some."""
        outputs = self.objective.outputs
        return self.graph.run(batch.feeds, outputs, weights=None if lookups is None else lookups.get)


@dataclass(frozen=True)
class Recovered:
    """palettes: under the names of the old ones, with LUTs that are float16 and ascend again; the old ones themselves
    where training made nothing better. before, after: the mean distance of a row on batches that nothing was learned
    from, after ≤ before. steps: how many were taken. notes: what became of the file to go on from, and of training.
    """

    palettes: Mapping[str, Palette]
    before: float
    after: float
    steps: int
    notes: tuple[Diagnostic, ...] = ()


def recover(
    lessons: Lessons, palettes: Mapping[str, Palette], options: RecoveryOptions, progress: Progress,
    *, resume: ResumeFile | None = None, spill: Spill | None = None,
) -> Recovered:  # fmt: skip
    """Palettes with better numbers, or the same if there are none.

    Weights without a palette stay as they are. resume: training goes on from what it holds, and is saved there now and
    then, when it is interrupted, and at the end; the result is that of a run without interruption. spill: where
    indices go that had to change with the order of their entries; memory unless given.

    Raises KeyError for palettes of tensors that the graph doesn't store, ValueError for those of another shape.
    """
    training = _Training(lessons, palettes, options, resume)
    state = training.run(progress)
    progress.stage("judge trained LUTs", 1)
    rounded = {name: lut.clamp(-LARGEST, LARGEST).half() for name, lut in state.luts.items()}
    before, after = _judged(lessons, (training.lookups, _with_luts(training.lookups, rounded)))
    better = after < before  # not where it is NaN
    found = {name: _stored(palette, rounded[name], spill) if better else palette for name, palette in palettes.items()}
    return Recovered(found, before, after if better else before, state.step, tuple(training.notes))


class _Training:
    """lookups: the palettes as they came."""

    def __init__(
        self, lessons: Lessons, palettes: Mapping[str, Palette], options: RecoveryOptions, resume: ResumeFile | None
    ) -> None:
        graph = lessons.graph
        for name, palette in palettes.items():
            if graph.shape(name) != palette.shape:
                raise ValueError(f"{name} is {graph.shape(name)}, its palette {palette.shape}")
        self.lessons, self.options = lessons, options
        self.resume = None if resume is None else replace(resume, key=_key(resume.key, lessons, palettes, options))
        self.lookups = {
            name: Lookup(palette, torch.from_numpy(palette.lut.astype(np.float32)).to(graph.device))
            for name, palette in palettes.items()
        }
        self.notes: list[Diagnostic] = []
        self._rates = {name: _spacing(lookup.lut) for name, lookup in self.lookups.items()}
        self._teaching = lessons.teaching
        self._kept: State | None = None

    def run(self, progress: Progress) -> State:
        """The state after all steps, or before the first one that would lead into numbers that are none."""
        state = self._begun()
        progress.stage("recover", self.options.steps - state.step)  # what an earlier run did would spoil the estimate
        saved = time.monotonic()
        try:
            while state.step < self.options.steps:
                gradients, loss = self._gradients(state)
                following = self._advanced(state, gradients)
                if not (math.isfinite(loss) and following.sound):
                    message = f"training stopped after {state.step} steps, at a loss of {loss}: what it had is judged"
                    self.notes.append(Diagnostic("recovery.diverged", message, level="note"))
                    break
                state = following
                progress.advance(f"loss {loss:.4f}")
                if self.resume is not None and time.monotonic() - saved >= self.resume.every:
                    self._save(state)
                    saved = time.monotonic()
        finally:  # also when it is interrupted: a state is replaced as a whole, never changed
            self._save(state)
        return state

    def _begun(self) -> State:
        begun = State.begun({name: lookup.lut for name, lookup in self.lookups.items()})
        saved = None if self.resume is None else self.resume.load(begun, self.options.steps)
        if isinstance(saved, Diagnostic):
            self.notes.append(saved)
        self._kept = saved if isinstance(saved, State) else begun
        return self._kept

    def _save(self, state: State) -> None:
        """Training goes on without, where the file can't be written."""
        if self.resume is None or state is self._kept:
            return
        try:
            self.resume.save(state)
            self._kept = state
        except OSError as error:
            message = f"what was trained can't be saved: {error.strerror or error}"
            self.notes.append(Diagnostic("recovery.resume", message, str(self.resume.path), level="note"))
            self.resume = None

    def _batch(self, step: int) -> Batch:
        """Each once in an order of its own for every round, known from the step alone."""
        teaching = self._teaching
        around, place = divmod(step, len(teaching))
        order: list[int] = np.random.default_rng((self.options.seed, around)).permutation(len(teaching)).tolist()
        return teaching[order[place]]

    def _gradients(self, state: State) -> tuple[Tensors, float]:
        """Of the mean distance of a row, and that distance."""
        lessons, batch = self.lessons, self._batch(state.step)
        with torch.no_grad():
            reference = lessons.answers(batch)
        luts = {name: lut.detach().requires_grad_(True) for name, lut in state.luts.items()}
        answers = lessons.answers(batch, _with_luts(self.lookups, luts))
        count = lessons.objective.count(answers, batch)
        found = {name: torch.zeros_like(answer) for name, answer in answers.items()}
        total = 0.0
        for part, (wanted, own), asked in lessons.objective.parts(reference, answers, batch=batch):
            leaves = {name: answer.requires_grad_(True) for name, answer in own.items()}
            distance = lessons.objective.distance(wanted, leaves, asked) / count
            distance.backward()  # type: ignore[no-untyped-call]
            total += float(distance.detach())
            for name, leaf in leaves.items():
                if leaf.grad is not None:
                    found[name][part] = leaf.grad
        learning = [name for name, answer in answers.items() if answer.requires_grad]
        torch.autograd.backward([answers[name] for name in learning], [found[name] for name in learning])
        return {name: torch.zeros_like(lut) if lut.grad is None else lut.grad for name, lut in luts.items()}, total

    def _advanced(self, state: State, gradients: Tensors) -> State:
        """One step of Adam. Entries that no index uses have no gradient: they stay where they are."""
        (first, second), step = self.options.betas, state.step + 1
        rate = self.options.rate_at(state.step)
        luts, means, squares = {}, {}, {}
        for name, gradient in gradients.items():
            means[name] = first * state.means[name] + (1 - first) * gradient
            squares[name] = second * state.squares[name] + (1 - second) * gradient**2
            moved = means[name] / (1 - first**step) / ((squares[name] / (1 - second**step)).sqrt() + EPSILON)
            luts[name] = state.luts[name] - rate * self._rates[name] * moved
        return State(step, luts, means, squares)


def _key(key: str, lessons: Lessons, palettes: Mapping[str, Palette], options: RecoveryOptions) -> str:
    """The caller's, and what is known here."""
    digest = hashlib.sha256(f"{key}\n{options}\n{lessons.objective}\n{len(lessons.batches)}".encode())
    for name, palette in sorted(palettes.items()):
        digest.update(f"\n{name}\n{palette.shape} {palette.bits} {palette.group_size}\n".encode())
        digest.update(np.ascontiguousarray(palette.lut).data)
    return digest.hexdigest()


def _with_luts(lookups: Mapping[str, Lookup], luts: Tensors) -> dict[str, Lookup]:
    return {name: lookup.with_lut(luts[name]) for name, lookup in lookups.items()}


def _spacing(lut: Tensor) -> Tensor:
    """How far apart the entries of each group are on average, `[groups, 1]`."""
    spread = lut.amax(dim=1, keepdim=True) - lut.amin(dim=1, keepdim=True)
    return spread / float(lut.shape[1] - 1)


@torch.no_grad()
def _judged(lessons: Lessons, weights: Sequence[Mapping[str, Lookup]]) -> list[float]:
    """The mean distance of a row on the batches that judge, with each of these weights."""
    totals, count = [0.0] * len(weights), 0.0
    for batch in lessons.judging:
        reference = lessons.answers(batch)
        count += lessons.objective.count(reference, batch)
        for i, lookups in enumerate(weights):
            answers = lessons.answers(batch, lookups)
            for _, (wanted, own), asked in lessons.objective.parts(reference, answers, batch=batch):
                totals[i] += float(lessons.objective.distance(wanted, own, asked))
    return [total / max(1, count) for total in totals]


def _stored(palette: Palette, lut: Tensor, spill: Spill | None) -> Palette:
    """The palette with this LUT, float16: its entries sorted, and the indices follow them."""
    luts: NDArray[np.float16] = lut.cpu().numpy()
    if (luts[:, 1:] >= luts[:, :-1]).all():
        return replace(palette, lut=luts)
    order = np.argsort(luts, 1, kind="stable")
    places = np.argsort(order, 1).astype(np.uint8)
    indices = palette.indices.copy()
    for rows, groups in runs(palette):
        here = indices[rows].reshape(groups.stop - groups.start, -1)
        indices[rows] = np.take_along_axis(places[groups], here.astype(np.intp), 1).reshape(-1, palette.shape[1])
    packed = pack(indices, palette.bits)
    stored = InMemory(packed) if spill is None else spill.append(packed)
    return replace(palette, packed=stored, lut=np.take_along_axis(luts, order, 1))
