"""The interface of every runner, whichever runtime is behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError

MaskConvention = Literal["swift-transformers", "exact"]
SENTENCE = "sentence_embedding"


@dataclass(frozen=True)
class Embeddings:
    """An encoder's answer to one text of n tokens: `tokens` float32 `[n, hidden]`, `sentence` float32 `[hidden]`.

    With a task's head, `tokens` holds its logits, a row for each choice: `[1, labels]` for a classifier of texts,
    `[n, labels]` for one of tokens, `[n, vocab]` for fill-mask, `[2, n]` (start, end) for question answering.
    """

    tokens: NDArray[np.float32]
    sentence: NDArray[np.float32] | None


class DecoderSession(Protocol):
    """One running text with its KV cache."""

    def feed(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """`[q]` token ids → logits `[q, vocab]`; continues after everything fed before."""


@runtime_checkable
class DecoderRunner(Protocol):
    """A decoder in some runtime. `name` says which, as reports print it."""

    name: str

    def session(self) -> DecoderSession:
        """A session with an empty cache."""


@runtime_checkable
class EncoderRunner(Protocol):
    """An encoder in some runtime. `name` says which, as reports print it."""

    name: str

    def encode(self, ids: NDArray[np.int64], types: NDArray[np.int64] | None = None) -> Embeddings:
        """`[n]` token ids, special tokens included, and token types, which are 0 where they aren't given."""


@runtime_checkable
class BatchEncoderRunner(EncoderRunner, Protocol):
    """An encoder that may also take padded batches, which test its attention mask."""

    takes_batches: bool

    def encode_batch(
        self, texts: Sequence[NDArray[np.int64]], types: Sequence[NDArray[np.int64]] = ()
    ) -> list[Embeddings]:
        """All texts in one batch, padded at the end to the longest; results without the padding."""


@runtime_checkable
class BatchDecoderRunner(DecoderRunner, Protocol):
    """A decoder that may also take padded batches, which test its attention mask."""

    takes_batches: bool

    def feed_batch(self, texts: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """All texts in one batch, padded at the start to the longest; logits without the padding."""


Runner = DecoderRunner | EncoderRunner


def logits_of(results: Mapping[str, NDArray[Any]], count: int) -> NDArray[np.float32]:
    """Output `logits` `[1, count, vocab]` → float32 `[count, vocab]`. Raises InputError for anything else."""
    return _one(results, "logits", (count, None))


def embeddings_of(results: Mapping[str, NDArray[Any]], count: int, *, tokens: str = "token_embeddings") -> Embeddings:
    """The first text of an encoder's outputs, without the padding behind its `count` tokens.

    `tokens` names the output `[1, at least count, hidden]`. Raises InputError for other shapes.
    """
    made = _one(results, tokens, (None, None))[:count]
    if len(made) != count:
        raise InputError.of(
            "parity.outputs", f"{tokens} has {len(made)} positions for a text of {count} tokens", where=tokens
        )
    return Embeddings(made, _one(results, SENTENCE, (None,)) if SENTENCE in results else None)


def answer_of(results: Mapping[str, NDArray[Any]], count: int, *, tokens: str | None = None) -> Embeddings:
    """The first text of any encoder's outputs, without padding; see `Embeddings`. Raises as `embeddings_of` does.

    tokens: the output with the tokens' embeddings; None: `token_embeddings`, or `last_hidden_state` where only that is.
    """
    if tokens is None:
        tokens = "last_hidden_state" if "last_hidden_state" in results else "token_embeddings"
    if "start_logits" in results:
        ends = [_one(results, name, (None,))[:count] for name in ("start_logits", "end_logits")]
        return Embeddings(np.stack(ends), None)
    if "logits" not in results:
        return embeddings_of(results, count, tokens=tokens)
    if results["logits"].ndim == 2:
        return Embeddings(_one(results, "logits", (None,))[None], None)
    return embeddings_of(results, count, tokens="logits")


def _one(results: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    if name not in results:
        raise InputError.of("parity.outputs", f"the model has no output {name}", where=name)
    found = results[name].shape
    if len(found) != len(shape) + 1 or any(
        want not in (None, size) for want, size in zip(shape, found[1:], strict=True)
    ):
        expected = ", ".join("any" if want is None else str(want) for want in (1, *shape))
        raise InputError.of("parity.outputs", f"has shape {list(found)}, expected [{expected}]", where=name)
    return np.asarray(results[name][0], np.float32)
