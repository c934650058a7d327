"""A model and its calibration texts: the cost of an error in each weight, and the distance of the outputs after weights
are replaced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exporter.calibration.corpus import Reader
from exporter.calibration.curvature import corrected_weight, sum_moments, total_statistic, use_moments
from exporter.calibration.feeds import Batch, text_batches
from exporter.calibration.memory import release
from exporter.calibration.objective import Objective, Outputs, objective_of
from exporter.calibration.saliency import Saliency, measure_saliency
from exporter.calibration.text_writer import TextWriter, collect_texts
from exporter.calibration.walk import Replacement, Visit, walk
from exporter.checkpoint.tokens.tokenizer import Tokenizer
from exporter.errors import RuntimeMissingError, UnsupportedError
from exporter.graph.model import Hub
from exporter.graph.moments import Moments
from exporter.progress import Progress
from exporter.runners.torch_graph.graph import TorchGraph
from exporter.runners.torch_graph.products import WeightUse

Dense = NDArray[np.float32]
STANDARD_ERRORS = 1  # added to a mean distance to bound it on other texts
HELD_OUT_EVERY = 8  # one of so many sequences is held out, to measure distances on
MAX_CACHED_OUTPUTS = 1 << 26  # elements of the uncompressed model's outputs that are kept: 256 MB as float32
MAX_BATCH_ACTIVATIONS = 1 << 27  # elements that a batch may keep for the backward pass, about: 512 MB as float32
MAX_BATCH_TOKENS = 2048
TRAINING_BATCH_TOKENS = 1024  # tokens in one step of training
READS_PER_TEXT = 2  # how often a training reads each text, if the model can write more texts


@dataclass(frozen=True)
class FitRequest:
    """A weight to be fitted, when the walk through the graph reaches its first use.

    weight: float32 `[out, in]`, as stored. target: float32 `[out, in]`, the matrix that a palette should approximate:
    the weight itself, or one that corrects errors in its inputs. moments: the cost of errors in the matrix.
    """

    name: str
    weight: Dense
    target: Dense
    moments: Moments


Fitter = Callable[[FitRequest], Callable[[], Dense] | None]
"""Returns a function that makes the matrix to use instead, float32 `[out, in]`, or None to keep the stored one."""


@dataclass(frozen=True)
class TrainingSet:
    """batches: for training. writer: writes more text, in batches of `tokens` tokens; None if there is none."""

    batches: tuple[Batch, ...]
    writer: TextWriter | None = None
    tokens: int = TRAINING_BATCH_TOKENS
    pad_id: int = 0

    def batches_for(self, steps: int, progress: Progress) -> tuple[Batch, ...]:
        """Batches for `steps` steps: new text is written until each text is read about `READS_PER_TEXT` times.

        The same call returns the same batches.
        """
        lacking = steps * self.tokens // READS_PER_TEXT - sum(batch.tokens for batch in self.batches)
        if self.writer is None or lacking < self.tokens:
            return self.batches
        made = self.writer.write(lacking, progress, seed=1)
        return (*self.batches, *made.batches(self.writer.sampler.hub, range(len(made.ids)), self.tokens, self.pad_id))


@dataclass(frozen=True)
class Session:
    """A model, its calibration texts and its saliency.

    fitting_batches: texts that weights are fitted to. held_out_batches: other texts, on which distances are measured,
    in up to two kinds: given texts and texts that the model wrote. training_set: the fitting texts in smaller batches,
    for training. description: the number and the source of the texts, for reports.
    """

    hub: Hub
    graph: TorchGraph
    objective: Objective
    fitting_batches: tuple[Batch, ...]
    held_out_batches: tuple[tuple[Batch, ...], ...]
    training_set: TrainingSet
    saliency: Saliency
    description: str
    _references: dict[int, Outputs] = field(default_factory=dict, repr=False, compare=False)

    def visit(self, fitter: Fitter, *, sequential: bool = True) -> None:
        """Calls `fitter` once for every weight that the outputs depend on, in the order of the graph.

        sequential: later weights get the inputs that the fitter's matrices produce, and targets that correct them.
        """
        graph, saliency = self.graph, self.saliency.uses
        uses: dict[str, list[WeightUse]] = {}
        for use in graph.uses:
            if use.output in saliency:
                uses.setdefault(use.weight, []).append(use)

        def visitor(visit: Visit) -> Replacement | None:
            use = visit.use
            own = uses.get(use.weight, [])
            if use not in own[:1]:  # only the first use that the outputs depend on
                return None
            totals = {other.output: self._total(visit, other) for other in own}
            moments = sum_moments([use_moments(o, totals[o.output], saliency[o.output]) for o in own])
            stored = self.weight(use.weight)
            target = self._target(visit, stored, totals[use.output])
            del totals  # as large as the moments that were made from them
            answer = fitter(FitRequest(use.weight, stored, target, moments))
            return None if answer is None else lambda: torch.from_numpy(answer())

        walk(graph, [batch.feeds for batch in self.fitting_batches], visitor, both=sequential)

    def _target(self, visit: Visit, stored: Dense, total: Tensor) -> Dense:
        """The target of a weight: the stored one, or a corrected one if its inputs have errors."""
        use, saliency = visit.use, self.saliency.uses[visit.use.output]
        moved = any(x is not y for x, y in zip(visit.exact, visit.actual, strict=True))
        if not moved or use.kind != "linear" or not use.transposed or saliency.total is not None:
            return stored
        inputs = (visit.exact, visit.actual)
        return corrected_weight(use, self.graph.weight(use.weight), inputs, total, self.fitting_batches, saliency)

    @property
    def operations(self) -> float:
        """About how many floating-point operations a run over all held-out texts takes."""
        weights = sum(math.prod(self.graph.shape(name)) for name in {use.weight for use in self.graph.uses})
        return 2.0 * weights * sum(batch.tokens for kind in self.held_out_batches for batch in kind)

    def with_fewer_texts(self, operations: float) -> Session:
        """The same session with so few held-out texts that a run over them takes about `operations` operations.

        At least one batch of each kind remains.
        """
        step = max(1, math.ceil(self.operations / max(1.0, operations)))
        return replace(self, held_out_batches=tuple(kind[::step] for kind in self.held_out_batches))

    def weight(self, name: str) -> Dense:
        """The stored weight, float32 `[out, in]`."""
        weight: Dense = self.graph.weight(name).float().cpu().numpy()
        return weight

    def distance(self, weights: Callable[[str], Dense | None], *, bound: bool = False) -> float:
        """Mean distance of a row of the outputs on the held-out texts, with other weights than the stored ones.

        weights: returns the matrix to use for a name, or None for the stored one. bound: returns an upper bound on
        other texts instead: the mean plus `STANDARD_ERRORS` standard errors, for the kind of text where it is largest.
        """
        kinds = [self._distances(kind, weights) for kind in self.held_out_batches]
        if bound:
            return max(0.0, *map(_bound, kinds))
        total, count = np.concatenate(kinds).sum(0)
        return max(0.0, float(total / max(count, 1)))

    def _distances(self, batches: Sequence[Batch], weights: Callable[[str], Dense | None]) -> NDArray[np.float64]:
        """`[n, 2]`: the summed distance and the weighted number of rows of each part from `Objective.split`."""
        parts: list[tuple[float, float]] = []

        def given(name: str) -> Tensor | None:
            weight = weights(name)
            return None if weight is None else torch.from_numpy(weight)

        with torch.no_grad():
            for batch in batches:
                answers = self.graph.run(batch.feeds, self.objective.outputs, weights=given)
                for _, (wanted, own), asked in self.objective.split(self._reference(batch), answers, batch=batch):
                    distance = float(self.objective.distance(wanted, own, asked))
                    parts.append((distance, self.objective.count(own, asked)))
        return np.array(parts)

    def _reference(self, batch: Batch) -> Outputs:
        """The uncompressed model's outputs, cached up to `MAX_CACHED_OUTPUTS` elements since they are used often."""
        outputs = self._references.get(id(batch))
        if outputs is None:
            outputs = self.graph.run(batch.feeds, self.objective.outputs)
            cached = [*self._references.values(), outputs]
            if sum(output.numel() for own in cached for output in own.values()) <= MAX_CACHED_OUTPUTS:
                self._references[id(batch)] = outputs
        return outputs

    def _total(self, visit: Visit, use: WeightUse) -> Tensor:
        rows = self.graph.shape(use.weight)[0]
        return total_statistic(use, visit.actual, self.fitting_batches, self.saliency.uses[use.output], rows)


