"""The prompts of one parity run as token ids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint.tokens.encoded import EncodedText
from exporter.errors import InputError
from exporter.parity.options import ParityOptions, Subjects
from exporter.parity.prompts import builtin_prompts, require_pairs
from exporter.texts import MASKED_EVERY, Prompt, choose, mask_id

GREEDY_TOKENS = 16  # continuation of each prompt: enough for a wrong cache or position to lead elsewhere


@dataclass(frozen=True)
class Texts:
    """prompts[i] as ids[i], int64 `[n]`. source: "built-in" or the file's name; given: how many it held; cut: how many
    were longer than the context. greedy_from[i]: first position whose argmax is the reference's own continuation.
    types[i]: token types of an encoder's text. rows[i]: positions whose outputs count; None: all.
    """

    source: str
    given: int
    prompts: tuple[Prompt, ...]
    ids: tuple[NDArray[np.int64], ...]
    cut: int = 0
    greedy_from: tuple[int, ...] = ()
    types: tuple[NDArray[np.int64], ...] = ()
    rows: tuple[NDArray[np.intp] | None, ...] = ()

    def continued(self, tails: list[NDArray[np.int64]]) -> Texts:
        """Each prompt with the reference's continuation behind it; its last token predicts nothing."""
        return replace(
            self,
            ids=tuple(np.concatenate([ids, tail[:-1]]) for ids, tail in zip(self.ids, tails, strict=True)),
            greedy_from=tuple(len(ids) - 1 for ids in self.ids),
        )

    def counted(self, index: int, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The rows of `outputs` `[positions, …]` that count."""
        rows = self.rows[index] if self.rows else None
        return outputs if rows is None else outputs[rows]


def encode_texts(subjects: Subjects, options: ParityOptions) -> Texts:
    """Reads, thins out, tokenizes and cuts the prompts. Raises InputError for a bad file or prompts without tokens."""
    prompts = options.prompts.prompts if options.prompts else builtin_prompts(subjects.task)
    source = options.prompts.path.name if options.prompts else "built-in"
    require_pairs(subjects.task, prompts, source)
    count = min(len(prompts), options.max_prompts)
    if options.depth == "quick":
        count = -(-count // 4)
    chosen = choose(prompts, count)
    if subjects.task != "text-generation":
        return _encoder_texts(subjects, Texts(source, len(prompts), chosen, ()))
    room = max(subjects.context - GREEDY_TOKENS, subjects.context // 2, 1)
    ids = tuple(prompt.tokens(subjects.tokenizer, chat=True) for prompt in chosen)
    _require_tokens(chosen, ids, source)
    cut = sum(len(i) > room for i in ids)
    return Texts(source, len(prompts), chosen, tuple(i[:room] for i in ids), cut)


def _encoder_texts(subjects: Subjects, texts: Texts) -> Texts:
    tokenizer, room = subjects.tokenizer, max(subjects.context, 1)
    encoded = [tokenizer.encode_text(p.text, p.second, max_length=room) for p in texts.prompts]
    _require_tokens(texts.prompts, tuple(text.ids for text in encoded), texts.source)
    rows = tuple(_rows(subjects, text) for text in encoded)
    ids = tuple(text.ids for text in encoded)
    mask = mask_id(tokenizer) if subjects.task == "fill-mask" else None
    if mask is not None:
        ids = tuple(_masked(own, places, mask) for own, places in zip(ids, rows, strict=True))
    return replace(
        texts,
        ids=ids,
        types=tuple(text.types for text in encoded),
        rows=rows,
        cut=sum(len(own) == room for own in ids),
    )


def _rows(subjects: Subjects, text: EncodedText) -> NDArray[np.intp] | None:
    """Tokens of the text itself for tags, some of them for fill-mask: what the model says of others isn't trained."""
    own = np.flatnonzero(~text.special)
    if not own.size:
        return None
    if subjects.task == "fill-mask":
        return own[MASKED_EVERY // 2 :: MASKED_EVERY] if own.size > MASKED_EVERY // 2 else own[-1:]
    return own if subjects.task == "token-classification" else None


def _masked(ids: NDArray[np.int64], places: NDArray[np.intp] | None, mask: int) -> NDArray[np.int64]:
    hidden = ids.copy()
    if places is not None:
        hidden[places] = mask
    return hidden


def _require_tokens(prompts: tuple[Prompt, ...], ids: tuple[NDArray[np.int64], ...], source: str) -> None:
    empty = next((prompt for prompt, own in zip(prompts, ids, strict=True) if not len(own)), None)
    if empty is not None:
        raise InputError.of("prompts.no-tokens", f"no tokens in {empty.shown!r}", where=source)
