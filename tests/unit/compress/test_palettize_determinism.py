"""The same bits whatever the number of threads, the process, and the state of numba's cache."""

import errno
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from numba.core import caching

from exporter.compress import kmeans, palettize
from exporter.compress.kernels import clusters_compiled as compiled

RECIPE = """
import hashlib, numpy as np
from exporter.compress import palettize
weight = (np.random.default_rng(5).standard_t(5, (100, 96)) * 0.02).astype(np.float32)
for bits in (1, 4, 8):
    palette = palettize(weight, bits, 8)
    print(hashlib.sha256(palette.indices.tobytes() + palette.lut.tobytes()).hexdigest())
"""


def digests() -> list[str]:
    weight = (np.random.default_rng(5).standard_t(5, (100, 96)) * 0.02).astype(np.float32)
    palettes = [palettize(weight, bits, 8) for bits in (1, 4, 8)]
    return [hashlib.sha256(p.indices.tobytes() + p.lut.tobytes()).hexdigest() for p in palettes]


def test_thread_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = digests()
    for threads in (1, 2, 3, 16, 200):
        monkeypatch.setattr(kmeans, "cores", lambda threads=threads: threads)
        assert digests() == expected


def test_processes() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    child = subprocess.run([sys.executable, "-c", RECIPE], capture_output=True, text=True, check=True, env=environment)
    assert child.stdout.split() == digests()


def test_without_a_writable_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = digests()
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # what numba finds where no folder is writable
    with pytest.raises(RuntimeError, match="cannot cache"):
        compiled.compile_kernel(cache=True)
    monkeypatch.setattr(compiled, "run_groups", compiled._kernel())
    assert digests() == expected


def test_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = digests()

    attempts: list[bool] = []

    def full(*_: object) -> None:
        attempts.append(True)
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(caching.Cache, "load_overload", lambda *_: None)
    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    monkeypatch.setattr(compiled, "run_groups", compiled._kernel())
    assert digests() == expected
    assert attempts == [True]
