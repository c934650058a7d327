"""Results of a device, or of an exported file, compared with the checkpoint's answers in the vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exporter.parity.device.report import DecodeResult, ValuesResult
from exporter.parity.device.vectors import LOWEST, DecodeVector, DeviceVectors, TopLogprobs, ValuesVector
from exporter.parity.measures import measured
from exporter.parity.options import judged

Floats = NDArray[np.float64]

REST = 1e-5  # least probability of the ids that aren't stated: below it, the digits of the others decide
# Near-ties between the logits of a text at once and those of the cache, which may be 45 dB apart ("cached decode"): the
# gap of two tokens then changes by 0.8 % of the largest logit, and a near-tie is 1 %. Noise of that size failed 2 of 3
# runs of samples/prose with 1 near-tie, and none with 3.
_CACHE_TIES = 3
_SURE = 0.01  # nats, or probability: rounded digits of the same logits differ by less


@dataclass(frozen=True)
class Compared:
    """The metrics of all vectors that have a result of the right shape.

    losses: vector → its error: KL in nats, 1 - cosine, or the largest absolute error of a score; NaN where a value
    isn't finite. leading: the metric that this error is, for reports. wrong: vector → what is wrong with its result,
    whatever the other vectors say.
    """

    metrics: Mapping[str, float]
    losses: Mapping[str, float]
    leading: str
    wrong: Mapping[str, str] = field(default_factory=dict)


def compare_decode(pairs: Sequence[tuple[DecodeVector, DecodeResult]], near_tie: float) -> Compared:
    """A decoder's answers. near_tie: as in `DeviceVectors`."""
    wrong: dict[str, str] = {}
    fitting = []
    for vector, result in pairs:
        reference = np.asarray([top.logprobs for top in vector.top], np.float64)
        widths = {len(row) for row in result.logprobs}
        if (
            len(result.logprobs) != len(reference)
            or widths != {reference.shape[1]}
            or len(result.top1) != len(reference)
        ):
            wrong[vector.id] = f"has no {reference.shape[1]} log-probabilities and a top1 at {len(reference)} positions"
            continue
        fitting.append(_Decoded(vector, result, reference, np.asarray(result.logprobs, np.float64)))
    shapes = {"shapes": float(len(wrong))} if wrong else {}
    if not fitting:
        return Compared(shapes, {}, "kl", wrong)
    kl = {one.vector.id: one.kl for one in fitting}
    every = np.concatenate(list(kl.values()))
    agreeing = sum(one.agreeing for one in fitting)
    ties = sum(one.ties(near_tie) for one in fitting)
    unlike = {one.vector.id: said for one in fitting if (said := one.contradiction())}
    torn = {one.vector.id: said for one in fitting if (said := one.torn(near_tie))}
    metrics = {
        **shapes,
        "kl": float(every.mean()),
        "kl_max": float(every.max()),
        "top1": agreeing / len(every),
        "top1_ties": float(ties),
        "top1_or_tie": (agreeing + ties) / len(every),
        "greedy_equal": sum(one.result.continuation == one.vector.continuation for one in fitting) / len(fitting),
        "continuations_differ": float(len(torn)),
        "inconsistent": float(len(unlike)),
        "non_finite": float(sum(np.count_nonzero(~np.isfinite(one.artifact)) for one in fitting)),
        "positions": float(len(every)),
        "prompts": float(len(fitting)),
    }
    losses = {name: float(values.mean()) for name, values in kl.items()}
    return Compared(metrics, losses, "kl", reasons(wrong, unlike, torn))


def compare_values(vectors: DeviceVectors, pairs: Sequence[tuple[ValuesVector, ValuesResult]]) -> Compared:
    """An encoder's answers: embeddings, or the logits of a head, by the measures of every other parity row."""
    kind = judged(vectors.task, vectors.activation)
    wrong = {
        vector.id: f"has {len(result.values)} values instead of {len(vector.values)}"
        for vector, result in pairs
        if len(result.values) != len(vector.values)
    }
    shapes = {"shapes": float(len(wrong))} if wrong else {}
    fitting = [(vector, result) for vector, result in pairs if vector.id not in wrong]
    leading = {"embeddings": "cosine", "scores": "max_abs_error"}.get(kind, "kl")
    if not fitting:
        return Compared(shapes, {}, leading, wrong)
    arrays = [
        tuple(np.asarray(side.values, np.float32).reshape(vector.rows, -1) for side in (vector, result))
        for vector, result in fitting
    ]
    sentences = kind == "embeddings"
    sides = [((a, a[0] if sentences else None), (b, b[0] if sentences else None)) for a, b in arrays]
    made = measured(kind, sides, None, sigmoid=kind == "classes" and vectors.activation == "sigmoid")
    if sentences:
        losses = [1 - value for value in made.samples["cosine"]]
    elif kind == "scores":
        losses = [float(np.abs(a - b).max()) for a, b in arrays]
    else:
        losses = list(made.samples["kl"])
    own = {vector.id: loss for (vector, _), loss in zip(fitting, losses, strict=True)}
    return Compared({**shapes, **made.metrics}, own, leading, wrong)


