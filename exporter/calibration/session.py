"""One model with its calibration texts: what its weights cost, weight by weight, and how far it is from itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exporter.calibration.corpus import Reader
from exporter.calibration.curvature import joined, shifted, total_of, use_moments
from exporter.calibration.feeds import Batch, text_batches
from exporter.calibration.material import Author, gathered
from exporter.calibration.memory import release
from exporter.calibration.objective import Objective, Outputs, objective_of
from exporter.calibration.saliency import Saliency, measure
from exporter.calibration.walk import Replacement, Visit, walk
from exporter.checkpoint.tokens.tokenizer import Tokenizer
from exporter.errors import RuntimeMissingError, UnsupportedError
from exporter.graph.model import Hub
from exporter.graph.moments import Moments
from exporter.progress import Progress
from exporter.runners.torch_graph.graph import TorchGraph
from exporter.runners.torch_graph.products import WeightUse

Dense = NDArray[np.float32]
DOUBT = 1  # standard errors of a mean that other texts may differ by
JUDGED = 8  # every so many sequences, one is kept to judge by
LOGITS = 1 << 26  # numbers of answers that are kept for the next time: 256 MB as float32
ROOM = 1 << 27  # numbers that a batch leaves for its way back, about: 512 MB as float32
BATCH = 2048  # tokens in a batch, at most
LESSON = 1024  # tokens of a step of training
AGAIN = 2  # times that a training reads a text, where there can be more


@dataclass(frozen=True)
class Weighed:
    """A weight that is about to be used for the first time.

    weight: float32 `[out, in]`, as stored. target: what palettes should stand for: the weight, or one that makes up
    for errors in what it will be multiplied with. moments: what errors cost.
    """

    name: str
    weight: Dense
    target: Dense
    moments: Moments


Fitter = Callable[[Weighed], Callable[[], Dense] | None]
"""Answers with how to decode the matrix to go on with, or None to leave it."""


@dataclass(frozen=True)
class School:
    """lessons: batches for training. author: who can write more, in batches of `tokens` tokens."""

    lessons: tuple[Batch, ...]
    author: Author | None = None
    tokens: int = LESSON
    pad_id: int = 0

    def more(self, steps: int, progress: Progress) -> tuple[Batch, ...]:
        """For so many steps: with as much new text that each is read about `AGAIN` times. The same again next time."""
        lacking = steps * self.tokens // AGAIN - sum(batch.tokens for batch in self.lessons)
        if self.author is None or lacking < self.tokens:
            return self.lessons
        made = self.author.written(lacking, progress, seed=1)
        return (*self.lessons, *made.batches(self.author.writer.hub, range(len(made.ids)), self.tokens, self.pad_id))


@dataclass(frozen=True)
class Session:
    """fitted: batches that weights are fitted to; judged: others, for distances, by kind of text: those that were
    given, and what the model wrote. school: the fitted texts again, for training. words: for reports."""

    hub: Hub
    graph: TorchGraph
    objective: Objective
    fitted: tuple[Batch, ...]
    judged: tuple[tuple[Batch, ...], ...]
    school: School
    matters: Saliency
    words: str
    _references: dict[int, Outputs] = field(default_factory=dict, repr=False, compare=False)

    def visit(self, fitter: Fitter, *, sequential: bool = True) -> None:
        """Shows every weight that answers depend on once, in the order of the graph.

        sequential: what the fitter answers takes the weight's place, and weights after it make up for its errors.
        """
        graph, matters = self.graph, self.matters.uses
        uses: dict[str, list[WeightUse]] = {}
        for use in graph.uses:
            if use.output in matters:
                uses.setdefault(use.weight, []).append(use)

        def meet(visit: Visit) -> Replacement | None:
            use = visit.use
            own = uses.get(use.weight, [])
            if use not in own[:1]:  # an answer depends on it, and none of its uses was visited before
                return None
            totals = {other.output: self._total(visit, other) for other in own}
            moments = joined([use_moments(o, totals[o.output], matters[o.output]) for o in own])
            stored = self.weight(use.weight)
            target = self._target(visit, stored, totals[use.output])
            del totals  # as large as what they were made into
            answer = fitter(Weighed(use.weight, stored, target, moments))
            return None if answer is None else lambda: torch.from_numpy(answer())

        walk(graph, [batch.feeds for batch in self.fitted], meet, both=sequential)

    def _target(self, visit: Visit, stored: Dense, total: Tensor) -> Dense:
        """What is to stand in the weight's place where errors were made before it."""
        use, matters = visit.use, self.matters.uses[visit.use.output]
        moved = any(x is not y for x, y in zip(visit.exact, visit.actual, strict=True))
        if not moved or use.kind != "linear" or not use.transposed or matters.total is not None:
            return stored
        return shifted(use, self.graph.weight(use.weight), (visit.exact, visit.actual), total, self.fitted, matters)

    @property
    def work(self) -> float:
        """Operations of a run over all judged texts, about."""
        weights = sum(math.prod(self.graph.shape(name)) for name in {use.weight for use in self.graph.uses})
        return 2.0 * weights * sum(batch.tokens for kind in self.judged for batch in kind)

    def brief(self, work: float) -> Session:
        """The same with fewer judged texts, where a run over all takes more operations; some of each kind remain."""
        step = max(1, math.ceil(self.work / max(1.0, work)))
        return replace(self, judged=tuple(kind[::step] for kind in self.judged))

    def weight(self, name: str) -> Dense:
        """As stored, float32 `[out, in]`."""
        found: Dense = self.graph.weight(name).float().cpu().numpy()
        return found

    def distance(self, weights: Callable[[str], Dense | None], *, bound: bool = False) -> float:
        """Mean distance of the answers on the judged texts, with these weights in the place of stored ones.

        bound: what it should stay below on other texts of the kind that suffers most: `DOUBT` standard errors more.
        """
        kinds = [self._distances(kind, weights) for kind in self.judged]
        if bound:
            return max(0.0, *map(_bound, kinds))
        total, count = np.concatenate(kinds).sum(0)
        return max(0.0, float(total / max(count, 1)))

    def _distances(self, batches: Sequence[Batch], weights: Callable[[str], Dense | None]) -> NDArray[np.float64]:
        """`[n, 2]`: summed over the rows of each text or, where these are measured by each other, of each batch; and of
        how many."""
        found: list[tuple[float, float]] = []

        def given(name: str) -> Tensor | None:
            weight = weights(name)
            return None if weight is None else torch.from_numpy(weight)

        with torch.no_grad():
            for batch in batches:
                answers = self.graph.run(batch.feeds, self.objective.outputs, weights=given)
                for _, (wanted, own), asked in self.objective.parts(self._reference(batch), answers, batch=batch):
                    distance = float(self.objective.distance(wanted, own, asked))
                    found.append((distance, self.objective.count(own, asked)))
        return np.array(found)

    def _reference(self, batch: Batch) -> Outputs:
        """The uncompressed model's answers, kept as far as there is room: they are asked for again and again."""
        found = self._references.get(id(batch))
        if found is None:
            found = self.graph.run(batch.feeds, self.objective.outputs)
            kept = [*self._references.values(), found]
            if sum(output.numel() for outputs in kept for output in outputs.values()) <= LOGITS:
                self._references[id(batch)] = found
        return found

    def _total(self, visit: Visit, use: WeightUse) -> Tensor:
        rows = self.graph.shape(use.weight)[0]
        return total_of(use, visit.actual, self.fitted, self.matters.uses[use.output], rows)


