"""Keeps every subject's outputs until the rows have been compared: in memory first, on disk beyond a budget.

So only one model is loaded at a time, and the reference runs once, however many rows need it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.parity.keys import Key

Arrays = tuple[NDArray[np.float32] | None, ...]

_BUDGET = 512 * 2**20  # logits of 24 prompts of 100 tokens over a vocabulary of 32,000 are 300 MB


class Outputs:
    """A context manager; it removes what it wrote to disk when it ends."""

    def __init__(self, budget: int = _BUDGET) -> None:
        self._budget = budget
        self._held: dict[tuple[Key, int], Arrays] = {}
        self._folder: Path | None = None

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def put(self, subject: Key, index: int, *arrays: NDArray[np.float32] | None) -> None:
        """Keeps the outputs of `subject` for prompt `index`."""
        size = sum(a.nbytes for a in arrays if a is not None)
        if size <= self._budget:
            self._budget -= size
            self._held[subject, index] = arrays
        else:
            self._held[subject, index] = tuple(
                None if a is None else self._spill(a, f"{len(self._held)}.{i}.npy") for i, a in enumerate(arrays)
            )

    def get(self, subject: Key, index: int) -> Arrays:
        """The arrays that `put` was given, memory-mapped if they lie on disk."""
        return self._held[subject, index]

    def _spill(self, array: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="kogata-parity-"))
        path = self._folder / name
        np.save(path, array, allow_pickle=False)
        mapped: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped
