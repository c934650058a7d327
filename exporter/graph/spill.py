"""Stores packed palette indices in a temporary file instead of memory, until the model is written."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_BUFFER_BYTES = 1 << 20  # of the file; a block of indices is then written in one piece


class Stored(Protocol):
    """Bytes in memory or in a file."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """The bytes from `start` to `stop`, uint8 `[stop - start]`, read-only."""


@dataclass(frozen=True)
class InMemory:
    """Bytes in memory, uint8 `[size]`."""

    data: NDArray[np.uint8]

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.data.size

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """A view."""
        return self.data[start:stop]


class Spill:
    """An unnamed temporary file in `folder`. It disappears with this object and its parts, or with the process.

    Writing and reading raise OSError if the disk fails or is full.
    """

    def __init__(self, folder: Path) -> None:
        # The file stays open as long as parts of it exist.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=_BUFFER_BYTES)  # noqa: SIM115
        self._lock = threading.Lock()
        self._end = 0

    @property
    def end(self) -> int:
        """The number of bytes written so far, which is where the next part begins."""
        return self._end

    def append(self, data: NDArray[np.uint8]) -> Spilled:
        """Writes `data` at the end of the file. Returns the part that holds it."""
        with self._lock:
            start = self._end
            self._file.seek(start)
            self._file.write(data.data)
            self._end += data.size
        return Spilled(self, start, data.size)

    def part(self, start: int) -> Spilled:
        """Everything that was written from byte `start` on."""
        return Spilled(self, start, self._end - start)

    def read(self, start: int, size: int) -> NDArray[np.uint8]:
        """Reads a new array. The file isn't mapped, because mapped pages would count as this process's memory."""
        with self._lock:
            self._file.seek(start)
            data = self._file.read(size)
        if len(data) != size:
            raise OSError(f"the temporary file of packed weights is {size - len(data)} bytes too short")
        return np.frombuffer(data, np.uint8)


@dataclass(frozen=True)
class Spilled:
    """A part of a spill."""

    spill: Spill
    start: int
    size: int

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """The bytes from `start` to `stop` of this part, uint8 `[stop - start]`. Raises OSError."""
        return self.spill.read(self.start + start, stop - start)
