"""Names for MIL and Core ML, which require identifiers."""

from __future__ import annotations

import re


def identifier(name: str) -> str:
    """`name` with _ in place of all characters but ASCII letters and digits, and before a leading digit; never empty.

    Inputs and outputs of Core ML programs have these names.
    """
    base = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{base}" if not base or base[0].isdigit() else base


def words(text: str) -> frozenset[str]:
    """The words of `text` as a set: a readable way to write many op names."""
    return frozenset(text.split())
