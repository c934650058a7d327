"""Packed palette indices: without gaps, the first index in the lowest bits of the first byte.

This is the order of Core ML's weight files for 1, 2, 3, 4 and 6 bits, and of ONNX's UINT4. Eight indices of b bits fill
b bytes, so a run that begins at a multiple of eight indices begins on a byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RUN = 8  # indices of any width that fill whole bytes

_UINT64 = np.dtype("<u8")


def packed_size(count: int, bits: int) -> int:
    """Bytes of `count` indices of `bits` bits; the last byte may be padded with zeros."""
    return -(-count * bits // 8)


def pack(indices: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Packs indices below `2**bits`, of any shape, to uint8 `[packed_size]`; bits: 1, 2, 3, 4, 6 or 8."""
    flat = np.ascontiguousarray(indices).reshape(-1)
    if bits == 8:
        return flat
    words = _padded(flat, RUN).view(_UINT64)
    for width in (8, 16, 32):  # each step joins neighbouring fields of `width` bits; `held` of them are used
        held = bits * width // 8
        lower = words & _mask(held, 2 * width)
        words = words >> np.uint64(width - held)
        words &= _mask(held, 2 * width) << np.uint64(held)
        words |= lower
    bytes_ = words.view(np.uint8).reshape(-1, RUN)[:, :bits]
    return np.ascontiguousarray(bytes_).reshape(-1)[: packed_size(flat.size, bits)]


def unpack(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Unpacks the first `count` indices of `packed`, the output of `pack`: uint8 `[count]`."""
    if bits == 8:
        return packed[:count]
    runs = -(-count // RUN)
    bytes_ = np.zeros((runs, RUN), np.uint8)
    bytes_[:, :bits] = _padded(packed[: packed_size(count, bits)], bits).reshape(runs, bits)
    words = bytes_.reshape(-1).view(_UINT64)
    for width in (32, 16, 8):
        held = bits * width // 8
        upper = words & (_mask(held, 2 * width) << np.uint64(held))
        upper <<= np.uint64(width - held)
        words &= _mask(held, 2 * width)
        words |= upper
    return words.view(np.uint8)[:count]


def _mask(bits: int, width: int) -> np.uint64:
    """The lowest `bits` of every field of `width` bits."""
    field = 2**bits - 1
    return np.uint64(sum(field << at for at in range(0, 64, width)))


def _padded(flat: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    surplus = -flat.size % multiple
    return np.pad(flat, (0, surplus)) if surplus else flat
