"""Samples text from a decoder: the closest substitute for its training data, which is usually unknown.

A model with a chat template answers conversations and ends each answer itself. Any other model writes documents from
its start token on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exporter.calibration.feeds import Batch, text_batches
from exporter.calibration.objective import sample_indices
from exporter.graph.model import Hub
from exporter.progress import Progress
from exporter.runners.torch_graph.graph import TorchGraph

Ids = NDArray[np.int64]
BATCH_SEQUENCES = 64  # written at once: each step reads all weights once for all of them
MAX_CACHED_WEIGHTS = 1 << 27  # weight elements kept in memory between steps, 512 MB as float32


@dataclass(frozen=True)
class Sampler:
    """Samples tokens from a decoder.

    graph, hub: the same model, with a KV cache. end_ids: token ids that end an answer. seed: of the random numbers.
    """

    graph: TorchGraph
    hub: Hub
    end_ids: tuple[int, ...] = ()
    seed: int = 0

    @property
    def can_sample(self) -> bool:
        """Whether the graph has logits and a KV cache, and takes any batch size and any number of tokens."""
        pasts = [name for name in self.graph.inputs if name.startswith("past_key_values.")]
        if not pasts or not {"logits", *map(_present, pasts)} <= {*self.graph.outputs}:
            return False
        first = text_batches(self.hub, [[0], [0]], tokens=2)[0]
        return first.real.shape == (2, 1) and not any(first.feeds[past].numel() for past in pasts)

    def answers(self, prompts: Sequence[Ids], tokens: int, progress: Progress) -> list[Ids]:
        """Each prompt with up to `tokens` new tokens, the end token included; in the order of the prompts."""
        answered: list[Ids] = list(prompts)
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        for first in range(0, len(order), BATCH_SEQUENCES):
            rows = order[first : first + BATCH_SEQUENCES]
            texts = self._continue([prompts[i] for i in rows], tokens, first, self.end_ids)
            for row, ids in zip(rows, texts, strict=True):
                answered[row] = ids
            progress.advance()
        return answered

    def documents(self, start: int, count: int, length: int, progress: Progress) -> list[Ids]:
        """`count` sequences of `length` tokens that begin with the token `start` and go on after end tokens."""
        written: list[Ids] = []
        for first in range(0, count, BATCH_SEQUENCES):
            prompts = [np.array([start], np.int64)] * min(BATCH_SEQUENCES, count - first)
            written += self._continue(prompts, length - 1, first, ())
            progress.advance()
        return written

    @torch.no_grad()
    def _continue(self, prompts: Sequence[Ids], tokens: int, number: int, end_ids: Sequence[int]) -> list[Ids]:
        generator = torch.Generator().manual_seed(self.seed * 7919 + number)
        (batch,) = text_batches(self.hub, prompts, tokens=len(prompts) * max(map(len, prompts)))
        lengths, weights = batch.real.sum(1), _WeightCache(self.graph)
        feeds = _padded_before(batch, lengths)
        kept = {name: _present(name) for name in feeds if name.startswith("past_key_values.")}
        rows: list[list[int]] = [prompts[i].tolist() for i in batch.rows]
        unfinished = torch.ones(len(rows), dtype=torch.bool)
        seen = batch.real.flip(1).long()
        for _ in range(tokens):
            made = self.graph.run(feeds, ["logits", *kept.values()], weights=weights)
            sampled = sample_indices(made["logits"][:, -1], generator)[:, None].cpu()
            for row, token in enumerate(sampled[:, 0].tolist()):
                if unfinished[row]:
                    rows[row].append(token)
                    unfinished[row] = token not in end_ids
            if not unfinished.any():
                break
            seen = torch.cat([seen, torch.ones(len(rows), 1, dtype=torch.long)], 1)
            feeds = _next(feeds, sampled, lengths, seen) | {past: made[present] for past, present in kept.items()}
            lengths = lengths + 1
        back = sorted(range(len(rows)), key=lambda i: batch.rows[i])
        return [np.asarray(rows[i], np.int64) for i in back]


def _padded_before(batch: Batch, lengths: Tensor) -> dict[str, Tensor]:
    """Feeds with the padding in front of the texts, so that new tokens follow each text directly, as windows need."""
    width = batch.real.shape[1]
    places = torch.arange(width)[None] - (width - lengths[:, None])
    feeds = dict(batch.feeds)
    for name in feeds.keys() & {"input_ids", "attention_mask"}:
        feeds[name] = feeds[name].gather(1, places % width)
    if "position_ids" in feeds:
        feeds["position_ids"] = places.clamp_min(0).to(feeds["position_ids"].dtype)
    return feeds


def _next(feeds: dict[str, Tensor], sampled: Tensor, lengths: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """The inputs for one more token: the mask still hides padding, positions continue from the end of each text."""
    made = {"input_ids": sampled, "attention_mask": seen, "position_ids": lengths[:, None]}
    return {name: made[name].to(feeds[name].dtype) for name in feeds if name in made}


class _WeightCache:
    """Weights that are read once, up to `MAX_CACHED_WEIGHTS` elements."""

    def __init__(self, graph: TorchGraph) -> None:
        self._graph = graph
        self._weights: dict[str, Tensor] = {}
        self._free = MAX_CACHED_WEIGHTS

    def __call__(self, name: str) -> Tensor | None:
        if name not in self._weights:
            size = math.prod(self._graph.shape(name))
            if size > self._free:
                return None
            self._free -= size
            self._weights[name] = self._graph.weight(name)
        return self._weights[name]


def _present(past: str) -> str:
    return past.replace("past_key_values.", "present.")
