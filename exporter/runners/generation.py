"""Generates the answer to a prompt token by token, with a KV cache that serves the next prompt, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint.tokens.stream import StopTexts, TextStream
from exporter.runners.sampling import Sampler, Sampling

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer
    from exporter.runners.base import DecoderRunner, DecoderSession

StopReason = Literal["end token", "stop text", "length", "context full"]


@dataclass(frozen=True)
class GenerationSettings:
    """max_tokens: of an answer. context: the longest sequence of the model, in tokens. end_ids and stop_texts end an
    answer; they aren't part of it.
    """

    max_tokens: int
    context: int
    end_ids: frozenset[int]
    stop_texts: tuple[str, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Generated:
    """An answer. ids: without the token that ended it. reused: tokens of the prompt that were in the cache already."""

    ids: tuple[int, ...]
    text: str
    reason: StopReason
    reused: int


class CachedDecoder:
    """A decoder that keeps its last session: a prompt that begins with all that was run only runs the rest.

    The next turn of a conversation is such a prompt.
    """

    def __init__(self, runner: DecoderRunner) -> None:
        self.runner = runner
        self._session: DecoderSession | None = None
        self._fed: list[int] = []

    def start(self, prompt: Sequence[int]) -> tuple[NDArray[np.float32], int]:
        """The logits `[vocab]` after the prompt, and how many of its tokens were in the cache."""
        reused = len(self._fed)
        if self._session is None or reused >= len(prompt) or self._fed != list(prompt[:reused]):
            self._session, self._fed, reused = self.runner.session(), [], 0
        return self.step(prompt[reused:]), reused

    def step(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The logits `[vocab]` after more tokens of the same text."""
        if self._session is None:
            raise RuntimeError("a text begins with `start`")
        logits: NDArray[np.float32] = self._session.feed(np.asarray(ids, np.int64))[-1]
        self._fed += map(int, ids)
        return logits


def generate(
    decoder: CachedDecoder,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    settings: GenerationSettings,
    show: Callable[[str], None],
) -> Generated:
    """The answer to `prompt`. show: gets the answer's text piece by piece: never empty, never half a character.

    The last token is never run, so an answer may end one token beyond the context.
    """
    writer = _AnswerWriter(TextStream(tokenizer), StopTexts(settings.stop_texts), show)
    sampler = Sampler(settings.sampling)
    logits, reused = decoder.start(prompt)
    ids = [int(token) for token in prompt]
    room = settings.context - len(ids) + 1
    reason: StopReason | None = None
    while reason is None:
        token = sampler.choose(logits, ids)
        if token in settings.end_ids:
            reason = "end token"
            break
        ids.append(token)
        said = len(ids) - len(prompt)
        if writer.write(token):
            reason = "stop text"
        elif said >= min(settings.max_tokens, room):
            reason = "length" if said >= settings.max_tokens else "context full"
        else:
            logits = decoder.step([token])
    if writer.finish():
        reason = "stop text"
    answer = ids[len(prompt) :]
    text = writer.text if reason == "stop text" else tokenizer.decode(answer)
    return Generated(tuple(answer), text, reason, reused)


class _AnswerWriter:
    """Shows the text of tokens up to a stop text. text: all that was shown."""

    def __init__(self, stream: TextStream, stops: StopTexts, show: Callable[[str], None]) -> None:
        self._stream, self._stops, self._show = stream, stops, show
        self.text = ""
        self._stopped = False

    def write(self, token: int) -> bool:
        """Whether the token completed a stop text."""
        piece, self._stopped = self._stops.append(self._stream.append(token))
        self._put(piece)
        return self._stopped

    def finish(self) -> bool:
        """Shows the text that was held back, up to a stop text; whether one was found, now or before."""
        if not self._stopped:
            piece, self._stopped = self._stops.append(self._stream.finish())
            self._put(piece if self._stopped else piece + self._stops.finish())
        return self._stopped

    def _put(self, piece: str) -> None:
        if piece:
            self.text += piece
            self._show(piece)
