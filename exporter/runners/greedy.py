"""Greedy decoding with the cache, the same for every runner."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from exporter.runners.base import DecoderRunner


def greedy(runner: DecoderRunner, ids: NDArray[np.int64], bound: int, eos_ids: Collection[int]) -> list[int]:
    """The continuation of `ids` `[n]`: at most `bound` tokens, the end token included where one comes.

    The last token is never fed, so a context of c tokens has room for c - n + 1.
    """
    session, step = runner.session(), ids
    said: list[int] = []
    while len(said) < bound:
        said.append(int(session.feed(step)[-1].argmax()))
        if said[-1] in eos_ids:
            break
        step = np.asarray(said[-1:], np.int64)
    return said
