"""Progress on stderr: a bar for each stage on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from exporter.report.clean import safe_line

if TYPE_CHECKING:
    from rich.console import Console

SILENCE = 30.0  # seconds after which a log without a new line looks like a program that hangs
TICK = 1.0  # seconds between two looks at the clock


class BarProgress:
    """A bar with count, elapsed time and the estimate of what remains; `console` is for tests."""

    def __init__(self, console: Console | None = None) -> None:
        from rich import progress
        from rich.console import Console
        from rich.table import Column

        console = console or Console(stderr=True)
        name = Column(no_wrap=True, max_width=max(console.width - 38, 10))  # 38: the times, the count, a short bar
        whole = Column(no_wrap=True)  # the bar alone gives way on a narrow terminal
        self._bars = progress.Progress(
            progress.TextColumn("{task.description}", markup=False, table_column=name),
            progress.BarColumn(bar_width=20),
            progress.MofNCompleteColumn(table_column=whole),
            progress.TimeElapsedColumn(table_column=whole),
            progress.TextColumn("left:", table_column=whole),
            progress.TimeRemainingColumn(table_column=whole),
            console=console,
            transient=True,
            speed_estimate_period=3600,  # seconds: a step may take minutes
        )
        self._bars.start()

    def stage(self, name: str, total: int) -> None:
        """Replaces the finished stage's bar."""
        for task in self._bars.task_ids:
            self._bars.remove_task(task)
        self._bars.add_task(safe_line(name), total=total)

    def advance(self, item: str = "") -> None:  # noqa: ARG002 - a bar has no room for every item's name
        """Moves the bar by one step."""
        for task in self._bars.task_ids:
            self._bars.advance(task)

    def close(self) -> None:
        """Takes the bar off the screen."""
        self._bars.stop()


class LineProgress:
    """For logs: a line when a stage begins, and another one whenever `SILENCE` has passed without any.

    clock: seconds, rising. A thread calls `remind` every `TICK`; `close` ends it before the report is written.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._name, self._total, self._done, self._begun, self._said = "", 0, 0, clock(), clock()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stage(self, name: str, total: int) -> None:
        """Says which stage begins, and how many steps it has."""
        with self._lock:
            self._name, self._total, self._done, self._begun = safe_line(name), total, 0, self._clock()
            self._say(f" ({total})" if total > 1 else "")

    def advance(self, item: str = "") -> None:  # noqa: ARG002 - a log doesn't need every item's name
        """Counts one step."""
        with self._lock:
            self._done += 1

    def remind(self) -> None:
        """Says how far the stage is, if nothing was said for `SILENCE`."""
        with self._lock:
            now = self._clock()
            if now - self._said < SILENCE or not self._name or self._closed.is_set():
                return
            elapsed = now - self._begun
            count = f" {self._done} of {self._total}," if self._total > 1 else ""
            left = elapsed / self._done * (self._total - self._done) if self._done else 0
            estimate = f", about {_hours(left)} left" if left > 0 else ""
            self._say(f":{count} {_hours(elapsed)} elapsed{estimate}")

    def close(self) -> None:
        """Ends the thread: nothing is written any more."""
        self._closed.set()
        self._thread.join()

    def _say(self, what: str) -> None:
        self._said = self._clock()
        try:
            print(f"kogata: {self._name}{what}", file=sys.stderr, flush=True)
        except (OSError, ValueError):  # its reader has left; the report still counts
            self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(TICK):
            self.remind()


def _hours(seconds: float) -> str:
    """As h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
