"""A palettized weight: compression makes it, and both lowerings store it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.graph.bits import RUN, pack, packed_size, unpack
from exporter.graph.spill import InMemory, Spill, Stored

PALETTE_BITS = (1, 2, 3, 4, 6, 8)  # index widths of Core ML's constexpr_lut_to_dense (5 and 7 are missing)
Float = TypeVar("Float", np.float16, np.float32)

BLOCK = 1 << 22  # unpacked weights in memory at once, for a matrix of any size


@dataclass(frozen=True)
class Palette:
    """Indices into one lookup table (LUT) per group of output rows.

    packed: the indices, each < 2**bits, row by row, packed as in `graph.bits`; in memory or in a file.
    shape: `(out, in)` of the dense weight.
    lut: float16 `[groups, 2**bits]`, ascending within a group; `groups = ceil(out / group_size)`.
    bits: per index.
    group_size: rows that share a LUT; group g has rows `g*group_size … (g+1)*group_size-1`, the last group may have
        fewer. Writers that need whole groups pad the rows.
    """

    packed: Stored
    shape: tuple[int, int]
    lut: NDArray[np.float16]
    bits: int
    group_size: int

    def __post_init__(self) -> None:
        rows, _ = self.shape
        groups = -(-rows // self.group_size)
        if self.bits not in PALETTE_BITS:
            raise ValueError(f"a palette has {PALETTE_BITS} bits, not {self.bits}")
        wanted = (groups, 2**self.bits)
        if self.lut.shape != wanted or self.lut.dtype != np.float16:
            raise ValueError(f"LUT is {self.lut.dtype} {self.lut.shape}, expected float16 {wanted}")
        if self.packed.size != packed_size(self.size, self.bits):
            raise ValueError(f"{self.packed.size} bytes of indices for {self.shape} at {self.bits} bits")

    @classmethod
    def of(cls, indices: NDArray[np.uint8], lut: NDArray[np.float16], bits: int, group_size: int) -> Self:
        """The palette for unpacked indices, uint8 `[out, in]`; packs them in memory."""
        rows, columns = indices.shape
        if indices.dtype != np.uint8:
            raise ValueError(f"indices are uint8, not {indices.dtype}")
        return cls(InMemory(pack(indices, bits)), (rows, columns), lut, bits, group_size)

    @property
    def size(self) -> int:
        """Number of indices, one for every weight."""
        rows, columns = self.shape
        return rows * columns

    @property
    def stored_bytes(self) -> int:
        """Bytes of the packed indices and of the LUTs, without container overhead."""
        return self.packed.size + self.lut.nbytes

    @property
    def indices(self) -> NDArray[np.uint8]:
        """All indices, uint8 `[out, in]`, unpacked at each call. `blocks` needs less memory."""
        return unpack(self.packed.read(0, self.packed.size), self.bits, self.size).reshape(self.shape)

    def blocks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Runs of up to `BLOCK` unpacked indices in row order: (number of indices before the run, uint8 `[n]`)."""
        assert BLOCK % RUN == 0
        for first in range(0, self.size, BLOCK):
            count = min(BLOCK, self.size - first)
            start = first * self.bits // 8
            packed = self.packed.read(start, start + packed_size(count, self.bits))
            yield first, unpack(packed, self.bits, count)

    def dense(self) -> NDArray[np.float32]:
        """The weight that phones decode: float32 `[out, in]`."""
        return self._decoded(np.float32)

    def halves(self) -> NDArray[np.float16]:
        """The same numbers as float16: exact, since LUT entries are float16."""
        return self._decoded(np.float16)

    def _decoded(self, dtype: type[Float]) -> NDArray[Float]:
        out, luts = np.empty(self.size, dtype), self.lut.astype(dtype)
        group = self.group_size * self.shape[1]
        for first, indices in self.blocks():
            begin, end = first, first + indices.size
            while begin < end:  # from one group's end to the next
                stop = min((begin // group + 1) * group, end)
                out[begin:stop] = luts[begin // group][indices[begin - first : stop - first]]
                begin = stop
        return out.reshape(self.shape)


def spilled(palette: Palette, spill: Spill) -> Palette:
    """The palette with its indices in a file on disk."""
    return replace(palette, packed=spill.append(palette.packed.read(0, palette.packed.size)))
