"""Collects everything that is wrong with a checkpoint, so that a user hears of it all at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from exporter.errors import Diagnostic, InputError, KogataError, UnsupportedError


class Problems:
    """The errors met so far. `raise_any` ends in one error that carries all their diagnostics."""

    def __init__(self) -> None:
        self._input: list[Diagnostic] = []
        self._unsupported: list[Diagnostic] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keeps a `KogataError` raised inside for later; anything else passes through."""
        try:
            yield
        except UnsupportedError as error:
            self._unsupported.extend(error.diagnostics)
        except KogataError as error:
            self._input.extend(error.diagnostics)

    def raise_any(self) -> None:
        """Raises what was collected: `InputError` if anything is missing or damaged, else `UnsupportedError`."""
        found = tuple(dict.fromkeys((*self._input, *self._unsupported)))  # two readers of one file say the same
        if found:
            raise (InputError if self._input else UnsupportedError)(*found)
