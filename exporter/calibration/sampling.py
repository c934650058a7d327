"""Text that a decoder writes by itself: what it was trained on, as far as anybody can tell without its data.

On such text an error matters where the model will be used. Answers to conversations end where the model ends them; a
model without a chat template begins at its first token and goes on.
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
from exporter.calibration.objective import draw
from exporter.graph.model import Hub
from exporter.progress import Progress
from exporter.runners.torch_graph.graph import TorchGraph

Ids = NDArray[np.int64]
TOGETHER = 64  # sequences that are written at once: a step reads all weights once for all of them
HELD = 1 << 27  # numbers of weights that are kept while it writes, 512 MB, and not read again for every token


@dataclass(frozen=True)
class Writer:
    """graph, hub: the same model, with a cache. ends: ids that end an answer."""

    graph: TorchGraph
    hub: Hub
    ends: tuple[int, ...] = ()
    seed: int = 0

    @property
    def able(self) -> bool:
        """Whether the graph hands out the cache that it takes, and takes any number of texts and tokens."""
        pasts = [name for name in self.graph.inputs if name.startswith("past_key_values.")]
        if not pasts or not {"logits", *map(_present, pasts)} <= {*self.graph.outputs}:
            return False
        first = text_batches(self.hub, [[0], [0]], tokens=2)[0]
        return first.real.shape == (2, 1) and not any(first.feeds[past].numel() for past in pasts)

    def answers(self, asked: Sequence[Ids], tokens: int, progress: Progress) -> list[Ids]:
        """Each sequence with up to `tokens` that the model adds, the end among them. Sorted as they came."""
        found: list[Ids] = list(asked)
        order = sorted(range(len(asked)), key=lambda i: -len(asked[i]))
        for first in range(0, len(order), TOGETHER):
            rows = order[first : first + TOGETHER]
            for row, ids in zip(rows, self._written([asked[i] for i in rows], tokens, first, self.ends), strict=True):
                found[row] = ids
            progress.advance()
        return found

    def documents(self, start: int, count: int, length: int, progress: Progress) -> list[Ids]:
        """So many sequences of that length, each from the token `start` on; ends are part of what is written."""
        found: list[Ids] = []
        for first in range(0, count, TOGETHER):
            begun = [np.array([start], np.int64)] * min(TOGETHER, count - first)
            found += self._written(begun, length - 1, first, ())
            progress.advance()
        return found

    @torch.no_grad()
    def _written(self, begun: Sequence[Ids], tokens: int, number: int, ends: Sequence[int]) -> list[Ids]:
        generator = torch.Generator().manual_seed(self.seed * 7919 + number)
        (batch,) = text_batches(self.hub, begun, tokens=len(begun) * max(map(len, begun)))
        lengths, held = batch.real.sum(1), _Held(self.graph)
        feeds = _padded_before(batch, lengths)
        kept = {name: _present(name) for name in feeds if name.startswith("past_key_values.")}
        rows: list[list[int]] = [begun[i].tolist() for i in batch.rows]
        going = torch.ones(len(rows), dtype=torch.bool)
        seen = batch.real.flip(1).long()
        for _ in range(tokens):
            made = self.graph.run(feeds, ["logits", *kept.values()], weights=held)
            drawn = draw(made["logits"][:, -1], generator)[:, None].cpu()
            for row, token in enumerate(drawn[:, 0].tolist()):
                if going[row]:
                    rows[row].append(token)
                    going[row] = token not in ends
            if not going.any():
                break
            seen = torch.cat([seen, torch.ones(len(rows), 1, dtype=torch.long)], 1)
            feeds = _next(feeds, drawn, lengths, seen) | {past: made[present] for past, present in kept.items()}
            lengths = lengths + 1
        back = sorted(range(len(rows)), key=lambda i: batch.rows[i])
        return [np.asarray(rows[i], np.int64) for i in back]


def _padded_before(batch: Batch, lengths: Tensor) -> dict[str, Tensor]:
    """Feeds with the padding before the texts: within a window no place is taken between a text and what follows it."""
    width = batch.real.shape[1]
    places = torch.arange(width)[None] - (width - lengths[:, None])
    feeds = dict(batch.feeds)
    for name in feeds.keys() & {"input_ids", "attention_mask"}:
        feeds[name] = feeds[name].gather(1, places % width)
    if "position_ids" in feeds:
        feeds["position_ids"] = places.clamp_min(0).to(feeds["position_ids"].dtype)
    return feeds


def _next(feeds: dict[str, Tensor], drawn: Tensor, lengths: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """Inputs of one more token: padding stays hidden by the mask, positions go on where each text ended."""
    made = {"input_ids": drawn, "attention_mask": seen, "position_ids": lengths[:, None]}
    return {name: made[name].to(feeds[name].dtype) for name in feeds if name in made}


class _Held:
    """Weights, read once, as far as there is room."""

    def __init__(self, graph: TorchGraph) -> None:
        self._graph = graph
        self._weights: dict[str, Tensor] = {}
        self._room = HELD

    def __call__(self, name: str) -> Tensor | None:
        if name not in self._weights:
            size = math.prod(self._graph.shape(name))
            if size > self._room:
                return None
            self._room -= size
            self._weights[name] = self._graph.weight(name)
        return self._weights[name]


def _present(past: str) -> str:
    return past.replace("past_key_values.", "present.")
