"""Sizes as Google Play counts them, and the division of a bundle among AI packs.

Play's limits are on compressed sizes. An app bundle is compressed with Deflate, file by file: this is what is measured.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from exporter.progress import Progress

INSTALL_TIME_BYTES = (
    200_000_000  # compressed; above, Play asks before it uses mobile data (its AI packs' documentation)
)

_BLOCK = 1 << 24  # bytes that are measured, and moved to another pack, as one
_FILL = 0.95  # of the limit: Play compresses again with methods of its own


@dataclass(frozen=True)
class Piece:
    """A file of the bundle, or a part of it: `bytes` from `start` on. part: its number from 1, None: a whole file."""

    path: str
    start: int
    bytes: int
    part: int | None = None

    @property
    def name(self) -> str:
        """The path in the pack's folder."""
        return self.path if self.part is None else f"{self.path}.part{self.part}"


@dataclass(frozen=True)
class Pack:
    """What one AI pack holds. compressed: its size in bytes with Deflate."""

    pieces: tuple[Piece, ...]
    compressed: int


def measure(bundle: Path, files: Iterable[str], progress: Progress) -> dict[str, tuple[int, ...]]:
    """Path → compressed bytes of each block of 16 MiB; an empty file has none."""
    files = list(files)
    progress.stage("measure", len(files))
    sizes: dict[str, tuple[int, ...]] = {}
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for file in files:
            starts = range(0, (bundle / file).stat().st_size, _BLOCK)
            sizes[file] = tuple(pool.map(lambda start, path=bundle / file: _compressed(path, start), starts))
            progress.advance(file)
    return sizes


def place(sizes: Mapping[str, tuple[int, ...]], lengths: Mapping[str, int], limit: float) -> list[Pack]:
    """Divide the files among packs of at most `limit` compressed bytes each, less a reserve.

    sizes: of `measure`; lengths: bytes of each file. A file stays whole where a pack can hold it. The largest come
    first, so that the others fill up what the last part of a large file has left.
    """
    room = limit * _FILL
    packs = [Pack((), 0)]
    for path in sorted(sizes, key=lambda path: (-sum(sizes[path]), path)):
        if sum(sizes[path]) <= room:
            cut = [(Piece(path, 0, lengths[path]), sum(sizes[path]))]
        else:
            cut = _parts(path, sizes[path], lengths[path], room)
        for piece, size in cut:
            if packs[-1].pieces and packs[-1].compressed + size > room:
                packs.append(Pack((), 0))
            packs[-1] = Pack((*packs[-1].pieces, piece), packs[-1].compressed + size)
    return packs


def _parts(path: str, blocks: tuple[int, ...], length: int, room: float) -> list[tuple[Piece, int]]:
    """The parts of a file that no pack can hold, each as many blocks as fit, with their compressed sizes."""
    firsts, held = [0], [0]
    for number, size in enumerate(blocks):
        if held[-1] and held[-1] + size > room:
            firsts.append(number)
            held.append(0)
        held[-1] += size
    starts = [first * _BLOCK for first in firsts]
    ends = [*starts[1:], length]
    return [
        (Piece(path, start, end - start, part), size)
        for part, (start, end, size) in enumerate(zip(starts, ends, held, strict=True), 1)
    ]


def write_piece(bundle: Path, piece: Piece, target: Path) -> None:
    """Copy a piece to `target`, which must not exist."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = piece.bytes
    with (bundle / piece.path).open("rb") as source, target.open("xb") as copy:
        source.seek(piece.start)
        while left and (block := source.read(min(left, _BLOCK))):
            copy.write(block)
            left -= len(block)
    if left:
        raise OSError(f"{piece.path} has become shorter")


def _compressed(path: Path, start: int) -> int:
    with path.open("rb") as file:
        file.seek(start)
        return len(zlib.compress(file.read(_BLOCK), 6))  # the level that Android's build uses
