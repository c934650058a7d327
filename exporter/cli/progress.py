"""Progress on stderr: bars on a terminal, a line per stage elsewhere."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress


class BarProgress:
    """One bar a stage."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = RichProgress(*columns, console=Console(stderr=True), transient=True)
        self._bars.start()
        self._task: TaskID | None = None

    def stage(self, name: str, total: int) -> None:
        """Replaces the finished stage's bar."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(name, total=total)

    def advance(self, item: str = "") -> None:  # noqa: ARG002 - a bar has no room for every item's name
        """Moves the bar by one step."""
        if self._task is not None:
            self._bars.advance(self._task)

    def close(self) -> None:
        """Takes the bars off the screen."""
        self._bars.stop()


class LineProgress:
    """For logs: says which stage begins, and how many steps it has."""

    def stage(self, name: str, total: int) -> None:
        """One line."""
        steps = f" ({total})" if total > 1 else ""
        print(f"kogata: {name}{steps}", file=sys.stderr, flush=True)

    def advance(self, item: str = "") -> None:
        """Logs don't need every step."""

    def close(self) -> None:
        """Lines stay."""
