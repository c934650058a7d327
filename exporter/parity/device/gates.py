"""The limits of a device's answers: those of parity's row of the same file, and an allowance for each vector.

Parity's limits are on means over all prompts. The vectors are some of these prompts, and a mean over a few of them may
lie higher: a limit that the exported file itself would all but break is widened (`_widened`).

A mean can't name a vector, and one broken text hides in it. The same file ran on the same vectors when it was exported,
so each vector has an allowance from its own error then: half more, and what float16 arithmetic may add.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from exporter.parity.device.compare import Compared
from exporter.parity.device.vectors import Gate
from exporter.parity.metrics import METRICS
from exporter.parity.results import Row
from exporter.parity.thresholds import Limit

IDS = Limit("ids_differ", 0, "the model must get the ids that it was trained with")
MISSING = Limit("missing", 0, "a vector without a result shows nothing, so it can't pass")
INCONSISTENT = Limit(
    "inconsistent", 0, "log-probabilities belong to one distribution, and top1 is its most likely token"
)
CONTINUATIONS = Limit(
    "continuations_differ",
    0,
    "token by token through the KV cache, a device must choose what its logits of the whole text say, near-ties aside",
)
_WIDER = 1.25  # of the exported file's own loss: float16 arithmetic of a phone changes it by far less
_HALF_MORE = 1.5
# What arithmetic may add to one vector's error. At 45 dB, the limit of the row "fp16", noise costs 0.009 nats in the
# mean and up to 0.02 for a short text (measured: 1.7e-6 nats at 82 dB, which grows with the noise's square); it turns
# an embedding by 0.0002. Scores: 2 % of the largest, twice what makes a near-tie.
MARGINS: Mapping[str, float] = {"kl": 0.02, "cosine": 0.001, "max_abs_error": 0.02}
TOLD_MARGIN = "0.02 nats (0.001 of a cosine, 0.02 of the largest score)"
_BEYOND = (
    "a vector may cost half more than the same file cost on it when it was exported ({runner}), and {margin} for "
    "float16 arithmetic: the mean over all vectors can't show one broken text"
)


def gates_of(row: Row, file: Compared, peak: float) -> tuple[Gate, ...]:
    """The limits for one artifact. row: checkpoint against file. file: its own answers to the vectors; peak: largest
    score of the reference.
    """
    known = {check.limit.metric: check.limit for check in row.checks if check.limit.metric in file.metrics}
    limits = [IDS, MISSING]
    if "continuations_differ" in file.metrics:
        limits += [INCONSISTENT, CONTINUATIONS]
    for metric, limit in known.items():
        limits.append(_widened(limit, file.metrics[metric], row.runners[1]) if row.verdict == "passed" else limit)
    margin = MARGINS[file.leading] * (peak if file.leading == "max_abs_error" else 1)
    allowed = {name: float(f"{_HALF_MORE * loss + margin:.4g}") for name, loss in file.losses.items()}
    return (*map(Gate.of, limits), Gate.of(beyond_limit(row.runners[1], f"{margin:.3g}"), allowed))


def beyond_limit(runner: str, margin: str) -> Limit:
    """The limit on vectors with a larger error than is allowed for them. runner: what ran the file at its export."""
    return Limit("vectors_beyond", 0, _BEYOND.format(runner=runner, margin=margin))


def token_gates() -> tuple[Gate, ...]:
    """The limits where the vectors have nothing but ids."""
    return Gate.of(IDS), Gate.of(MISSING)


def beyond(compared: Compared, allowed: Mapping[str, float]) -> dict[str, float]:
    """The vectors whose error is beyond what is allowed for them, or that nothing is allowed for: name → error."""
    return {name: loss for name, loss in compared.losses.items() if not loss <= allowed.get(name, -1.0)}


def _widened(limit: Limit, value: float, runner: str) -> Limit:
    """`limit`, or a quarter more than what the file itself lost on these vectors where that is more."""
    higher = METRICS[limit.metric].higher_is_better
    lost, allowed = (1 - value, 1 - limit.value) if higher else (value, limit.value)
    if not _WIDER * lost > allowed:  # also for NaN
        return limit
    wider = 1 - _WIDER * lost if higher else _WIDER * lost
    told = f"on these vectors alone, the exported file had {value:.4g} ({runner}), and a quarter more loss is allowed"
    return replace(
        limit, value=float(f"{wider:.4g}"), reason=f"{told}; over all prompts {limit.value:g}: {limit.reason}"
    )
