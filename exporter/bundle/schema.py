"""The JSON Schema of `manifest.json`, and everything in a manifest that violates it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any

MAX_PROBLEMS = 1000  # a hostile file could cause millions
MAX_WORDS = 200  # jsonschema's messages begin with the whole value, however large


@cache
def manifest_schema() -> Mapping[str, Any]:
    """The schema that every manifest meets."""
    return json.loads(resources.files("exporter.bundle").joinpath("manifest.schema.json").read_text("utf-8"))  # type: ignore[no-any-return]


@cache
def _checker() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(manifest_schema())


def violations(manifest: Any) -> list[tuple[str, str]]:
    """Each violation as (where, what is wrong); `where` is "artifacts[0].bytes", or "" for the whole."""
    try:
        return [_words(error) for error in islice(_checker().iter_errors(manifest), MAX_PROBLEMS)]
    except RecursionError:
        return [("", "is nested too deeply")]


def _words(error: Any) -> tuple[str, str]:
    """One jsonschema.ValidationError; a missing key is in its place, as every other problem."""
    where, message = error.json_path, error.message
    if error.validator == "required":  # the message is "'name' is a required property"
        missing = next(key for key in error.validator_value if message.startswith(repr(key)))
        where, message = f"{where}.{missing}", "is missing"
    short = message if len(message) <= MAX_WORDS else f"…{message[-MAX_WORDS:]}"
    return where.removeprefix("$").removeprefix("."), short
