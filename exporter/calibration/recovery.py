"""Recovery: trains LUT entries so that the compressed model's outputs come closer to the uncompressed model's.

The indices of a palette don't change, only the entries of its LUTs: hundreds of times fewer numbers than weights. The
loss is the objective's distance to the uncompressed model's outputs on the same texts (distillation), so no labels are
needed. The optimizer is Adam, with a step size relative to the mean distance between the entries of a LUT.
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

HELD_OUT_EVERY = 8  # one of so many batches is held out, to compare before and after
FLOAT16_MAX = float(np.finfo(np.float16).max)
ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class RecoveryOptions:
    """Options of the training.

    steps: number of steps, one batch each. rate: the largest step size, as a share of the mean distance between a LUT's
    entries. warmup: steps until that rate is reached; afterwards it falls to 0 along a cosine. betas: Adam's decay
    rates for the means of gradients and of their squares. seed: of the order of batches.
    """

    steps: int
    rate: float = 0.005
    warmup: int = 10
    betas: tuple[float, float] = (0.9, 0.99)
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """The rate of step number `step`, which counts from 0."""
        rising = min(1.0, (step + 1) / max(1, self.warmup))
        return self.rate * rising * (1 + math.cos(math.pi * step / self.steps)) / 2


@dataclass(frozen=True)
class Distillation:
    """The uncompressed model, how outputs are compared, and texts.

    graph: the model with its original weights. objective: the distance between outputs. batches: at least two; one of
    `HELD_OUT_EVERY` is held out.
    """

    graph: TorchGraph
    objective: Objective
    batches: tuple[Batch, ...]

    def __post_init__(self) -> None:
        if len(self.batches) < 2:
            raise ValueError("recovery needs at least two batches: one for training, one held out")

    @property
    def held_out(self) -> tuple[Batch, ...]:
        """Batches that aren't trained on, chosen evenly, since batches may be sorted by length."""
        every = min(HELD_OUT_EVERY, len(self.batches))
        return self.batches[every // 2 :: every]

    @property
    def training(self) -> tuple[Batch, ...]:
        """All other batches."""
        held_out = {id(batch) for batch in self.held_out}
        return tuple(batch for batch in self.batches if id(batch) not in held_out)

    def answers(self, batch: Batch, lookups: Mapping[str, Lookup] | None = None) -> Outputs:
        """The outputs that the objective compares, with the weights in `lookups` instead of the original ones."""
        outputs = self.objective.outputs
        return self.graph.run(batch.feeds, outputs, weights=None if lookups is None else lookups.get)


@dataclass(frozen=True)
class Recovered:
    """The result of the training.

    palettes: weight name → palette with trained LUTs, float16 and ascending; the given palettes if training brought
    nothing. before, after: mean distance of a row on the held-out batches, after ≤ before. steps: number of steps
    taken. notes: problems with the resume file or with the training.
    """

    palettes: Mapping[str, Palette]
    before: float
    after: float
    steps: int
    notes: tuple[Diagnostic, ...] = ()


def recover(
    distillation: Distillation, palettes: Mapping[str, Palette], options: RecoveryOptions, progress: Progress,
    *, resume: ResumeFile | None = None, spill: Spill | None = None,
) -> Recovered:  # fmt: skip
    """Trains the LUTs of `palettes`. Returns better palettes, or the given ones if training brought nothing.

    Weights without a palette don't change. resume: the file from which training resumes; it is written from time to
    time, on interruption and at the end. An interrupted and resumed training gives the same result as one that ran
    through. spill: the file for packed indices that were reordered with their entries; None keeps them in memory.

    Raises KeyError for a palette whose tensor isn't in the graph, ValueError for one of another shape than its weight.
    """
    training = _Training(distillation, palettes, options, resume)
    state = training.run(progress)
    progress.stage("judge trained LUTs", 1)
    rounded = {name: lut.clamp(-FLOAT16_MAX, FLOAT16_MAX).half() for name, lut in state.luts.items()}
    before, after = _held_out_distances(distillation, (training.lookups, _with_luts(training.lookups, rounded)))
    better = after < before  # False for NaN
    best = {name: _stored(palette, rounded[name], spill) if better else palette for name, palette in palettes.items()}
    return Recovered(best, before, after if better else before, state.step, tuple(training.notes))


class _Training:
    """One training. lookups: weight name → the palette before training."""

    def __init__(
        self,
        distillation: Distillation,
        palettes: Mapping[str, Palette],
        options: RecoveryOptions,
        resume: ResumeFile | None,
    ) -> None:
        graph = distillation.graph
        for name, palette in palettes.items():
            if graph.shape(name) != palette.shape:
                raise ValueError(f"{name} is {graph.shape(name)}, its palette {palette.shape}")
        self.distillation, self.options = distillation, options
        self.resume = None if resume is None else replace(resume, key=_key(resume.key, distillation, palettes, options))
        self.lookups = {
            name: Lookup(palette, torch.from_numpy(palette.lut.astype(np.float32)).to(graph.device))
            for name, palette in palettes.items()
        }
        self.notes: list[Diagnostic] = []
        self._rates = {name: _spacing(lookup.lut) for name, lookup in self.lookups.items()}
        self._training = distillation.training
        self._last_saved: State | None = None

    def run(self, progress: Progress) -> State:
        """The state after all steps, or the last one before a step that gives NaN or infinite numbers."""
        state = self._initial_state()
        progress.stage("recover", self.options.steps - state.step)  # steps of an earlier run would spoil the estimate
        saved = time.monotonic()
        try:
            while state.step < self.options.steps:
                gradients, loss = self._gradients(state)
                following = self._advanced(state, gradients)
                if not (math.isfinite(loss) and following.valid):
                    message = f"training stopped after {state.step} steps at a loss of {loss}: the last state is used"
                    self.notes.append(Diagnostic("recovery.diverged", message, level="note"))
                    break
                state = following
                progress.advance(f"loss {loss:.4f}")
                if self.resume is not None and time.monotonic() - saved >= self.resume.save_interval:
                    self._save(state)
                    saved = time.monotonic()
        finally:  # an interrupted training is saved too; states are immutable, so `state` is always consistent
            self._save(state)
        return state

    def _initial_state(self) -> State:
        initial = State.initial({name: lookup.lut for name, lookup in self.lookups.items()})
        saved = None if self.resume is None else self.resume.load(initial, self.options.steps)
        if isinstance(saved, Diagnostic):
            self.notes.append(saved)
        self._last_saved = saved if isinstance(saved, State) else initial
        return self._last_saved

    def _save(self, state: State) -> None:
        """Writes the resume file. If that fails, training continues without it, with a note."""
        if self.resume is None or state is self._last_saved:
            return
        try:
            self.resume.save(state)
            self._last_saved = state
        except OSError as error:
            message = f"the training's state can't be saved: {error.strerror or error}"
            self.notes.append(Diagnostic("recovery.resume", message, str(self.resume.path), level="note"))
            self.resume = None

    def _batch(self, step: int) -> Batch:
        """The batch of a step: every round uses each batch once, in a random order that depends only on the step."""
        training = self._training
        around, place = divmod(step, len(training))
        order: list[int] = np.random.default_rng((self.options.seed, around)).permutation(len(training)).tolist()
        return training[order[place]]

    def _gradients(self, state: State) -> tuple[Tensors, float]:
        """The gradients of the mean distance of a row, and that distance."""
        distillation, batch = self.distillation, self._batch(state.step)
        with torch.no_grad():
            reference = distillation.answers(batch)
        luts = {name: lut.detach().requires_grad_(True) for name, lut in state.luts.items()}
        answers = distillation.answers(batch, _with_luts(self.lookups, luts))
        count = distillation.objective.count(answers, batch)
        found = {name: torch.zeros_like(answer) for name, answer in answers.items()}
        total = 0.0
        for part, (wanted, own), asked in distillation.objective.split(reference, answers, batch=batch):
            leaves = {name: answer.requires_grad_(True) for name, answer in own.items()}
            distance = distillation.objective.distance(wanted, leaves, asked) / count
            distance.backward()  # type: ignore[no-untyped-call]
            total += float(distance.detach())
            for name, leaf in leaves.items():
                if leaf.grad is not None:
                    found[name][part] = leaf.grad
        learning = [name for name, answer in answers.items() if answer.requires_grad]
        torch.autograd.backward([answers[name] for name in learning], [found[name] for name in learning])
        return {name: torch.zeros_like(lut) if lut.grad is None else lut.grad for name, lut in luts.items()}, total

    def _advanced(self, state: State, gradients: Tensors) -> State:
        """The state after one step of Adam. Entries that no index uses have gradient 0 and don't move."""
        (first, second), step = self.options.betas, state.step + 1
        rate = self.options.rate_at(state.step)
        luts, means, squares = {}, {}, {}
        for name, gradient in gradients.items():
            means[name] = first * state.means[name] + (1 - first) * gradient
            squares[name] = second * state.squares[name] + (1 - second) * gradient**2
            moved = means[name] / (1 - first**step) / ((squares[name] / (1 - second**step)).sqrt() + ADAM_EPSILON)
            luts[name] = state.luts[name] - rate * self._rates[name] * moved
        return State(step, luts, means, squares)


def _key(key: str, distillation: Distillation, palettes: Mapping[str, Palette], options: RecoveryOptions) -> str:
    """A SHA-256 of the caller's key and of everything else that the training depends on."""
    digest = hashlib.sha256(f"{key}\n{options}\n{distillation.objective}\n{len(distillation.batches)}".encode())
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
def _held_out_distances(distillation: Distillation, weights: Sequence[Mapping[str, Lookup]]) -> list[float]:
    """The mean distance of a row on the held-out batches, for each set of weights."""
    totals, count = [0.0] * len(weights), 0.0
    for batch in distillation.held_out:
        reference = distillation.answers(batch)
        count += distillation.objective.count(reference, batch)
        for i, lookups in enumerate(weights):
            answers = distillation.answers(batch, lookups)
            for _, (wanted, own), asked in distillation.objective.split(reference, answers, batch=batch):
                totals[i] += float(distillation.objective.distance(wanted, own, asked))
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
