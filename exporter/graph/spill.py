"""Packed palette indices that wait in a file, not in memory, between compression and the writers."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_FLUSH = 1 << 20  # bytes; a write as large as a block of indices goes to the system in one piece


class Stored(Protocol):
    """Bytes in memory or in a file."""

    @property
    def size(self) -> int:
        """How many there are."""

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """The bytes from `start` to `stop`, uint8 `[stop - start]`, not to be written to."""


@dataclass(frozen=True)
class InMemory:
    """Bytes in memory, uint8 `[size]`."""

    data: NDArray[np.uint8]

    @property
    def size(self) -> int:
        """How many there are."""
        return self.data.size

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """A view."""
        return self.data[start:stop]


class Spill:
    """One file without a name in `folder`: it is gone with this object and its parts, or with the process.

    What goes wrong with the disk is an OSError, also while reading.
    """

    def __init__(self, folder: Path) -> None:
        # Open for as long as there are parts of it.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=_FLUSH)  # noqa: SIM115
        self._lock = threading.Lock()
        self._end = 0

    @property
    def end(self) -> int:
        """Bytes written so far: where the next ones will lie."""
        return self._end

    def append(self, data: NDArray[np.uint8]) -> Spilled:
        """Writes `data` behind everything else; where it is."""
        with self._lock:
            start = self._end
            self._file.seek(start)
            self._file.write(data.data)
            self._end += data.size
        return Spilled(self, start, data.size)

    def part(self, start: int) -> Spilled:
        """All that was written from `start` on."""
        return Spilled(self, start, self._end - start)

    def read(self, start: int, size: int) -> NDArray[np.uint8]:
        """A fresh array: pages of a mapped file would count as this process's memory for as long as they're mapped."""
        with self._lock:
            self._file.seek(start)
            data = self._file.read(size)
        if len(data) != size:
            raise OSError(f"the file of packed weights ends {size - len(data)} bytes too early")
        return np.frombuffer(data, np.uint8)


@dataclass(frozen=True)
class Spilled:
    """A part of a spill."""

    spill: Spill
    start: int
    size: int

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """From the file."""
        return self.spill.read(self.start + start, stop - start)
