"""Palettes fitted to calibration text, graph by graph. K-means of the weights alone is kept where it does better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exporter.bundle import FitFacts
from exporter.checkpoint.tokens.tokenizer import Tokenizer
from exporter.compress import Candidate, Compression, CompressOptions, TensorDecision, compress
from exporter.compress.damage import require_undamaged
from exporter.compress.fit_task import Fit, FitOptions
from exporter.compress.fitting import fit_palette
from exporter.compress.kmeans import fits_float16
from exporter.compress.search import ErrorKind
from exporter.errors import Diagnostic, InputError, UnsupportedError
from exporter.graph.model import Hub
from exporter.graph.palette import BLOCK, Palette, spilled
from exporter.graph.spill import Spill
from exporter.pipeline.options import BUILTIN
from exporter.pipeline.parts import candidates as tensors_of
from exporter.progress import Progress

if TYPE_CHECKING:
    from exporter.calibration.session import FitRequest, Session

Dense = NDArray[np.float32]
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
    """Palettes of one graph. facts: None where nothing was fitted. notes: for the report."""

    compression: Compression
    facts: FitFacts | None = None
    notes: tuple[Diagnostic, ...] = ()


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
    palettes, decisions = dict(plain.palettes), {decision.name: decision for decision in plain.decisions}
    progress.stage("fit palettes", len(plain.palettes))

    def fit(request: FitRequest) -> Callable[[], Dense] | None:
        old = plain.palettes.get(request.name)
        if old is None:
            return None
        fitted = _fitted(request, old)
        if fitted is not None:
            result, dense = fitted
            palettes[request.name] = spilled(result.palette, spill)
            decisions[request.name] = _decision(decisions[request.name], result, request.weight, dense)
        progress.advance(request.name)
        return palettes[request.name].dense

    session.visit(fit)
    progress.stage("judge palettes", 2)
    error = session.distance(decoder(plain.palettes))
    progress.advance()
    facts = FitFacts(session.description, session.objective.kind, error, session.distance(decoder(palettes)))
    progress.advance()
    if not math.isfinite(facts.plain + facts.fitted):
        message = "with palettes the model's outputs are NaN or infinite: palettes were not fitted to text"
        return Fitted(plain, notes=(Diagnostic("calibration.numbers", message, level="warning"),))
    if not facts.fitted < facts.plain:
        return Fitted(plain, replace(facts, used="plain"))
    return Fitted(Compression(palettes, tuple(decisions[c.name] for c in candidates)), facts)


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
    return Fitted(compression, replace(facts, recovered=error, used="recovered"), done.notes)


def decoder(palettes: Mapping[str, Palette]) -> Callable[[str], Dense | None]:
    """Weight name → what its palette decodes to, None for a weight without one."""

    def decoded(name: str) -> Dense | None:
        palette = palettes.get(name)
        return None if palette is None else palette.dense()

    return decoded


def _fitted(request: FitRequest, old: Palette) -> tuple[Fit, Dense] | None:
    """The first fit within MAX_ERROR of the weight, and what it decodes to.

    Tried in turn: a fit that makes up for the errors of earlier layers, one that doesn't, and fits with more damping,
    which trust the texts less. None where no fit is within: few texts can fit a matrix that hardly matters to anything,
    so that the k-means palette `old` is the better choice.
    """
    weight, target = request.weight, request.target
    attempts = [(target, DAMPINGS[0])] if target is not weight and fits_float16(target) else []
    mean = np.broadcast_to(weight.mean(dtype=np.float64).astype(np.float32), weight.shape)
    limit = MAX_ERROR * _squared_error(weight, mean)
    for wanted, damping in (*attempts, *((weight, damping) for damping in DAMPINGS)):
        fit = fit_palette(wanted, old.bits, old.group_size, request.moments, FitOptions(damping))
        dense = fit.palette.dense()
        if _squared_error(weight, dense) <= limit:
            return fit, dense
    return None


def _decision(plain: TensorDecision, fit: Fit, weight: Dense, dense: Dense) -> TensorDecision:
    of_plain = fit.cost / fit.plain_cost if fit.plain_cost > 0 else None
    reason = f"{plain.reason}, fitted to calibration text"
    return replace(_measured(plain, weight, dense), reason=reason, of_plain=of_plain)


def _measured(decision: TensorDecision, weight: Dense, dense: Dense) -> TensorDecision:
    """The decision with the error of the weight itself."""
    mse = _squared_error(weight, dense)
    peak = float(np.abs(weight).max())
    return replace(decision, mse=mse, psnr_db=20 * math.log10(peak / math.sqrt(mse)) if mse > 0 else None)


def _squared_error(weight: Dense, dense: Dense) -> float:
    """The mean squared error. A few rows at a time: float64 takes twice the memory of the weight."""
    step = max(1, BLOCK // weight.shape[1])
    spans = [slice(first, first + step) for first in range(0, len(weight), step)]
    return sum(float(np.square(weight[s] - dense[s], dtype=np.float64).sum()) for s in spans) / weight.size
