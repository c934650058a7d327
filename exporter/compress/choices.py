"""The ways to store a matrix, and their size. Stored bytes are computed only here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporter.errors import UsageError
from exporter.graph.bits import packed_size
from exporter.graph.grid import BLOCKS, GridBits, grid_bytes, usual_block
from exporter.graph.palette import PALETTE_BITS

UNCOMPRESSED = 16  # the number of bits that means: keep the tensor as it is
GRID_BITS = (4, 8)  # of the integers of a grid
LUT_BYTES = 2  # of a LUT entry, which is a float16
ALL_ROWS = 0  # in `Menu.groups`: all rows share one LUT, up to MAX_GROUP_WEIGHTS
MAX_GROUP_WEIGHTS = 1 << 22  # of the groups that a menu offers: clustering holds a whole group in memory

# Bits and columns of a block that an allocation tries for a grid. Smaller blocks of 8 bits gain nothing: the error of
# blocks of 128 columns is already a hundredth of that of 4 bits.
GRIDS: tuple[tuple[int, int], ...] = ((4, 128), (4, 64), (4, 32), (8, 128))

# Palette bits → rows that share a LUT, as multiples of the default group size (16 rows: 0.25 means 4 rows). A LUT of 8
# bits takes 512 bytes: in a matrix of 192 columns, groups of 16 rows then cost 1.3 bits per weight. A LUT of 2 bits
# takes 8 bytes, so that smaller groups cost almost nothing.
GROUPS: Mapping[int, tuple[float, ...]] = {
    1: (0.25, 1),
    2: (0.25, 1),
    3: (0.25, 1),
    4: (0.25, 1, 4),
    6: (1, 4, ALL_ROWS),
    8: (4, ALL_ROWS),
}


@dataclass(frozen=True, order=True)
class Choice:
    """How one matrix is stored.

    bits: of an index or an integer; 16 keeps the matrix. A palette has a group_size, the output rows that share a LUT;
    a grid has a block, the columns that share a scale; a kept matrix has neither. Raises UsageError.
    """

    bits: int
    group_size: int | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        if self.bits not in (*PALETTE_BITS, UNCOMPRESSED):
            allowed = ", ".join(map(str, PALETTE_BITS))
            raise UsageError.of(
                "compress.bits",
                f"a palette can't have {self.bits} bits",
                where="--bits",
                hint=f"Core ML stores palettes of {allowed} bits; {UNCOMPRESSED} means no compression",
            )
        if (self.group_size is not None) + (self.block is not None) != (not self.kept):
            raise ValueError(f"{self.bits} bits with groups of {self.group_size} rows, blocks of {self.block} columns")
        if self.block is not None and (self.bits not in GRID_BITS or self.block not in BLOCKS):
            raise ValueError(f"a grid of {self.bits} bits with blocks of {self.block} columns")
        if self.group_size is not None and self.group_size < 1:
            raise UsageError.of(
                "compress.group_size", f"a group must have at least 1 row, not {self.group_size}", where="--group-size"
            )

    @property
    def kept(self) -> bool:
        """Whether the matrix stays as it is."""
        return self.bits == UNCOMPRESSED

    @property
    def form(self) -> tuple[int, int]:
        """Bits and group size of a palette. Raises ValueError for any other matrix."""
        if self.group_size is None:
            raise ValueError("only palettes have groups")
        return self.bits, self.group_size

    @property
    def grid(self) -> tuple[GridBits, int]:
        """Bits and block of a grid. Raises ValueError for any other matrix."""
        if self.block is None:
            raise ValueError("only grids have blocks")
        return (4 if self.bits == 4 else 8), self.block

    @classmethod
    def of(cls, bits: int, group_size: int | None) -> Choice:
        """The choice; with 16 bits, `group_size` is ignored."""
        return KEEP if bits == UNCOMPRESSED else cls(bits, group_size)

    def fitted(self, shape: Sequence[int]) -> Choice:
        """The choice for a matrix `[out, in]`: a group gets no more rows than the matrix has, and a block divides its
        columns where any does."""
        if self.block is not None:
            return replace(self, block=usual_block(shape[1], self.block))
        if self.group_size is None:
            return self
        return replace(self, group_size=max(1, min(self.group_size, shape[0])))


KEEP = Choice(UNCOMPRESSED)


def lut_bytes(shape: Sequence[int], choice: Choice) -> int:
    """Bytes of all LUTs of a matrix `[out, in]`; the last group may have fewer rows."""
    bits, group_size = choice.form
    return -(-shape[0] // group_size) * (1 << bits) * LUT_BYTES


def stored_bytes(shape: Sequence[int], choice: Choice) -> int:
    """Bytes of a compressed matrix `[out, in]`, like `Palette.stored_bytes` and `Grid.stored_bytes`."""
    if choice.block is not None:
        return grid_bytes(shape, choice.bits, choice.block)
    return packed_size(math.prod(shape), choice.bits) + lut_bytes(shape, choice)


def pays(shape: Sequence[int], kept_bytes: int, choice: Choice) -> bool:
    """Whether a palette or grid is smaller than the matrix `[out, in]` as it is, and than its float16 values."""
    return not choice.kept and stored_bytes(shape, choice) < min(2 * math.prod(shape), kept_bytes)


def widened(shape: Sequence[int], kept_bytes: int, choice: Choice) -> Choice:
    """The choice with as many times twice its rows per LUT as it takes for a palette of the matrix `[out, in]` to pay.

    The given choice where no number of rows is enough. In groups of 16 rows, the LUTs of 8 bits take as many bytes as
    they save in a matrix of 32 columns or fewer: experts of a small mixture, kernels of a first convolution.
    """
    wider = choice.fitted(shape)
    while not wider.kept and not pays(shape, kept_bytes, wider):
        if wider.group_size is None or wider.group_size >= shape[0]:
            return choice
        wider = Choice(wider.bits, 2 * wider.group_size).fitted(shape)
    return wider


@dataclass(frozen=True)
class Menu:
    """The choices of an allocation of mixed bits.

    bits: those that every target supports; with or without 16 (keep). group_size: the one that the user asked for. If
    it is None, `groups` (see `GROUPS`), multiples of `usual`, are tried.
    """

    bits: tuple[int, ...] = (*PALETTE_BITS, UNCOMPRESSED)
    group_size: int | None = None
    usual: int = 16
    groups: Mapping[int, tuple[float, ...]] = field(default_factory=lambda: GROUPS)

    def choices(self, shape: Sequence[int], kept_bytes: int) -> tuple[Choice, ...]:
        """Every way to store a matrix `[out, in]` that is smaller than keeping it, by bytes; then keeping it.

        Without 16 among the bits, keeping is offered only where nothing is smaller.
        """
        candidates = set()
        for bits in self.bits:
            if bits != UNCOMPRESSED:
                candidates |= {Choice(bits, group).fitted(shape) for group in self._groups(self.groups[bits], shape)}
        smaller = sorted(
            (c for c in candidates if pays(shape, kept_bytes, c)), key=lambda c: (stored_bytes(shape, c), c)
        )
        return (*smaller, KEEP) if UNCOMPRESSED in self.bits or not smaller else tuple(smaller)

    def _groups(self, shares: Sequence[float], shape: Sequence[int]) -> list[int]:
        if self.group_size is not None:
            return [self.group_size]
        rows, columns = shape
        largest = max(1, min(rows, MAX_GROUP_WEIGHTS // columns))
        sizes = [largest if share == ALL_ROWS else max(1, round(share * self.usual)) for share in shares]
        # Groups of about equal size: files hold whole groups, so a small last group would be padded with zeros.
        return [-(-rows // -(-rows // group)) for group in (min(largest, size) for size in sizes)]


@dataclass(frozen=True)
class GridMenu:
    """The choices of an allocation of mixed bits for grids. bits: those that every target supports."""

    bits: tuple[int, ...] = GRID_BITS

    def choices(self, shape: Sequence[int], kept_bytes: int) -> tuple[Choice, ...]:
        """Every grid of a matrix `[out, in]` that is smaller than keeping it, by bytes; keeping it where none is."""
        grids = {Choice(bits, block=block).fitted(shape) for bits, block in GRIDS if bits in self.bits}
        smaller = [choice for choice in grids if pays(shape, kept_bytes, choice)]
        return tuple(sorted(smaller, key=lambda c: (stored_bytes(shape, c), c))) or (KEEP,)
