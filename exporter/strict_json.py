"""Strict JSON: unlike Python's own parser, it refuses duplicate keys and NaN; and files of many numbers."""

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


def compact_json(data: Any) -> bytes:
    """`data` as UTF-8 JSON: keys sorted, indented by 2, lists of numbers on one line, newline at the end.

    ValueError for a float that is not finite. A lone surrogate is written as JSON's own escape.
    """
    return (_indented(data, "") + "\n").encode("utf-8", "backslashreplace")


def _indented(data: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(data, dict) and data:
        items = (f"{inner}{json.dumps(key, ensure_ascii=False)}: {_indented(data[key], inner)}" for key in sorted(data))
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(data, list) and not all(isinstance(item, int | float) for item in data):
        return "[\n" + ",\n".join(inner + _indented(item, inner) for item in data) + f"\n{indent}]"
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r} appears twice")
    return table


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