def _bound(distances: NDArray[np.float64]) -> float:
    """Of a mean over rows, which come in texts: those of one are alike."""
    texts, (total, count) = len(distances), distances.sum(0)
    mean = total / max(count, 1)
    if texts < 2:
        return float(mean)
    apart = np.square(distances[:, 0] - mean * distances[:, 1]).sum() * texts / (texts - 1)
    return float(mean + DOUBT * math.sqrt(apart) / max(count, 1))


def begin(hub: Hub, tokenizer: Tokenizer, reader: Reader, progress: Progress, device: str = "cpu") -> Session:
    """Reads the texts, lets a decoder write some of its own, and measures what matters in them.

    Raises UnsupportedError for a model that no text can be fed to, with ops that torch has no counterpart for here, or
    whose answers aren't finite; InputError for a bad file; RuntimeMissingError for a device that isn't there.
    """
    _require_device(device)
    objective = objective_of(hub)
    _require_text(hub)
    progress.stage("prepare calibration", 1)
    graph = TorchGraph(hub, device)
    texts = reader.read()
    author = Author.of(graph, hub, tokenizer, texts, reader)
    material = gathered(texts, author, progress)
    pad = tokenizer.pad_id or 0
    tokens = max(reader.length, min(BATCH, ROOM // _numbers(graph, hub)))
    compared = max(reader.length, min(BATCH, ROOM // _answers(hub)))

    def batches(chosen: Sequence[int], tokens: int = tokens) -> tuple[Batch, ...]:
        return material.batches(hub, chosen, tokens, pad)

    every = range(len(material.ids))
    taught = [i for i in every if i % JUDGED] or list(every)
    lesson = max(reader.length, min(LESSON, tokens))
    fitted, lessons = batches(taught), batches(taught, lesson)
    if len(lessons) == 1:  # training takes two at least
        lessons = batches(taught, 1)
    kept = [i for i in every if i % JUDGED == 0]
    kinds = [[i for i in kept if (material.own[i] is None) != wrote] for wrote in (False, True)]
    judged = tuple(batches(chosen, compared) for chosen in kinds if chosen)
    teacher = None if author is None else author.apart_from([texts.ids[i] for i in kept if i < len(texts.ids)])
    if teacher is not None and reader.file is not None and not teacher.asked:
        teacher = None  # documents of its own would crowd out the user's texts
    release()
    matters = measure(graph, objective, fitted, progress)
    if not all(bool(use.rows.isfinite().all()) for use in matters.uses.values()):
        raise UnsupportedError.of("calibration.numbers", "the model answers with values that are NaN or infinite")
    written = material.tokens - sum(map(len, texts.ids))
    words = f"{material.tokens:,} tokens of {reader.source}" + (
        f", {written:,} of them the model's own" * (written > 0)
    )
    return Session(hub, graph, objective, fitted, judged, School(lessons, teacher, lesson, pad), matters, words)


def _require_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # of a device that isn't there, of a torch that can't know it
        reason = str(error).partition("\n")[0].partition(". ")[0]  # what follows is meant for torch's own people
        hint = "cpu, or a torch that was built for this device"
        raise RuntimeMissingError.of("runtime.device", reason, where=f"--device {device}", hint=hint) from error


def _require_text(hub: Hub) -> None:
    text_batches(hub, [np.zeros(2, np.int64)], tokens=2)


def _answers(hub: Hub) -> int:
    """About how many numbers a token's answer is made into while answers are compared."""
    widths = [value.shape[-1] for value in hub.model.graph.outputs if value.shape]
    return 5 * max([1, *(width for width in widths if isinstance(width, int))])


def _numbers(graph: TorchGraph, hub: Hub) -> int:
    """About how many a token leaves in a run that gradients go back through: what goes into and comes out of products,
    twice, for what lies between; and its answer."""
    return 2 * sum(sum(graph.shape(use.weight)) for use in graph.uses if use.kind == "linear") + _answers(hub)
