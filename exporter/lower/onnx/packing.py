"""Packs palette indices into bytes, in the two layouts that the stored model reads.

"Plane" is our own layout for 1 and 2 bits, read by `kogata::Unpack1` and `kogata::Unpack2`: the flat indices are cut
into `8 / bits` equal runs (the last padded with zeros), and byte i holds element i of every run, run 0 in the lowest
bits. Unpacking is then one shift per run over whole vectors; with neighbours in one byte it would be a strided write.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pack_plane(indices: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Indices below `2**bits`, any shape, as `ceil(size * bits / 8)` bytes in plane layout; bits 1 or 2."""
    runs = 8 // bits
    flat = indices.reshape(-1)
    length = -(-flat.size // runs)
    packed = np.zeros(length, np.uint8)
    for run in range(runs):
        part = flat[run * length : (run + 1) * length]
        packed[: part.size] |= part << np.uint8(run * bits)
    return packed


def pack_uint4(indices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Indices below 16, any shape, as ONNX stores UINT4: two neighbours a byte, the first in the low half."""
    flat = indices.reshape(-1)
    packed = flat[0::2].copy()
    packed[: flat.size // 2] |= flat[1::2] << np.uint8(4)
    return packed
