"""The texts of a session, given ones and what the model says by itself, in batches where they count as they should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from exporter.calibration.corpus import ANSWER, TOKENS, Ids, Reader, Sequences
from exporter.calibration.feeds import Batch, text_batches
from exporter.calibration.sampling import TOGETHER, Writer
from exporter.checkpoint.tokens.tokenizer import Tokenizer
from exporter.graph.model import Hub
from exporter.progress import Progress
from exporter.runners.torch_graph.graph import TorchGraph

HEAVIEST = 8.0  # times as much as others that an answer of the model's own counts


@dataclass(frozen=True)
class Material:
    """ids: int64 `[n]` each. types: token types of an encoder's texts. own: where each text tells what the model goes
    on with by itself: at the positions before its answer's tokens, or all over a document of its own. None for a text
    that it had no part in."""

    ids: tuple[Ids, ...]
    types: tuple[Ids, ...] | None
    own: tuple[slice | None, ...]

    @property
    def tokens(self) -> int:
        """How many there are."""
        return sum(map(len, self.ids))

    @cached_property
    def counts(self) -> list[NDArray[np.float32]] | None:
        """How much the answer at each position counts: what the model goes on with as much as all the rest.

        Many a model has learned to answer questions, and never to ask them. Few answers don't stand for everything,
        though. None where all count alike.
        """
        counts = [np.ones(len(row), np.float32) for row in self.ids]
        said = [count[place] for count, place in zip(counts, self.own, strict=True) if place is not None]
        written = sum(map(len, said))
        rest = sum(map(len, counts)) - written
        if not written or not rest:
            return None
        for part in said:
            part[:] = min(rest / written, HEAVIEST)
        return counts

    def batches(self, hub: Hub, chosen: Sequence[int], tokens: int, pad_id: int) -> tuple[Batch, ...]:
        """Of the texts with these numbers, as `text_batches` makes them."""
        ids = [self.ids[i] for i in chosen]
        types = None if self.types is None else [self.types[i] for i in chosen]
        counts = None if self.counts is None else [self.counts[i] for i in chosen]
        return text_batches(hub, ids, tokens=tokens, types=types, counts=counts, pad_id=pad_id)


@dataclass(frozen=True)
class Author:
    """A decoder that writes. asked: conversations that it is to answer; without them it writes documents of `length`
    tokens from the token `start` on. Without that one it writes nothing."""

    writer: Writer
    asked: tuple[Ids, ...]
    start: int | None
    length: int

    @classmethod
    def of(cls, graph: TorchGraph, hub: Hub, tokenizer: Tokenizer, texts: Sequences, reader: Reader) -> Author | None:
        """None for a model that can't write."""
        writer = Writer(graph, hub, tokenizer.eos_ids)
        if reader.spec.task != "text-generation" or not writer.able:
            return None
        asked = tuple(ids for ids, answered in zip(texts.ids, texts.open, strict=True) if answered)
        start = tokenizer.bos_id if tokenizer.bos_id is not None else next(iter(tokenizer.eos_ids), None)
        return cls(writer, asked, start, reader.length)

    def apart_from(self, kept: Sequence[Ids]) -> Author | None:
        """One that isn't asked these; None where nothing else is left to ask."""
        known = {ids.tobytes() for ids in kept}
        asked = tuple(ids for ids in self.asked if ids.tobytes() not in known)
        return None if self.asked and not asked else replace(self, asked=asked)

    def written(self, tokens: int, progress: Progress, *, seed: int = 0) -> Material:
        """About so many tokens of documents; or all answers once, and again while there are fewer tokens of them. Other
        seeds make other texts."""
        if not self.asked:
            return self._documents(tokens, progress, seed)
        ids: list[Ids] = []
        own: list[slice | None] = []
        while not ids or sum(map(len, ids)) < tokens:
            progress.stage("let the model answer", -(-len(self.asked) // TOGETHER))
            answered = replace(self.writer, seed=seed).answers(self.asked, ANSWER, progress)
            ids += answered
            own += [slice(len(a) - 1, len(b) - 1) for a, b in zip(self.asked, answered, strict=True)]
            seed += 1
        return Material(tuple(ids), None, tuple(own))

    def _documents(self, tokens: int, progress: Progress, seed: int) -> Material:
        if self.start is None:
            return Material((), None, ())
        count = max(1, tokens // self.length)
        progress.stage("let the model write", -(-count // TOGETHER))
        ids = replace(self.writer, seed=seed).documents(self.start, count, self.length, progress)
        return Material(tuple(ids), None, (slice(None),) * len(ids))


def gathered(texts: Sequences, author: Author | None, progress: Progress) -> Material:
    """The texts, and what the author makes of them: conversations answered where they stand, or as much text again."""
    unknown: tuple[slice | None, ...] = (None,) * len(texts.ids)
    if author is None:
        return Material(texts.ids, texts.types, unknown)
    made = author.written(0 if author.asked else TOKENS, progress)
    if not author.asked:
        return Material((*texts.ids, *made.ids), None, (*unknown, *made.own))
    answers = iter(zip(made.ids, made.own, strict=True))
    pairs = [next(answers) if answered else (ids, None) for ids, answered in zip(texts.ids, texts.open, strict=True)]
    return Material(tuple(ids for ids, _ in pairs), None, tuple(own for _, own in pairs))
