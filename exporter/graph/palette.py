"""A palettized weight: what compression yields and both lowerings store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PALETTE_BITS = (1, 2, 3, 4, 6, 8)  # what Core ML's constexpr_lut_to_dense can index with (no 5, no 7)


@dataclass(frozen=True)
class Palette:
    """Indices into one lookup table (LUT) per group of output rows.

    indices: uint8 `[out, in]`, unpacked, each < 2**bits.
    lut: float16 `[groups, 2**bits]`, ascending within a group; `groups = ceil(out / group_size)`.
    group_size: rows that share a LUT; group g holds rows `g*group_size … (g+1)*group_size-1`, the last group
        may hold fewer. Writers that need whole groups pad the rows.
    """

    indices: NDArray[np.uint8]
    lut: NDArray[np.float16]
    bits: int
    group_size: int

    def __post_init__(self) -> None:
        rows, _ = self.indices.shape
        groups = -(-rows // self.group_size)
        if self.bits not in PALETTE_BITS:
            raise ValueError(f"a palette has {PALETTE_BITS} bits, not {self.bits}")
        if self.lut.shape != (groups, 2**self.bits):
            raise ValueError(f"LUT is {self.lut.shape}, expected {(groups, 2**self.bits)}")
        if self.indices.dtype != np.uint8 or self.lut.dtype != np.float16:
            raise ValueError("a palette holds uint8 indices and a float16 LUT")

    @property
    def shape(self) -> tuple[int, int]:
        """`(out, in)` of the dense weight."""
        return self.indices.shape[0], self.indices.shape[1]

    @property
    def stored_bytes(self) -> int:
        """Bytes of the packed indices and of the LUTs, as the bits say (no container overhead)."""
        return -(-self.indices.size * self.bits // 8) + self.lut.nbytes

    def dense(self) -> NDArray[np.float32]:
        """The weight that both phones decode: float32 `[out, in]`."""
        out = np.empty(self.indices.shape, np.float32)
        lut = self.lut.astype(np.float32)
        for group, values in enumerate(lut):
            rows = slice(group * self.group_size, (group + 1) * self.group_size)
            out[rows] = values[self.indices[rows]]
        return out
