"""Palettes fitted to calibration text, graph by graph. K-means of the weights alone is kept where it does better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.bundle import FitFacts
from exporter.checkpoint.tokens.tokenizer import Tokenizer
from exporter.compress import Candidate, Compression, CompressOptions, TensorDecision, compress
from exporter.compress.damage import require_undamaged
from exporter.compress.fit_task import FitOptions
from exporter.compress.fitting import fit_palette
from exporter.compress.kmeans import fits_float16
from exporter.compress.search import ErrorKind
from exporter.errors import Diagnostic, InputError, UnsupportedError
from exporter.graph.grid import Grid
from exporter.graph.model import Hub
from exporter.graph.moments import Moments
from exporter.graph.palette import BLOCK, Palette, spilled
from exporter.graph.spill import Spill
from exporter.pipeline.options import BUILTIN
from exporter.pipeline.parts import candidates as tensors_of
from exporter.progress import Progress

if TYPE_CHECKING:
    from exporter.calibration.session import FitRequest, Session

Dense = NDArray[np.float32]
M = TypeVar("M", Palette, Grid)
MAX_ERROR = 0.9  # squared error as a share of the weight's variance: a fitted palette beyond this isn't used
DAMPINGS = (FitOptions.damping, 0.1, 1.0)  # tried one after the other, until a fit keeps MAX_ERROR
MIN_BATCHES = 2  # of a training: one to train on, one to judge with


@dataclass(frozen=True)
class Recovery:
    """Training of LUTs. steps: how many. resume: the file that an interrupted training resumes from, beside the bundle.
    model: the checkpoint's digest, which that file is bound to."""

    steps: int
    resume: Path
    model: str


@dataclass(frozen=True)
class Fitted:
    """Palettes or grids of one graph. facts: None where nothing was fitted. notes: for the report."""

    compression: Compression
    facts: FitFacts | None = None
    notes: tuple[Diagnostic, ...] = ()
    grids: Mapping[str, Grid] = field(default_factory=dict)

    @property
    def decoded(self) -> Callable[[str], Dense | None]:
        """Weight name → what it decodes to; None for a weight that is kept."""
        return decoder({**self.compression.palettes, **self.grids})


NOTHING = Compression({}, ())


def open_session(
    hub: Hub, tokenizer: Tokenizer | None, calibrate: str | None, progress: Progress, device: str = "cpu"
) -> Session | Diagnostic:
    """The graph with its calibration texts. calibrate: "builtin" or a file; None: built-in texts where possible.

    Where calibration isn't possible and nobody asked for it, the result is a note that says why; a chat template that
    fails is one such reason. Raises as `session.begin`, and InputError naming the tensors that hold NaN or infinity.
    """
    try:
        if tokenizer is None:
            hint = "--calibrate none compresses without running the model"
            raise UnsupportedError.of(
                "calibration.tokenizer", "calibration text needs a tokenizer, and the model has none", hint=hint
            )
        from exporter.calibration.corpus import Reader
        from exporter.calibration.session import start_session

        file = Path(calibrate) if calibrate not in (None, BUILTIN) else None
        return start_session(hub, tokenizer, Reader(hub.spec, tokenizer, file), progress, device)
    except (InputError, UnsupportedError) as error:
        reason = error.diagnostics[0]
        if reason.code == "calibration.numbers":
            require_undamaged(tensors_of(hub))
        if calibrate is not None:
            raise
        message = f"compressed without calibration text: {reason.message}"
        return Diagnostic("calibration.none", message, reason.where, level="note")


def answer_kind(hubs: Sequence[Hub]) -> ErrorKind:
    """What the outputs of a model are compared by; "weights" for a model of several graphs, which isn't measured."""
    from exporter.calibration.objective import objective_of

    return objective_of(hubs[0]).kind if len(hubs) == 1 else "weights"


def fitted_compression(
    session: Session, candidates: Sequence[Candidate], options: CompressOptions, progress: Progress, spill: Spill
) -> Fitted:
    """Palettes fitted to the session's texts, or those of `compress` where they change the outputs less.

    Raises as `compress`.
    """
    plain = compress(candidates, options, progress, spill)
    if not plain.palettes:
        return Fitted(plain)

    def fit(request: FitRequest, old: Palette) -> Better[Palette] | None:
        found = fit_within(request, lambda target, tried: _tried(target, old, request.moments, tried))
        return None if found is None else replace(found, matrix=spilled(found.matrix, spill))

    palettes, decisions, judged = fit_matrices(session, (plain.palettes, plain.decisions), fit, progress, "palettes")
    return replace(judged, compression=Compression(palettes, decisions))


@dataclass(frozen=True)
class Better(Generic[M]):
    """A matrix that was fitted to text, and what it decodes to. of_plain: as in `TensorDecision`."""

    matrix: M
    dense: Dense
    of_plain: float | None


