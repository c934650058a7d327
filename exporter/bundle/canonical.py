"""JSON and SHA256SUMS in canonical form: equal content gives equal bytes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.bundle.tree import path_problem, printable
from exporter.errors import InputError
from exporter.strict_json import parse_json

__all__ = ["Sums", "canonical_json", "parse_json", "parse_sums", "render_sums"]

_LINE = re.compile(r"([0-9a-f]{64})  (.+)", re.DOTALL)


def canonical_json(data: Any) -> bytes:
    """`data` as UTF-8 JSON: keys sorted, indented by 2, newline at the end.

    JSON has no infinities: a float that is not finite (the PSNR of an exact match) becomes null.
    """
    try:
        text = json.dumps(_finite(data), ensure_ascii=False, allow_nan=False, indent=2, sort_keys=True)
    except RecursionError:
        raise InputError.of("bundle.nested", "the checkpoint's configuration is nested too deeply") from None
    # A lone surrogate has no UTF-8; this error handler writes it as JSON's own escape, \udXXX.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def render_sums(hashes: Mapping[str, str]) -> bytes:
    """SHA256SUMS for `hashes` (path → lower-case hex), sorted by path, as `sha256sum -c` reads it."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(hashes.items())).encode("utf-8")


@dataclass(frozen=True)
class Sums:
    """A parsed SHA256SUMS: path → hash, and the problems of the file itself."""

    hashes: Mapping[str, str]
    problems: tuple[str, ...]


def parse_sums(raw: bytes) -> Sums:
    """The hashes in `raw`. It must be exactly what `render_sums` writes, so that every edit is noticed."""
    hashes: dict[str, str] = {}
    problems: list[str] = []
    text = raw.decode("utf-8", "surrogateescape")  # an invalid byte then spoils one path only
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            problems.append(f"line {number} is not '<SHA-256>  <path>': {printable(line)[:100]!r}")
            continue
        digest, path = match.groups()
        reason = path_problem(path)
        if reason:
            problems.append(f"line {number}: the path {printable(path)[:100]!r} {reason}")
        elif path in hashes:
            problems.append(f"line {number}: {path} is listed twice")
        else:
            hashes[path] = digest
    if not problems and render_sums(hashes) != raw:
        problems.append("not in canonical form: sorted by path, one newline after each line, nothing else")
    return Sums(hashes, tuple(problems))


def _finite(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return [_finite(value) for value in data]
    return data
