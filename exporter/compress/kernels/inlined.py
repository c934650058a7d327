"""The decorator of functions that only compiled code calls, in all kernels of data-aware fitting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def inlined(function: F) -> F:
    """`function` compiled for calls from compiled code only, which saves its Python wrapper.

    Nothing of this file is compiled, so kernels may share it; but for other options numba's cache must be emptied.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    return cast(F, numba.njit(no_cpython_wrapper=True, **options)(function))
