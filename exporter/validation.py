"""pydantic's errors in kogata's words: for profiles, plans and other files of our own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_MESSAGES = {  # by pydantic's type of error; its own message where it is not here
    "dataclass_type": "must be a table",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "mapping_type": "must be a table",
    "missing": "is missing",
    "string_pattern_mismatch": "must be a text",
    "string_type": "must be a text",
    "string_unicode": "must be a text",
    "too_short": "must not be empty",
    "tuple_type": "must be a list",
    "unexpected_keyword_argument": "is not a known key",
}
_WITHOUT_VALUE = ("missing", "too_short", "unexpected_keyword_argument")


def explain(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Each problem as (key, message): `("hardware.ram.unit", "must be 'GB', not 'MB'")`."""
    for found in error.errors(include_url=False, include_context=False):
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"])
        own = found["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        message = _MESSAGES.get(found["type"], own)
        value = "" if found["type"] in _WITHOUT_VALUE else f", not {str(found['input'])!r:.40}"
        yield key.removeprefix("."), message + value
