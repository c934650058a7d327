"""The decorator for functions that only compiled code calls; for all kernels of data-aware fitting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def inlined(function: F) -> F:
    """Compiles `function` for calls from compiled code only; the Python wrapper is left out to save compile time.

    No code in this file is compiled itself, so kernels may share it. After a change of `options`, empty numba's cache.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    return cast(F, numba.njit(no_cpython_wrapper=True, **options)(function))
