"""Collects all problems of a checkpoint, so that a user sees them at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from exporter.errors import Diagnostic, InputError, KogataError, UnsupportedError


class Problems:
    """The errors collected so far. `raise_any` raises one error with all their diagnostics."""

    def __init__(self) -> None:
        self._input: list[Diagnostic] = []
        self._unsupported: list[Diagnostic] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keeps a `KogataError` that is raised inside; any other exception passes through."""
        try:
            yield
        except UnsupportedError as error:
            self._unsupported.extend(error.diagnostics)
        except KogataError as error:
            self._input.extend(error.diagnostics)

    def raise_any(self) -> None:
        """Raises the collected problems: `InputError` if any file is missing or damaged, else `UnsupportedError`."""
        problems = tuple(dict.fromkeys((*self._input, *self._unsupported)))  # two readers of a file report it twice
        if problems:
            raise (InputError if self._input else UnsupportedError)(*problems)
