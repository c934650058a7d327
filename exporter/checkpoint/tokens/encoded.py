"""The tokens of a text, or of a pair of texts, as an encoder takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class EncodedText:
    """n tokens, special ones included.

    ids, types: int64 `[n]`; types: 0 for the first text, 1 for the second, where the tokenizer distinguishes them.
    special: bool `[n]`, True for tokens that the tokenizer added around the texts.
    offsets: each token's start and end in its text, in characters. owners: the token's text, 0 or 1; None for
        special tokens.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    special: NDArray[np.bool_]
    offsets: tuple[tuple[int, int], ...]
    owners: tuple[int | None, ...]
