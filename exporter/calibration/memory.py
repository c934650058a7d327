"""Free memory that the C library keeps for itself: given back, so that one stage's peak isn't the next one's."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


def release() -> None:
    """Gives back what nobody uses. Tensors of a few megabytes leave holes that glibc never returns by itself."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """glibc's; other C libraries have none, and return free pages themselves."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # TypeError: Windows has no library without a name
        return None
    return trim
