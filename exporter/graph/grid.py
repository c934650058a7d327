"""A matrix as integers with one scale per row and block of columns, which onnxruntime's `MatMulNBits` and
`GatherBlockQuantized` read as they are stored.

A value is `scale · (integer - 128)` with 8 bits, and `scale · (integer - 8)` with 4.
Op: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from exporter.graph.palette import BLOCK, Palette
from exporter.graph.spill import InMemory, Spill, Stored

GridBits = Literal[4, 8]
JOINED = "+"  # between the names of matrices whose rows lie one after the other in one product
BLOCKS = (128, 64, 32)  # columns with one scale; onnxruntime's fast kernels read 16, 32, 64, 128 and 256


def usual_block(columns: int, largest: int = BLOCKS[0]) -> int:
    """The largest block that divides the columns, up to `largest`; else the smallest, whose last block is padded."""
    return next((size for size in BLOCKS if size <= largest and columns % size == 0), BLOCKS[-1])


def grid_bytes(shape: Sequence[int], bits: int, block: int) -> int:
    """Bytes of the integers and float32 scales of a matrix `[out, in]`, without container overhead."""
    rows, columns = shape
    return rows * -(-columns // block) * (block * bits // 8 + 4)


@dataclass(frozen=True)
class Grid:
    """packed: the integers, row by row, each row padded to whole blocks with the integer that means zero; of two 4-bit
        integers in a byte, the first is in the lower half. In memory or in a file.
    shape: `(out, in)` of the dense weight. scales: float32 `[out, blocks]`. block: columns with one scale.
    """

    packed: Stored
    shape: tuple[int, int]
    scales: NDArray[np.float32]
    bits: GridBits
    block: int

    def __post_init__(self) -> None:
        wanted = (self.shape[0], self.blocks)
        if self.scales.shape != wanted or self.scales.dtype != np.float32:
            raise ValueError(f"scales are {self.scales.dtype} {self.scales.shape}, expected float32 {wanted}")
        if self.packed.size != self.shape[0] * self.row_bytes:
            raise ValueError(f"{self.packed.size} bytes of integers for {self.shape} at {self.bits} bits")

    @classmethod
    def of(cls, integers: NDArray[np.uint8], scales: NDArray[np.float32], bits: GridBits, block: int) -> Self:
        """The grid for integers uint8 `[out, in]`; packs them in memory."""
        rows, columns = integers.shape
        return cls(InMemory(_packed(integers, bits, block).reshape(-1)), (rows, columns), scales, bits, block)

    @property
    def blocks(self) -> int:
        """Scales of each row."""
        return -(-self.shape[1] // self.block)

    @property
    def row_bytes(self) -> int:
        """Bytes of the integers of one row."""
        return self.blocks * self.block * self.bits // 8

    @property
    def stored_bytes(self) -> int:
        """Bytes of integers and scales, without container overhead."""
        return self.packed.size + self.scales.nbytes

    def dense(self) -> NDArray[np.float32]:
        """The matrix that the runtime computes with, float32 `[out, in]`."""
        out = np.empty(self.shape, np.float32)
        for part, integers in self._parts():
            scales = np.repeat(self.scales[part], self.block, axis=1)[:, : self.shape[1]]
            out[part] = (integers.astype(np.float32) - np.float32(2 ** (self.bits - 1))) * scales
        return out

    def _parts(self) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
        """Some rows at a time: integers uint8 `[rows, in]`."""
        rows, columns = self.shape
        step = max(1, BLOCK // max(1, columns))
        for first in range(0, rows, step):
            last = min(first + step, rows)
            packed = self.packed.read(first * self.row_bytes, last * self.row_bytes).reshape(last - first, -1)
            yield slice(first, last), unpacked(packed, self.bits)[:, :columns]


def unpacked(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """The integers of uint8 `[rows, bytes]`, uint8 `[rows, bytes · 8 / bits]`."""
    if bits != 4:
        return packed
    return np.stack((packed & np.uint8(15), packed >> np.uint8(4)), axis=2).reshape(len(packed), -1)


def spilled_grid(grid: Grid, spill: Spill) -> Grid:
    """The grid with its integers in a file on disk."""
    return replace(grid, packed=spill.append(grid.packed.read(0, grid.packed.size)))


FEW = 4  # bits of palettes whose LUTs are rounded as a whole: 16 values a group, which compress well for download


def palette_grid(palette: Palette, block: int) -> Grid:
    """A palette's values as 8-bit integers.

    Up to 4 bits each LUT is rounded, and all rows of its group share one scale: the file compresses to about half. LUTs
    with more entries lie closer together than such steps: then every block has a scale of its own.
    """
    if palette.bits > FEW:
        return rounded_grid(palette.dense(), 8, block)
    peaks = np.abs(palette.lut.astype(np.float32)).max(axis=1)
    steps = np.where(peaks > 0, peaks / 127, 1).astype(np.float32)
    tables = (np.rint(palette.lut.astype(np.float32) / steps[:, None]) + 128).astype(np.uint8)
    rows, columns = palette.shape
    integers = np.empty((rows, columns), np.uint8)
    flat, group = integers.reshape(-1), palette.group_size * columns
    for first, indices in palette.blocks():
        begin, end = first, first + indices.size
        while begin < end:  # from one group's end to the next
            stop = min((begin // group + 1) * group, end)
            flat[begin:stop] = tables[begin // group][indices[begin - first : stop - first]]
            begin = stop
    by_row = np.repeat(steps, palette.group_size)[:rows]
    return Grid.of(integers, np.repeat(by_row[:, None], -(-columns // block), axis=1), 8, block)


def rounded_grid(dense: NDArray[np.float32], bits: GridBits, block: int) -> Grid:
    """A dense matrix `[out, in]` rounded to the nearest point of each block's grid, symmetric about zero."""
    rows, columns = dense.shape
    blocks = -(-columns // block)
    padded = np.zeros((rows, blocks * block), np.float32)
    padded[:, :columns] = dense
    cut = padded.reshape(rows, blocks, block)
    most = 2 ** (bits - 1)
    peaks = np.abs(cut).max(axis=2)
    scales = np.where(peaks > 0, peaks / (most - 1), 1).astype(np.float32)
    integers = np.clip(np.rint(cut / scales[:, :, None]) + most, 0, 2 * most - 1).astype(np.uint8)
    return Grid.of(integers.reshape(rows, -1)[:, :columns], scales, bits, block)


def _packed(integers: NDArray[np.uint8], bits: GridBits, block: int) -> NDArray[np.uint8]:
    """uint8 `[rows, blocks · block · bits / 8]`."""
    rows, columns = integers.shape
    blocks = -(-columns // block)
    if columns % block:
        padded = np.full((rows, blocks * block), 2 ** (bits - 1), np.uint8)
        padded[:, :columns] = integers
        integers = padded
    if bits == 4:
        return integers[:, 0::2] | integers[:, 1::2] << np.uint8(4)
    return np.ascontiguousarray(integers)
