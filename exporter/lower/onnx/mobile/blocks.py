"""Matrices as integers with one scale per row and block of columns, as `MatMulNBits` and `GatherBlockQuantized` read
them.

A value is `scale · (integer - 128)` with 8 bits, and `scale · (integer - 8)` with 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exporter.graph.palette import Palette

BLOCKS = (128, 64, 32)  # columns with one scale; onnxruntime's fast kernels read 16, 32, 64, 128 and 256
Bits = Literal[4, 8]


def block_size(columns: int) -> int:
    """The largest block that divides the columns, else the smallest; then the last block is padded."""
    return next((size for size in BLOCKS if columns % size == 0), BLOCKS[-1])


@dataclass(frozen=True)
class Grid:
    """integers: uint8 `[rows, columns]`, below `2**bits`. scales: float32 `[rows, blocks]`."""

    integers: NDArray[np.uint8]
    scales: NDArray[np.float32]

    def dense(self, bits: Bits, block: int) -> NDArray[np.float32]:
        """The matrix that the runtime computes with, float32 `[rows, columns]`."""
        scales = np.repeat(self.scales, block, axis=1)[:, : self.integers.shape[1]]
        return (self.integers.astype(np.float32) - np.float32(2 ** (bits - 1))) * scales


def palette_grid(palette: Palette, block: int) -> Grid:
    """A palette with each LUT rounded to 8 bits; all rows of a group share one scale."""
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
    return Grid(integers, np.repeat(by_row[:, None], -(-columns // block), axis=1))


def rounded_grid(dense: NDArray[np.float32], bits: Bits, block: int) -> Grid:
    """A dense matrix rounded to the nearest point of each block's grid, symmetric about zero."""
    rows, columns = dense.shape
    blocks = -(-columns // block)
    padded = np.zeros((rows, blocks * block), np.float32)
    padded[:, :columns] = dense
    cut = padded.reshape(rows, blocks, block)
    most = 2 ** (bits - 1)
    peaks = np.abs(cut).max(axis=2)
    scales = np.where(peaks > 0, peaks / (most - 1), 1).astype(np.float32)
    integers = np.clip(np.rint(cut / scales[:, :, None]) + most, 0, 2 * most - 1).astype(np.uint8)
    return Grid(integers.reshape(rows, -1)[:, :columns].copy(), scales)


def packed(integers: NDArray[np.uint8], bits: Bits, block: int) -> NDArray[np.uint8]:
    """As `MatMulNBits` reads them: uint8 `[rows, blocks, block · bits / 8]`, the first of two in the lower half."""
    rows, columns = integers.shape
    blocks = -(-columns // block)
    if columns % block:
        padded = np.full((rows, blocks * block), 2 ** (bits - 1), np.uint8)
        padded[:, :columns] = integers
        integers = padded
    if bits == 4:
        integers = integers[:, 0::2] | integers[:, 1::2] << np.uint8(4)
    return integers.reshape(rows, blocks, block * bits // 8)
