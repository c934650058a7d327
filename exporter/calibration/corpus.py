"""Calibration texts as token sequences: a built-in multilingual corpus, or a user's file.

The folder `texts/` holds the built-in texts: 140 kB in 28 languages, written for this project. `prose.jsonl` has
paragraphs of prose, code and data, `chats.jsonl` conversations, `short.jsonl` sentences and `pairs.jsonl` questions
with passages. The parity check uses other texts.
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

MAX_SEQUENCE_TOKENS = 256  # long enough to exercise attention; a batch of such sequences fits into little memory
MAX_ANSWER_TOKENS = 64  # that a model writes to answer a conversation
# About so many tokens of given text for a decoder, which writes as many again. An encoder can't write and gets twice
# as much given text.
DECODER_TEXT_TOKENS = 12288
TEXTS_FOLDER = Path(__file__).parent / "texts"


@dataclass(frozen=True)
class Sequences:
    """Texts as token sequences.

    ids: int64 `[n]` each. types: token types of an encoder's texts, int64 `[n]` each, or None.
    awaits_answer: for a decoder, whether each sequence ends where the model is to answer; empty for an encoder.
    """

    ids: tuple[Ids, ...]
    types: tuple[Ids, ...] | None = None
    awaits_answer: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Reader:
    """Turns texts into token sequences for one model.

    file: the user's file of texts (see `read_prompts`); None for the built-in texts.
    """

    spec: DecoderSpec | EncoderSpec | GraphSpec
    tokenizer: Tokenizer
    file: Path | None = None

    @property
    def source(self) -> str:
        """The name of the texts in reports."""
        return self.file.name if self.file is not None else "the built-in texts"

    @property
    def length(self) -> int:
        """The largest number of tokens in a sequence."""
        return max(2, min(MAX_SEQUENCE_TOKENS, self.spec.context or MAX_SEQUENCE_TOKENS))

    def read(self) -> Sequences:
        """Token sequences, chosen evenly from all texts up to the wanted number of tokens.

        Raises InputError for a bad file or for texts without tokens.
        """
        if self.spec.task == "text-generation":
            return self._decoder_sequences()
        prompts = read_prompts(self.file) if self.file is not None else self._encoder_texts()
        encoded = [self.tokenizer.encode_text(p.text, p.second, max_length=self.length) for p in prompts]
        chosen = _limit_tokens(encoded, [len(t.ids) for t in encoded], 2 * DECODER_TEXT_TOKENS)
        taken = [text for text in chosen if len(text.ids)]
        if not taken:
            raise InputError.of("calibration.texts", "the texts have no tokens", where=self.source)
        ids = [text.ids for text in taken]
        mask = mask_id(self.tokenizer) if self.spec.task == "fill-mask" else None
        if mask is not None:
            ids = [_masked(own, np.flatnonzero(~text.special), mask) for own, text in zip(ids, taken, strict=True)]
        return Sequences(tuple(ids), tuple(text.types for text in taken))

    def _encoder_texts(self) -> tuple[Prompt, ...]:
        pairs, short = read_prompts(TEXTS_FOLDER / "pairs.jsonl"), read_prompts(TEXTS_FOLDER / "short.jsonl")
        if self.spec.task in PAIRED:
            return pairs
        if self.spec.task == "text-classification" and isinstance(self.spec, EncoderSpec) and self.spec.pairs:
            return pairs
        return (*short, *read_prompts(TEXTS_FOLDER / "prose.jsonl"))

    def _decoder_sequences(self) -> Sequences:
        """Plain texts and, for a model with a chat template, conversations up to the model's turn to answer."""
        chats = self.tokenizer.chat_template is not None
        if self.file is not None:
            prompts = read_prompts(self.file)
            return self._mixed(() if chats else prompts, prompts if chats else ())
        prose, short = read_prompts(TEXTS_FOLDER / "prose.jsonl"), read_prompts(TEXTS_FOLDER / "short.jsonl")
        talks = read_prompts(TEXTS_FOLDER / "chats.jsonl")
        return self._mixed(prose, (*talks, *short) if chats else ()) if chats else self._mixed((*prose, *talks), ())

    def _mixed(self, plain: Sequence[Prompt], chats: Sequence[Prompt]) -> Sequences:
        texts: list[Ids] = []
        for prompt in plain:
            ids = prompt.tokens(self.tokenizer, chat=False)
            texts += [ids[i : i + self.length] for i in range(0, len(ids), self.length)]
        talks = [_without_last_answer(prompt).tokens(self.tokenizer, chat=True) for prompt in chats]
        half = DECODER_TEXT_TOKENS // 2
        texts = _limit_tokens(texts, [len(ids) for ids in texts], half if talks else DECODER_TEXT_TOKENS)
        talks = _limit_tokens(talks, [min(len(ids), self.length) for ids in talks], half)
        longest = min(self.length, (self.spec.context or MAX_SEQUENCE_TOKENS + MAX_ANSWER_TOKENS) - MAX_ANSWER_TOKENS)
        every = [(ids, False) for ids in texts] + [(ids[: self.length], len(ids) <= longest) for ids in talks]
        every = [(ids, answered) for ids, answered in every if len(ids) > 1]
        if not every:
            raise InputError.of("calibration.texts", "the texts have no tokens", where=self.source)
        return Sequences(tuple(ids for ids, _ in every), awaits_answer=tuple(answered for _, answered in every))


def _without_last_answer(prompt: Prompt) -> Prompt:
    """The conversation up to the user's last message: the model's own answers show more than written ones."""
    messages = list(prompt.messages)
    while len(messages) > 1 and messages[-1]["role"] == "assistant":
        messages.pop()
    return Prompt(prompt.text, tuple(messages), prompt.second)


def _masked(ids: Ids, own: NDArray[np.intp], mask: int) -> Ids:
    hidden = ids.copy()
    hidden[own[MASKED_EVERY // 2 :: MASKED_EVERY]] = mask
    return hidden


def _limit_tokens(items: Sequence[T], lengths: Sequence[int], tokens: int) -> list[T]:
    """Items chosen evenly, with about `tokens` tokens in total."""
    total = sum(lengths)
    return list(choose(items, max(1, len(items) * tokens // total))) if total > tokens else list(items)