def _bound(distances: NDArray[np.float64]) -> float:
    """The mean over rows plus standard errors. Rows of one text are alike, so the error is estimated between texts."""
    texts, (total, count) = len(distances), distances.sum(0)
    mean = total / max(count, 1)
    if texts < 2:
        return float(mean)
    apart = np.square(distances[:, 0] - mean * distances[:, 1]).sum() * texts / (texts - 1)
    return float(mean + STANDARD_ERRORS * math.sqrt(apart) / max(count, 1))


def start_session(hub: Hub, tokenizer: Tokenizer, reader: Reader, progress: Progress, device: str = "cpu") -> Session:
    """Starts a session: reads the texts, lets a decoder write more, and measures the saliency of all weights.

    device: a torch device name. Raises UnsupportedError for a model that takes no text, has ops that the torch runner
    doesn't know or gives outputs that aren't finite; InputError for a bad file of texts; RuntimeMissingError for a
    device that isn't available.
    """
    _require_device(device)
    objective = objective_of(hub)
    _require_text(hub)
    progress.stage("prepare calibration", 1)
    graph = TorchGraph(hub, device)
    texts = reader.read()
    writer = TextWriter.create(graph, hub, tokenizer, texts, reader)
    collection = collect_texts(texts, writer, progress)
    pad = tokenizer.pad_id or 0
    tokens = max(reader.length, min(MAX_BATCH_TOKENS, MAX_BATCH_ACTIVATIONS // _backward_elements(graph, hub)))
    compared = max(reader.length, min(MAX_BATCH_TOKENS, MAX_BATCH_ACTIVATIONS // _output_elements(hub)))

    def batches(chosen: Sequence[int], tokens: int = tokens) -> tuple[Batch, ...]:
        return collection.batches(hub, chosen, tokens, pad)

    every = range(len(collection.ids))
    held_out = [i for i in every if i % HELD_OUT_EVERY == 0]
    others = [i for i in every if i % HELD_OUT_EVERY] or list(every)
    training_tokens = max(reader.length, min(TRAINING_BATCH_TOKENS, tokens))
    fitting, training = batches(others), batches(others, training_tokens)
    if len(training) == 1:  # training needs at least two
        training = batches(others, 1)
    kinds = [[i for i in held_out if (collection.generated[i] is None) != wrote] for wrote in (False, True)]
    held_out_batches = tuple(batches(chosen, compared) for chosen in kinds if chosen)
    if writer is not None:
        writer = writer.without([texts.ids[i] for i in held_out if i < len(texts.ids)])
    if writer is not None and reader.file is not None and not writer.conversations:
        writer = None  # generated documents would outweigh the user's texts
    release()
    saliency = measure_saliency(graph, objective, fitting, progress)
    if not all(bool(use.rows.isfinite().all()) for use in saliency.uses.values()):
        raise UnsupportedError.of("calibration.numbers", "the model's outputs contain NaN or infinite values")
    generated = collection.tokens - sum(map(len, texts.ids))
    words = f"{collection.tokens:,} tokens of {reader.source}"
    if generated > 0:
        words += f", {generated:,} of them the model's own"
    training_set = TrainingSet(training, writer, training_tokens, pad)
    return Session(hub, graph, objective, fitting, held_out_batches, training_set, saliency, words)


def _require_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # no such device, or a torch build without support for it
        reason = str(error).partition("\n")[0].partition(". ")[0]  # the rest is for torch's developers
        hint = "use --device cpu, or install a torch build that supports this device"
        raise RuntimeMissingError.of("runtime.device", reason, where=f"--device {device}", hint=hint) from error


def _require_text(hub: Hub) -> None:
    text_batches(hub, [np.zeros(2, np.int64)], tokens=2)


def _output_elements(hub: Hub) -> int:
    """About how many elements per token are in memory while outputs are compared."""
    widths = [value.shape[-1] for value in hub.model.graph.outputs if value.shape]
    return 5 * max([1, *(width for width in widths if isinstance(width, int))])


def _backward_elements(graph: TorchGraph, hub: Hub) -> int:
    """About how many elements per token a backward pass needs: twice the inputs and outputs of all products, where the
    factor 2 stands for the ops between them, and the outputs."""
    return 2 * sum(sum(graph.shape(use.weight)) for use in graph.uses if use.kind == "linear") + _output_elements(hub)