def fit_matrices(
    session: Session,
    plain: tuple[Mapping[str, M], Sequence[TensorDecision]],
    fit: Callable[[FitRequest, M], Better[M] | None],
    progress: Progress,
    what: str,
) -> tuple[Mapping[str, M], tuple[TensorDecision, ...], Fitted]:
    """Fits every matrix, in the order of the graph, and keeps what changes the outputs less.

    plain: the matrices without text, by name, and all decisions. fit: of one matrix. what: the kind of matrix, in the
    plural. The result: matrices, decisions, and facts and notes in a `Fitted` without matrices.
    """
    given, decisions = plain
    matrices, made = dict(given), {decision.name: decision for decision in decisions}
    progress.stage(f"fit {what}", len(given))

    def visit(request: FitRequest) -> Callable[[], Dense] | None:
        old = given.get(request.name)
        if old is None:
            return None
        better = fit(request, old)
        if better is not None:
            matrices[request.name] = better.matrix
            decision = made[request.name]
            told = replace(decision, reason=f"{decision.reason}, fitted to calibration text", of_plain=better.of_plain)
            made[request.name] = _measured(told, request.weight, better.dense)
        progress.advance(request.name)
        return matrices[request.name].dense

    session.visit(visit)
    progress.stage(f"judge {what}", 2)
    error = session.distance(decoder(given))
    progress.advance()
    facts = FitFacts(session.description, session.objective.kind, error, session.distance(decoder(matrices)))
    progress.advance()
    if not math.isfinite(facts.plain + facts.fitted):
        message = f"with {what} the model's outputs are NaN or infinite: {what} were not fitted to text"
        note = Diagnostic("calibration.numbers", message, level="warning")
        return given, tuple(decisions), Fitted(NOTHING, notes=(note,))
    if not facts.fitted < facts.plain:
        return given, tuple(decisions), Fitted(NOTHING, replace(facts, used="plain"))
    return matrices, tuple(made[decision.name] for decision in decisions), Fitted(NOTHING, facts)


def recovered(session: Session, fitted: Fitted, recovery: Recovery, progress: Progress, spill: Spill) -> Fitted:
    """LUTs trained to bring the outputs closer to the uncompressed model's; kept only where they do.

    Raises InputError where there are too few texts.
    """
    from exporter.calibration.recovery import Distillation, RecoveryOptions, recover
    from exporter.calibration.recovery_state import ResumeFile

    facts, old = fitted.facts, fitted.compression
    if facts is None:
        return fitted
    if len(session.training_set.batches) < MIN_BATCHES:
        raise InputError.of("calibration.texts", "training needs at least three texts", where="--calibrate")
    distillation = Distillation(
        session.graph, session.objective, session.training_set.batches_for(recovery.steps, progress)
    )
    resume = ResumeFile(recovery.resume, f"{recovery.model} {session.description}")
    done = recover(distillation, old.palettes, RecoveryOptions(recovery.steps), progress, resume=resume, spill=spill)
    error = session.distance(decoder(done.palettes))
    resume.discard()
    if not error < min(facts.fitted, facts.plain):
        return replace(fitted, facts=replace(facts, recovered=error), notes=done.notes)
    decisions = []
    for kept in old.decisions:
        palette = done.palettes.get(kept.name)
        if palette is None:
            decisions.append(kept)
        else:
            trained = replace(kept, reason=f"{kept.reason}, its LUTs trained")
            decisions.append(_measured(trained, session.weight(kept.name), palette.dense()))
    compression = Compression(done.palettes, tuple(decisions))
    facts = replace(facts, recovered=error, used="recovered")
    return replace(fitted, compression=compression, facts=facts, notes=done.notes)


def decoder(matrices: Mapping[str, Palette | Grid]) -> Callable[[str], Dense | None]:
    """Weight name → what its palette or grid decodes to, None for a weight without one."""

    def decoded(name: str) -> Dense | None:
        matrix = matrices.get(name)
        return None if matrix is None else matrix.dense()

    return decoded


def fit_within(request: FitRequest, fit: Callable[[Dense, FitOptions], Better[M]]) -> Better[M] | None:
    """The first fit within MAX_ERROR of the weight.

    Tried in turn: a fit that makes up for the errors of earlier layers, one that doesn't, and fits with more damping,
    which trust the texts less. None where no fit is within: few texts can fit a matrix that hardly matters to anything,
    so that what is made without text is the better choice.
    """
    weight, target = request.weight, request.target
    attempts = [(weight, damping) for damping in DAMPINGS]
    if target is not weight and fits_float16(target):
        attempts.insert(0, (target, DAMPINGS[0]))
    mean = np.broadcast_to(weight.mean(dtype=np.float64).astype(np.float32), weight.shape)
    limit = MAX_ERROR * _squared_error(weight, mean)
    for wanted, damping in attempts:
        better = fit(wanted, FitOptions(damping))
        if _squared_error(weight, better.dense) <= limit:
            return better
    return None


def of_plain(cost: float, plain: float) -> float | None:
    """A cost as a share of the cost without text; None where that is 0."""
    return cost / plain if plain > 0 else None


def _tried(target: Dense, old: Palette, moments: Moments, options: FitOptions) -> Better[Palette]:
    fit = fit_palette(target, old.bits, old.group_size, moments, options)
    return Better(fit.palette, fit.palette.dense(), of_plain(fit.cost, fit.plain_cost))


def _measured(decision: TensorDecision, weight: Dense, dense: Dense) -> TensorDecision:
    """The decision with the error of the weight itself."""
    return decision.measured(_squared_error(weight, dense), float(np.abs(weight).max()))


def _squared_error(weight: Dense, dense: Dense) -> float:
    """The mean squared error. A few rows at a time: float64 takes twice the memory of the weight."""
    step = max(1, BLOCK // weight.shape[1])
    spans = [slice(first, first + step) for first in range(0, len(weight), step)]
    return sum(float(np.square(weight[s] - dense[s], dtype=np.float64).sum()) for s in spans) / weight.size
