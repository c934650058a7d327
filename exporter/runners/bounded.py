"""Bounds a run of a graph with loops, which may be endless: onnxruntime stops it at the next node."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Self

from exporter.machine import memory_bytes

LOOP_SECONDS = 60.0  # one sample of a mobile model takes seconds; a beam search in a loop may take ten times as long
_MEMORY_SHARE = 0.5  # of the machine's memory, by which a run may grow: an endless loop may collect results
_POLL_SECONDS = 0.1
LOOPS = ("Loop", "Scan")


class Bounded:
    """Sets `options.terminate` of a run when it takes too long or too much memory. `reason` then says why."""

    def __init__(self, options: Any, seconds: float | None = None) -> None:
        self.reason = ""
        self._options, self._seconds = options, LOOP_SECONDS if seconds is None else seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        begun, room, before = time.monotonic(), _MEMORY_SHARE * memory_bytes(), _peak_bytes()
        while not self._ended.wait(_POLL_SECONDS):
            if time.monotonic() - begun > self._seconds:
                self.reason = f"its loop didn't end within {self._seconds:g} seconds"
            elif _peak_bytes() - before > room:
                self.reason = f"its loop took more than {room / 1e9:.1f} GB of memory"
            if self.reason:
                self._options.terminate = True
                return


def _peak_bytes() -> int:
    """The largest resident size of this process so far; 0 where the system doesn't tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    import sys

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