def reasons(*kinds: Mapping[str, str]) -> dict[str, str]:
    """Vector → everything that is wrong with it; the vectors of the first kind come first."""
    told: dict[str, str] = {}
    for kind in kinds:
        for name, why in kind.items():
            told[name] = f"{told[name]}, and {why}" if name in told else why
    return told


@dataclass(frozen=True)
class _Decoded:
    """One vector and its result: reference and artifact are log-probabilities `[positions, ids]`, NaN where null."""

    vector: DecodeVector
    result: DecodeResult
    reference: Floats
    artifact: Floats

    @property
    def kl(self) -> Floats:
        """KL(reference ‖ artifact) at each position, in nats, over the stated ids and one bucket for all others."""
        p, q = _with_rest(self.reference), _with_rest(self.artifact)
        result: Floats = np.maximum((np.exp(p) * (p - q)).sum(-1), 0.0)  # rounded digits make it negative; NaN stays
        return result

    @property
    def agreeing(self) -> int:
        """Positions with the same most likely token."""
        return sum(top.ids[0] == own for top, own in zip(self.vector.top, self.result.top1, strict=True))

    def ties(self, near_tie: float) -> int:
        """Positions whose other choice is as good as equal in the reference. A token that isn't stated is no tie."""
        return sum(
            own != top.ids[0] and own in top.ids and top.logprobs[0] - top.logprobs[top.ids.index(own)] < near_tie
            for top, own in zip(self.vector.top, self.result.top1, strict=True)
        )

    def contradiction(self) -> str:
        """Why these can't be log-probabilities of one distribution with this most likely token; "" where they can."""
        for position, (top, best, row) in enumerate(self._positions(), start=self.vector.first):
            if not np.isfinite(row).all():
                continue
            mass, highest = float(np.exp(np.minimum(row, 1.0)).sum()), float(row.max())
            if mass > 1 + _SURE:
                return f"has probabilities that add up to {mass:.4g} at position {position}"
            stated = best in top.ids
            if stated and row[top.ids.index(best)] < highest - _SURE:
                return f"has top1 {best} at position {position}, where another token has a higher log-probability"
            if not stated and np.exp(highest) > 1 - mass + _SURE:
                return f"has top1 {best} at position {position}, where the other tokens leave it too little probability"
        return ""

    def torn(self, near_tie: float) -> str:
        """Where the continuation, made token by token, leaves the device's own logits of the text at once.

        As long as the continuation repeats the vector's ids, both saw the same tokens and must choose the same next
        one, unless they are within three near-ties of each other. "" where they do.
        """
        following = self.vector.ids[self.vector.first + 1 :]
        said = self.result.continuation
        for step, (top, best, row) in enumerate(self._positions()):
            if step >= len(said):
                break
            if said[step] != best:
                pair = [top.ids.index(token) for token in (best, said[step]) if token in top.ids]
                if len(pair) == 2 and abs(row[pair[0]] - row[pair[1]]) < _CACHE_TIES * near_tie:
                    return ""
                return f"continues with token {said[step]} at step {step + 1}, where its logits of the text say {best}"
            if step >= len(following) or said[step] != following[step]:
                return ""
        if len(said) < len(self.vector.continuation):
            return f"ends its continuation after {len(said)} of {len(self.vector.continuation)} tokens"
        return ""

    def _positions(self) -> Iterator[tuple[TopLogprobs, int, Floats]]:
        return zip(self.vector.top, self.result.top1, self.artifact, strict=True)


def _with_rest(logprobs: Floats) -> Floats:
    stated = np.clip(logprobs, LOWEST, 0.0)  # NaN stays
    rest = np.maximum(1 - np.exp(stated).sum(-1, keepdims=True), REST)
    result: Floats = np.concatenate([stated, np.log(rest)], axis=-1)
    return result
