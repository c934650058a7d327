"""The layout of packed indices in ONNX files: planes of 1 and 2 bits, read by `kogata::Unpack1` and `kogata::Unpack2`.

The flat indices are split into `8 / bits` equal runs (the last one is padded with zeros). Byte i holds element i of
every run, with run 0 in the lowest bits. Unpacking is then one shift of a whole vector for each run; with neighbours in
one byte, it would need strided writes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def pack_plane(blocks: Iterable[tuple[int, NDArray[np.uint8]]], size: int, bits: int) -> NDArray[np.uint8]:
    """Packs `size` indices below `2**bits` into a plane, uint8 `[ceil(size * bits / 8)]`. bits: 1 or 2.

    blocks: (number of indices before the block, indices uint8 `[n]`) for all blocks in order.
    """
    length = -(-size * bits // 8)
    packed = np.zeros(length, np.uint8)
    for first, indices in blocks:
        at = 0
        while at < indices.size:  # a block may extend over several runs
            run, start = divmod(first + at, length)
            part = indices[at : at + length - start]
            packed[start : start + part.size] |= part << np.uint8(run * bits)
            at += part.size
    return packed
