"""Names outside of ONNX: MIL and Core ML want identifiers."""

from __future__ import annotations

import re


def identifier(name: str) -> str:
    """`name` with _ for everything but ASCII letters and digits, and in front of a digit; never empty.

    The Core ML program calls a graph's inputs and outputs so.
    """
    base = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{base}" if not base or base[0].isdigit() else base


def words(text: str) -> frozenset[str]:
    """The words of `text`: a set of op names that reads well."""
    return frozenset(text.split())
