"""Reads values of `config.json`, and collects all problems before raising an error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from exporter.errors import Diagnostic, InputError, UnsupportedError


class ConfigReader:
    """Typed access to a checkpoint's configuration.

    Each method returns a usable value even if the configuration's is wrong, so that one pass finds every problem;
    `finish` then raises. As in transformers, null means "absent".
    """

    def __init__(self, config: Mapping[str, Any], *, where: str = "config.json") -> None:
        self._config = config
        self._where = where
        self._invalid: list[Diagnostic] = []
        self._unsupported: list[Diagnostic] = []

    @property
    def valid(self) -> bool:
        """Whether all values read so far were valid. Compare values with each other only then."""
        return not self._invalid

    def get(self, key: str) -> Any:
        """The raw value, None if absent."""
        return self._config.get(key)

    def has(self, key: str) -> bool:
        """Whether the key exists, even with value null: for keys where null doesn't mean the default."""
        return key in self._config

    def integer(self, key: str, default: int | None = None, *, maximum: int = 2**31 - 1) -> int:
        """A whole number from 1 to `maximum`; required if there is no `default`."""
        value = self.get(key)
        if value is None and default is not None:
            return default
        if type(value) is int and 1 <= value <= maximum:  # `type`, because True is an int too
            return value
        self.invalid(key, f"{_shown(value)} is not a whole number from 1 to {maximum}")
        return 1

    def number(self, key: str, default: float | None = None, *, above: float = 0.0, maximum: float = math.inf) -> float:
        """A finite number greater than `above` and at most `maximum`; required if there is no `default`."""
        value = self.get(key)
        if value is None and default is not None:
            return default
        if type(value) in (int, float) and _is_finite(value) and above < value <= maximum:
            return float(value)
        limit = "" if maximum == math.inf else f" and up to {maximum:g}"
        self.invalid(key, f"{_shown(value)} is not a finite number above {above:g}{limit}")
        return 1.0

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        self.invalid(key, f"{_shown(value)} is neither true nor false")
        return default

    def choice(self, key: str, default: str, supported: Sequence[str]) -> str:
        """One of `supported`; another string is unsupported, anything else is invalid."""
        value = self.get(key)
        if value is None or value in supported:
            return default if value is None else str(value)
        if isinstance(value, str):
            self.unsupported(key, f"{_shown(value)} is not supported", f"supported: {', '.join(supported)}")
        else:
            self.invalid(key, f"{_shown(value)} is not one of: {', '.join(supported)}")
        return default

    def section(self, key: str) -> ConfigReader | None:
        """A reader of the object under `key`, which adds its problems to this reader's; None if absent."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.invalid(key, f"{_shown(value)} is not an object")
            return None
        inner = ConfigReader(value, where=f"{self._where}: {key}")
        inner._invalid, inner._unsupported = self._invalid, self._unsupported
        return inner

    def refuse(self, key: str, harmless: Sequence[Any], why: str) -> None:
        """Records `key` as unsupported unless it is absent or has one of the `harmless` values."""
        value = self.get(key)
        if value is not None and value not in harmless:
            self.unsupported(key, f"{_shown(value)} is not supported: {why}")

    def invalid(self, key: str, message: str, hint: str = "") -> None:
        """Records a problem: a value that is wrong for every model."""
        self._invalid.append(Diagnostic("config.invalid", f"{key}: {message}", self._where, hint))

    def unsupported(self, key: str, message: str, hint: str = "") -> None:
        """Records a problem: a valid value that Kogata doesn't support."""
        self._unsupported.append(Diagnostic("config.unsupported", f"{key}: {message}", self._where, hint))

    def finish(self) -> None:
        """Raises InputError with all invalid values, or else UnsupportedError with all unsupported ones."""
        if self._invalid:
            InputError.raise_all([*self._invalid, *self._unsupported])
        UnsupportedError.raise_all(self._unsupported)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that is too large for a float
        return False


def _shown(value: Any) -> str:
    """The value for a message, shortened: a hostile file may have megabytes in place of a number."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
