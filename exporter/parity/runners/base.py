"""What every runner looks like from outside, whichever runtime is behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Embeddings:
    """An encoder's answer to one text of n tokens: `tokens` float32 `[n, hidden]`, `sentence` float32 `[hidden]`."""

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

    def encode(self, ids: NDArray[np.int64]) -> Embeddings:
        """`[n]` token ids, special tokens included."""


@runtime_checkable
class BatchEncoderRunner(EncoderRunner, Protocol):
    """An encoder that may also take padded batches, so that its attention mask can be put to the test."""

    takes_batches: bool

    def encode_batch(self, texts: Sequence[NDArray[np.int64]]) -> list[Embeddings]:
        """All texts in one batch, padded at the end to the longest; results without the padding."""


@runtime_checkable
class BatchDecoderRunner(DecoderRunner, Protocol):
    """A decoder that may also take padded batches, so that its attention mask can be put to the test."""

    takes_batches: bool

    def feed_batch(self, texts: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """All texts in one batch, padded at the start to the longest; logits without the padding."""


Runner = DecoderRunner | EncoderRunner
