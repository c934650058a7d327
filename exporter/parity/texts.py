"""The prompts of one parity run as token ids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError
from exporter.parity.options import ParityOptions, Subjects
from exporter.parity.prompts import Prompt, builtin_prompts, choose, read_prompts

GREEDY_TOKENS = 16  # continuation of each prompt: enough for a wrong cache or position to lead elsewhere


@dataclass(frozen=True)
class Texts:
    """prompts[i] as ids[i], int64 `[n]`. source: "built-in" or the file's name; given: how many it held; cut: how many
    were longer than the context. greedy_from[i]: first position whose argmax is the reference's own continuation.
    """

    source: str
    given: int
    prompts: tuple[Prompt, ...]
    ids: tuple[NDArray[np.int64], ...]
    cut: int = 0
    greedy_from: tuple[int, ...] = ()

    def continued(self, tails: list[NDArray[np.int64]]) -> Texts:
        """Each prompt with the reference's continuation behind it; its last token predicts nothing."""
        return replace(
            self,
            ids=tuple(np.concatenate([ids, tail[:-1]]) for ids, tail in zip(self.ids, tails, strict=True)),
            greedy_from=tuple(len(ids) - 1 for ids in self.ids),
        )


def encode_texts(subjects: Subjects, options: ParityOptions) -> Texts:
    """Reads, thins out, tokenizes and cuts the prompts. Raises InputError for a bad file or prompts without tokens."""
    prompts = read_prompts(options.prompts) if options.prompts else builtin_prompts(subjects.task)
    source = options.prompts.name if options.prompts else "built-in"
    count = min(len(prompts), options.max_prompts)
    if options.depth == "quick":
        count = -(-count // 4)
    chosen = choose(prompts, count)
    decoder = subjects.task == "text-generation"
    room = max(subjects.context - (GREEDY_TOKENS if decoder else 0), subjects.context // 2, 1)
    ids = [
        prompt.tokens(subjects.tokenizer, chat=True)
        if decoder
        else np.asarray(subjects.tokenizer.encode(prompt.text, max_length=room), np.int64)
        for prompt in chosen
    ]
    if not all(len(i) for i in ids):
        empty = next(prompt for prompt, i in zip(chosen, ids, strict=True) if not len(i))
        raise InputError.of("prompts.no-tokens", f"no tokens in {empty.shown!r}", where=source)
    cut = sum(len(i) > room or (not decoder and len(i) == room) for i in ids)
    return Texts(source, len(prompts), chosen, tuple(i[:room] for i in ids), cut)
