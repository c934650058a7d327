"""Calibration texts as token sequences: a built-in multilingual corpus, or a user's file.

The built-in texts lie in `texts/`, 140 kB of our own writing in 28 languages: paragraphs of prose, code and data
(`prose.jsonl`), conversations (`chats.jsonl`), sentences (`short.jsonl`), questions with passages (`pairs.jsonl`). No
text that parity is measured on is among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint.tokens.tokenizer import Tokenizer
from exporter.errors import InputError
from exporter.graph.model import DecoderSpec, EncoderSpec, GraphSpec
from exporter.texts import MASKED_EVERY, PAIRED, Prompt, choose, mask_id, read_prompts

Ids = NDArray[np.int64]
T = TypeVar("T")

LENGTH = 256  # tokens of a sequence at most: enough for what attention does, and a batch of them fits anywhere
ANSWER = 64  # tokens of a model's answer to a conversation, at most
TOKENS = 12288  # of a decoder's texts, about; as many again are its own. An encoder writes none and takes twice as many
TEXTS = Path(__file__).parent / "texts"


@dataclass(frozen=True)
class Sequences:
    """ids: int64 `[n]` each. types: token types of an encoder's texts. open: which of a decoder's end where the model
    is to answer."""

    ids: tuple[Ids, ...]
    types: tuple[Ids, ...] | None = None
    open: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Reader:
    """Turns texts into sequences for one model. file: the user's; None for the built-in texts."""

    spec: DecoderSpec | EncoderSpec | GraphSpec
    tokenizer: Tokenizer
    file: Path | None = None

    @property
    def source(self) -> str:
        """For reports."""
        return self.file.name if self.file is not None else "the built-in texts"

    @property
    def length(self) -> int:
        """Tokens of a sequence, at most."""
        return max(2, min(LENGTH, self.spec.context or LENGTH))

    def read(self) -> Sequences:
        """As many tokens as there should be, evenly spread over the texts. Raises InputError for a bad file."""
        if self.spec.task == "text-generation":
            return self._decoder_sequences()
        prompts = read_prompts(self.file) if self.file is not None else self._encoder_texts()
        encoded = [self.tokenizer.encode_text(p.text, p.second, max_length=self.length) for p in prompts]
        taken = [text for text in _limited(encoded, [len(t.ids) for t in encoded], 2 * TOKENS) if len(text.ids)]
        if not taken:
            raise InputError.of("calibration.texts", "the texts have no tokens", where=self.source)
        ids = [text.ids for text in taken]
        mask = mask_id(self.tokenizer) if self.spec.task == "fill-mask" else None
        if mask is not None:
            ids = [_masked(own, np.flatnonzero(~text.special), mask) for own, text in zip(ids, taken, strict=True)]
        return Sequences(tuple(ids), tuple(text.types for text in taken))

    def _encoder_texts(self) -> tuple[Prompt, ...]:
        pairs, short = read_prompts(TEXTS / "pairs.jsonl"), read_prompts(TEXTS / "short.jsonl")
        if self.spec.task in PAIRED:
            return pairs
        if self.spec.task == "text-classification" and isinstance(self.spec, EncoderSpec) and self.spec.pairs:
            return pairs
        return (*short, *read_prompts(TEXTS / "prose.jsonl"))

    def _decoder_sequences(self) -> Sequences:
        """Texts as they are; for a model with a chat template conversations too, up to where it is to answer."""
        chats = self.tokenizer.chat_template is not None
        if self.file is not None:
            prompts = read_prompts(self.file)
            return self._joined(() if chats else prompts, prompts if chats else ())
        prose, short = read_prompts(TEXTS / "prose.jsonl"), read_prompts(TEXTS / "short.jsonl")
        talks = read_prompts(TEXTS / "chats.jsonl")
        return self._joined(prose, (*talks, *short) if chats else ()) if chats else self._joined((*prose, *talks), ())

    def _joined(self, plain: Sequence[Prompt], chats: Sequence[Prompt]) -> Sequences:
        texts: list[Ids] = []
        for prompt in plain:
            ids = prompt.tokens(self.tokenizer, chat=False)
            texts += [ids[i : i + self.length] for i in range(0, len(ids), self.length)]
        talks = [_asked(prompt).tokens(self.tokenizer, chat=True) for prompt in chats]
        texts = _limited(texts, [len(ids) for ids in texts], TOKENS // 2 if talks else TOKENS)
        talks = _limited(talks, [min(len(ids), self.length) for ids in talks], TOKENS // 2)
        whole = min(self.length, (self.spec.context or LENGTH + ANSWER) - ANSWER)
        every = [(ids, False) for ids in texts] + [(ids[: self.length], len(ids) <= whole) for ids in talks]
        every = [(ids, answered) for ids, answered in every if len(ids) > 1]
        if not every:
            raise InputError.of("calibration.texts", "the texts have no tokens", where=self.source)
        return Sequences(tuple(ids for ids, _ in every), open=tuple(answered for _, answered in every))


def _asked(prompt: Prompt) -> Prompt:
    """The conversation up to the last thing that the user says: the model's own answers tell more than ours."""
    messages = list(prompt.messages)
    while len(messages) > 1 and messages[-1]["role"] == "assistant":
        messages.pop()
    return Prompt(prompt.text, tuple(messages), prompt.second)


def _masked(ids: Ids, own: NDArray[np.intp], mask: int) -> Ids:
    hidden = ids.copy()
    hidden[own[MASKED_EVERY // 2 :: MASKED_EVERY]] = mask
    return hidden


def _limited(items: Sequence[T], lengths: Sequence[int], tokens: int) -> list[T]:
    """Evenly spread, so that they have about so many tokens."""
    total = sum(lengths)
    return list(choose(items, max(1, len(items) * tokens // total))) if total > tokens else list(items)
