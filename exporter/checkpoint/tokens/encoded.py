"""A text, or a pair of texts, as an encoder takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class EncodedText:
    """n tokens, special ones included.

    ids, types: int64 `[n]`; types tell the first text (0) from the second (1) where the tokenizer says so.
    special: bool `[n]`, True for tokens that stand in no text.
    offsets: each token's place in its text, in characters. owners: 0 or 1, the text that the token is from; None for
        special ones.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    special: NDArray[np.bool_]
    offsets: tuple[tuple[int, int], ...]
    owners: tuple[int | None, ...]
