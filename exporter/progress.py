"""The interface through which long work reports its progress."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives progress; implementations show it."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` steps begins; it ends when the next stage begins."""

    def advance(self, item: str = "") -> None:
        """One step of the stage is done; `item` names it."""

    def close(self) -> None:
        """The work has ended; nothing is shown from now on."""


class NoProgress:
    """Shows nothing."""

    def stage(self, name: str, total: int) -> None:
        """Ignore the stage."""

    def advance(self, item: str = "") -> None:
        """Ignore the step."""

    def close(self) -> None:
        """Do nothing."""
