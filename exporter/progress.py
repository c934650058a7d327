"""How long work tells the outside how far it is, without knowing about terminals."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives progress. Implementations decide whether and where to show it."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` equal steps begins; it ends when the next begins."""

    def advance(self, item: str = "") -> None:
        """One step of the stage is done; `item` names it."""

    def close(self) -> None:
        """Nothing more will come; whatever is on the screen goes."""


class NoProgress:
    """Shows nothing."""

    def stage(self, name: str, total: int) -> None:
        """Ignore the stage."""

    def advance(self, item: str = "") -> None:
        """Ignore the step."""

    def close(self) -> None:
        """Nothing is shown, nothing goes."""
