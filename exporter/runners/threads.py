"""How many threads a runtime uses: a fixed number, so that the same machine gives the same last digit twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LARGE_MODEL = 200_000_000  # bytes of weights: in smaller models, an op is too short to be worth sharing
MAX_THREADS = 4


def threads_for(size: int) -> int:
    """The number of threads for a model whose weights take `size` bytes."""
    return 1 if size < LARGE_MODEL else min(MAX_THREADS, os.cpu_count() or 1)


def processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stored_bytes(path: Path) -> int:
    """The size of a model on disk: of its folder, or of the folder that its file lies in."""
    folder = path if path.is_dir() else path.parent
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """Sets the number of threads that torch computes with, and restores it afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
