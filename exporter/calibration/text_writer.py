"""The texts of a calibration: given texts and texts that the model writes by itself, with their weights in the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from exporter.calibration.corpus import DECODER_TEXT_TOKENS, MAX_ANSWER_TOKENS, Ids, Reader, Sequences
from exporter.calibration.feeds import Batch, text_batches
from exporter.calibration.sampling import BATCH_SEQUENCES, Sampler
from exporter.checkpoint.tokens.tokenizer import Tokenizer
from exporter.graph.model import Hub
from exporter.progress import Progress
from exporter.runners.torch_graph.graph import TorchGraph

MAX_LOSS_WEIGHT = 8.0  # of a position in generated text; other positions have weight 1


@dataclass(frozen=True)
class TextCollection:
    """Token sequences, and which positions in them predict text that the model generated.

    ids: int64 `[n]` each. types: token types of an encoder's texts, or None.
    generated: for each text, the positions whose next token the model generated: those before each token of its answer,
        or a whole document; None for a text that was given as it is.
    """

    ids: tuple[Ids, ...]
    types: tuple[Ids, ...] | None
    generated: tuple[slice | None, ...]

    @property
    def tokens(self) -> int:
        """The number of tokens in all texts."""
        return sum(map(len, self.ids))

    @cached_property
    def loss_weights(self) -> list[NDArray[np.float32]] | None:
        """The weight of each position in the loss, float32 `[n]` for each text; None if all are equal.

        Generated positions weigh as much in total as all others: many models were trained to answer questions and never
        to ask them. `MAX_LOSS_WEIGHT` limits the weight where only few positions are generated.
        """
        loss_weights = [np.ones(len(row), np.float32) for row in self.ids]
        pairs = zip(loss_weights, self.generated, strict=True)
        parts = [weights[positions] for weights, positions in pairs if positions is not None]
        generated = sum(map(len, parts))
        given = sum(map(len, loss_weights)) - generated
        if not generated or not given:
            return None
        for part in parts:
            part[:] = min(given / generated, MAX_LOSS_WEIGHT)
        return loss_weights

    def batches(self, hub: Hub, chosen: Sequence[int], tokens: int, pad_id: int) -> tuple[Batch, ...]:
        """Batches of the texts with the numbers `chosen`, made by `text_batches`."""
        ids = [self.ids[i] for i in chosen]
        types = None if self.types is None else [self.types[i] for i in chosen]
        loss_weights = None if self.loss_weights is None else [self.loss_weights[i] for i in chosen]
        return text_batches(hub, ids, tokens=tokens, types=types, loss_weights=loss_weights, pad_id=pad_id)


@dataclass(frozen=True)
class TextWriter:
    """A decoder that writes texts for its own calibration.

    conversations: int64 `[n]` each, which it answers. If there are none, it writes documents of `document_tokens`
    tokens that begin with the token `start_token`; if that is None too, it writes nothing.
    """

    sampler: Sampler
    conversations: tuple[Ids, ...]
    start_token: int | None
    document_tokens: int

    @classmethod
    def create(
        cls, graph: TorchGraph, hub: Hub, tokenizer: Tokenizer, texts: Sequences, reader: Reader
    ) -> TextWriter | None:
        """The writer for a model, or None if the model can't generate text."""
        sampler = Sampler(graph, hub, tokenizer.eos_ids)
        if reader.spec.task != "text-generation" or not sampler.can_sample:
            return None
        open_texts = tuple(ids for ids, awaits in zip(texts.ids, texts.awaits_answer, strict=True) if awaits)
        start = tokenizer.bos_id if tokenizer.bos_id is not None else next(iter(tokenizer.eos_ids), None)
        return cls(sampler, open_texts, start, reader.length)

    def without(self, held_out: Sequence[Ids]) -> TextWriter | None:
        """A writer that doesn't answer the conversations `held_out`; None if no other conversation is left."""
        known = {ids.tobytes() for ids in held_out}
        others = tuple(ids for ids in self.conversations if ids.tobytes() not in known)
        return None if self.conversations and not others else replace(self, conversations=others)

    def write(self, tokens: int, progress: Progress, *, seed: int = 0) -> TextCollection:
        """Documents with about `tokens` tokens; or answers to all conversations, repeated up to `tokens` tokens.

        The same seed gives the same texts.
        """
        if not self.conversations:
            return self._documents(tokens, progress, seed)
        ids: list[Ids] = []
        generated: list[slice | None] = []
        while not ids or sum(map(len, ids)) < tokens:
            progress.stage("let the model answer", -(-len(self.conversations) // BATCH_SEQUENCES))
            answered = replace(self.sampler, seed=seed).answers(self.conversations, MAX_ANSWER_TOKENS, progress)
            ids += answered
            pairs = zip(self.conversations, answered, strict=True)
            generated += [slice(len(prompt) - 1, len(whole) - 1) for prompt, whole in pairs]
            seed += 1
        return TextCollection(tuple(ids), None, tuple(generated))

    def _documents(self, tokens: int, progress: Progress, seed: int) -> TextCollection:
        if self.start_token is None:
            return TextCollection((), None, ())
        count = max(1, tokens // self.document_tokens)
        progress.stage("let the model write", -(-count // BATCH_SEQUENCES))
        sampler = replace(self.sampler, seed=seed)
        ids = sampler.documents(self.start_token, count, self.document_tokens, progress)
        return TextCollection(tuple(ids), None, (slice(None),) * len(ids))


def collect_texts(texts: Sequences, writer: TextWriter | None, progress: Progress) -> TextCollection:
    """The given texts together with generated ones.

    The writer answers the conversations among the texts; if there are none, it adds as much text as was given.
    """
    unknown: tuple[slice | None, ...] = (None,) * len(texts.ids)
    if writer is None:
        return TextCollection(texts.ids, texts.types, unknown)
    made = writer.write(0 if writer.conversations else DECODER_TEXT_TOKENS, progress)
    if not writer.conversations:
        return TextCollection((*texts.ids, *made.ids), None, (*unknown, *made.generated))
    answers = iter(zip(made.ids, made.generated, strict=True))
    given = zip(texts.ids, texts.awaits_answer, strict=True)
    rows = [next(answers) if awaits else (ids, None) for ids, awaits in given]
    return TextCollection(tuple(ids for ids, _ in rows), None, tuple(generated for _, generated in rows))
