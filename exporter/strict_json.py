"""Strict JSON: unlike Python's own parser, it refuses duplicate keys and NaN."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


def parse_json(raw: bytes) -> Any:
    """The value in `raw`; ValueError with the reason where it is not strict JSON (duplicate key, NaN, …)."""
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r} appears twice")
    return table


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
