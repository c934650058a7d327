"""Chooses the next token from logits: greedily, or by chance with a seed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError

SEEDS = 2**64  # a seed is smaller
_WORD = SEEDS - 1
_LARGEST = 1e300  # a score stays finite, however small the repetition penalty is


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. The names and meanings are those of transformers' `GenerationConfig`.

    temperature: divides the logits; 0 always takes the most likely token. top_k: only so many of the most likely
    tokens; 0: all. top_p: only the most likely tokens whose probabilities add up to this; 1: all. min_p: only tokens
    that are at least this times as likely as the most likely one; 0: all. repetition_penalty: makes tokens that stand
    in the prompt or the answer less likely; 1: no change. seed: below 2^64.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is left to chance."""
        return self.temperature == 0


class SplitMix64:
    """The generator of G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number generators", 2014.

    It is also the one of the Swift package, so that both choose the same tokens from the same logits.
    """

    def __init__(self, seed: int) -> None:
        self._state = seed & _WORD

    def uniform(self) -> float:
        """0 ≤ result < 1, in steps of 2^-53."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _WORD
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
        return ((z ^ (z >> 31)) >> 11) * 2.0**-53


class Sampler:
    """Chooses the tokens of one answer. The filters work in the order of transformers' `generate`: repetition penalty,
    temperature, top-k, top-p, min-p.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = SplitMix64(sampling.seed)

    def choose(self, logits: NDArray[np.float32], history: Collection[int] = ()) -> int:
        """The next token. logits: `[vocab]`; history: the ids of the prompt and of the answer so far.

        Raises InputError where the model gives no token a probability.
        """
        if self._sampling.is_greedy:
            return int(_penalized(logits, history, self._sampling.repetition_penalty).argmax())
        ids, probabilities = distribution(self._sampling, logits, history)
        sums = np.cumsum(probabilities)  # one random number per token, however many tokens there are to choose from
        place = int(np.searchsorted(sums, self._generator.uniform(), side="right"))
        return int(ids[min(place, len(ids) - 1)])  # the sums may round to slightly less than 1


def distribution(
    sampling: Sampling, logits: NDArray[np.float32], history: Collection[int] = ()
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The tokens that can be chosen, by rising id, and their probabilities, float64; the arguments of `Sampler.choose`.

    sampling: with a temperature above 0. Raises InputError where the model gives no token a probability.
    """
    scores = _penalized(logits, history, sampling.repetition_penalty)
    with np.errstate(over="ignore"):  # a tiny temperature leaves the most likely tokens alone
        scores = (scores - scores.max()) / sampling.temperature
    ids = np.flatnonzero(scores > -np.inf)
    if 0 < sampling.top_k < len(ids):
        limit = np.partition(scores[ids], -sampling.top_k)[-sampling.top_k]
        ids = ids[scores[ids] >= limit]  # equal scores stay together, as in transformers
    if sampling.top_p < 1:
        ids = _nucleus(ids, _softmax(scores[ids]), sampling.top_p)
    if sampling.min_p > 0:
        shares = _softmax(scores[ids])
        ids = ids[shares >= sampling.min_p * shares.max()]
    return ids, _softmax(scores[ids])


def _penalized(logits: NDArray[np.float32], history: Collection[int], penalty: float) -> NDArray[np.float64]:
    scores = np.asarray(logits, np.float64)
    broken = int(np.count_nonzero(np.isnan(scores) | (scores == np.inf)))
    if broken or not (scores > -np.inf).any():
        what = f"{broken} of its {scores.size} logits are not finite numbers" if broken else "all logits are -infinity"
        hint = "`kogata check BUNDLE` compares the file with the checkpoint"
        raise InputError.of("run.logits", f"the model gives no probabilities: {what}", hint=hint)
    if penalty == 1 or not history:
        return scores
    scores = scores.copy()
    seen = np.array(sorted({token for token in history if token < scores.size}), np.intp)
    with np.errstate(over="ignore"):
        changed = np.where(scores[seen] < 0, scores[seen] * penalty, scores[seen] / penalty)
    scores[seen] = np.minimum(changed, _LARGEST)
    return scores


def _nucleus(ids: NDArray[np.intp], shares: NDArray[np.float64], top_p: float) -> NDArray[np.intp]:
    """The fewest of the most likely tokens whose probabilities reach `top_p`; at least one token."""
    order = np.lexsort((-ids, shares))  # the least likely first; of equal ones the later id
    kept = order[np.cumsum(shares[order]) > 1 - top_p]
    return np.sort(ids[kept if len(kept) else order[-1:]])


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    grown = np.exp(scores - scores.max())
    shares: NDArray[np.float64] = grown / grown.sum()
    return shares
