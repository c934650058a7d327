"""How a matrix may be stored, and what that takes: the one place where stored bytes are computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporter.errors import UsageError
from exporter.graph.bits import packed_size
from exporter.graph.palette import PALETTE_BITS

UNCOMPRESSED = 16  # bits that mean: keep every tensor as it is
LUT_BYTES = 2  # an entry is a float16
WHOLE = 0  # in `Menu.groups`: all rows share one LUT, as far as GROUP goes
GROUP = 1 << 22  # weights of the largest group that a menu offers: clustering holds a whole group in memory

# Palette bits → rows that share a LUT, as shares of the usual group (16 rows: 1/4 is 4 rows). A LUT of 8 bits takes 512
# bytes: in a matrix of 192 columns, groups of 16 rows then cost 1.3 bits a weight. One of 2 bits takes 8 bytes, so that
# a finer group costs next to nothing.
GROUPS: Mapping[int, tuple[float, ...]] = {
    1: (0.25, 1),
    2: (0.25, 1),
    3: (0.25, 1),
    4: (0.25, 1, 4),
    6: (1, 4, WHOLE),
    8: (4, WHOLE),
}


@dataclass(frozen=True, order=True)
class Choice:
    """How one matrix is stored. bits: of an index; 16 keeps it. group_size: output rows that share a LUT; None where
    it is kept, and only there. Raises UsageError."""

    bits: int
    group_size: int | None = None

    def __post_init__(self) -> None:
        if self.bits not in (*PALETTE_BITS, UNCOMPRESSED):
            allowed = ", ".join(map(str, PALETTE_BITS))
            raise UsageError.of(
                "compress.bits",
                f"no palette has {self.bits} bits",
                where="--bits",
                hint=f"Core ML stores palettes of {allowed} bits; {UNCOMPRESSED} means no compression",
            )
        if (self.group_size is None) != self.kept:
            raise ValueError(f"{self.bits} bits with groups of {self.group_size} rows")
        if self.group_size is not None and self.group_size < 1:
            raise UsageError.of(
                "compress.group_size", f"a group of {self.group_size} rows is empty", where="--group-size"
            )

    @property
    def kept(self) -> bool:
        """Whether the matrix stays as it is."""
        return self.bits == UNCOMPRESSED

    @property
    def form(self) -> tuple[int, int]:
        """Bits and group size of a palette. Raises ValueError for a kept matrix."""
        if self.group_size is None:
            raise ValueError("a kept matrix has no groups")
        return self.bits, self.group_size

    @classmethod
    def of(cls, bits: int, group_size: int | None) -> Choice:
        """Whatever `group_size` says, a kept matrix has none."""
        return KEEP if bits == UNCOMPRESSED else cls(bits, group_size)

    def fitted(self, shape: Sequence[int]) -> Choice:
        """The same for a matrix `[out, in]`: a group has no more rows than there are."""
        if self.group_size is None:
            return self
        return replace(self, group_size=max(1, min(self.group_size, shape[0])))


KEEP = Choice(UNCOMPRESSED)


def lut_bytes(shape: Sequence[int], choice: Choice) -> int:
    """Of all LUTs of a matrix `[out, in]`; the last group may hold fewer rows."""
    bits, group_size = choice.form
    return -(-shape[0] // group_size) * (1 << bits) * LUT_BYTES


def stored_bytes(shape: Sequence[int], choice: Choice) -> int:
    """Of a palettized matrix `[out, in]`: packed indices and LUTs, as `Palette.stored_bytes`; no container overhead."""
    return packed_size(math.prod(shape), choice.bits) + lut_bytes(shape, choice)


def pays(shape: Sequence[int], kept_bytes: int, choice: Choice) -> bool:
    """Whether a palette takes less than the matrix `[out, in]` as it is and than its float16 values."""
    return not choice.kept and stored_bytes(shape, choice) < min(2 * math.prod(shape), kept_bytes)


@dataclass(frozen=True)
class Menu:
    """What a mixed allocation may choose from.

    bits: those that every target takes, 16 (keep) among them or not. group_size: the usual one, None where none was
    asked for by name: then `groups` (see `GROUPS`) around `usual` are tried.
    """

    bits: tuple[int, ...] = (*PALETTE_BITS, UNCOMPRESSED)
    group_size: int | None = None
    usual: int = 16
    groups: Mapping[int, tuple[float, ...]] = field(default_factory=lambda: GROUPS)

    def choices(self, shape: Sequence[int], kept_bytes: int) -> tuple[Choice, ...]:
        """Every way to store a matrix `[out, in]` that takes less than keeping it, by bytes; at the end, keeping it.

        Keeping is there also where the bits leave it out but nothing else pays.
        """
        found = set()
        for bits in self.bits:
            if bits != UNCOMPRESSED:
                found |= {Choice(bits, group).fitted(shape) for group in self._groups(self.groups[bits], shape)}
        paying = sorted((c for c in found if pays(shape, kept_bytes, c)), key=lambda c: (stored_bytes(shape, c), c))
        return (*paying, KEEP) if UNCOMPRESSED in self.bits or not paying else tuple(paying)

    def _groups(self, shares: Sequence[float], shape: Sequence[int]) -> list[int]:
        if self.group_size is not None:
            return [self.group_size]
        rows, columns = shape
        most = max(1, min(rows, GROUP // columns))
        sizes = [most if share == WHOLE else max(1, round(share * self.usual)) for share in shares]
        # Groups of about equal size: files hold whole groups, and a last one of few rows would be filled up with zeros.
        return [-(-rows // -(-rows // group)) for group in (min(most, size) for size in sizes)]
