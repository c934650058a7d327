"""Our own layout of packed indices: planes of 1 and 2 bits, read by `kogata::Unpack1` and `kogata::Unpack2`.

The flat indices are cut into `8 / bits` equal runs (the last padded with zeros), and byte i holds element i of every
run, run 0 in the lowest bits. Unpacking is then one shift per run over whole vectors; with neighbours in one byte it
would be a strided write.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def pack_plane(blocks: Iterable[tuple[int, NDArray[np.uint8]]], size: int, bits: int) -> NDArray[np.uint8]:
    """Indices below `2**bits` as `ceil(size * bits / 8)` bytes in plane layout; bits 1 or 2.

    blocks: all `size` indices, in runs uint8 `[n]`, each with the number of indices before it.
    """
    length = -(-size * bits // 8)
    packed = np.zeros(length, np.uint8)
    for first, indices in blocks:
        at = 0
        while at < indices.size:  # a block may reach over several runs
            run, start = divmod(first + at, length)
            part = indices[at : at + length - start]
            packed[start : start + part.size] |= part << np.uint8(run * bits)
            at += part.size
    return packed
