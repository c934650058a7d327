"""Re-exports coremltools' MIL builder. Modules that build programs import it from here, since it has no type hints."""

from __future__ import annotations

from typing import Any

from coremltools.converters.mil.mil import (
    Builder as mb,
)
from coremltools.converters.mil.mil import (
    Function,
    Placeholder,
    Program,
    get_new_symbol,
    types,
)
from coremltools.converters.mil.mil.program import StateTensorPlaceholder

Var = Any
"""A value of a MIL program."""

__all__ = ["Function", "Placeholder", "Program", "StateTensorPlaceholder", "Var", "get_new_symbol", "mb", "types"]
