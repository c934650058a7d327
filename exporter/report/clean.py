"""Makes strings from checkpoints and prompts harmless where they are shown."""

from __future__ import annotations

import re

# Terminals obey control characters instead of showing them: C0 except newline and tab, DEL, C1. Bidirectional controls,
# line separators and the byte order mark reorder, break or hide text. Lone surrogates can't be encoded as UTF-8.
_CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
_DECEPTIVE = r"\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff"
_UNSAFE = re.compile(f"[{_CONTROL}{_DECEPTIVE}\ud800-\udfff]")
_LINE_UNSAFE = re.compile(f"[\t\n{_CONTROL}{_DECEPTIVE}\ud800-\udfff]")
_XML_FORBIDDEN = re.compile("[\ufffe\uffff]")  # of what `safe_text` lets through
_JSON_UNSAFE = re.compile(f"[\x7f-\x9f{_DECEPTIVE}\ud800-\udfff]")


def safe_text(text: str) -> str:
    """For a terminal. Newlines stay; characters that a terminal would obey become escapes such as \\x1b."""
    return _UNSAFE.sub(_spelled, text)


def safe_line(text: str) -> str:
    """For one line of a terminal: newlines and tabs become escapes too."""
    return _LINE_UNSAFE.sub(_spelled, text)


def safe_xml(text: str) -> str:
    """As `safe_text`, and without the characters that XML 1.0 can't hold, not even escaped."""
    return _XML_FORBIDDEN.sub("\ufffd", safe_text(text))


def safe_json(document: str) -> str:
    """A JSON document with characters that a terminal would obey escaped; it parses to the same values."""
    return _JSON_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(found[0])
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
