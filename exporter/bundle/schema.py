"""Checks a JSON value against `manifest.schema.json`, and says everything that is wrong with it at once.

Only the keywords that the schema uses are known; any other is an error in the schema. The tests hold this against
the `jsonschema` package, so that `verify` needs no dependency for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

_ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description"}
_KNOWN = _ANNOTATIONS | {
    "$ref", "additionalProperties", "anyOf", "const", "enum", "items", "minItems", "minLength", "minimum",
    "pattern", "properties", "required", "type",
}  # fmt: skip
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "integer": (int, float),  # 1.0 is an integer in JSON Schema
}


@cache
def manifest_schema() -> Mapping[str, Any]:
    """The schema that every manifest meets."""
    return json.loads(resources.files("exporter.bundle").joinpath("manifest.schema.json").read_text("utf-8"))  # type: ignore[no-any-return]


def violations(value: Any, schema: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, str]]:
    """Each violation in `value` as (where, what is wrong); `where` is "artifacts[0].bytes", "" the whole."""
    unknown = set(schema) - _KNOWN
    if unknown:
        raise RuntimeError(f"the schema uses {sorted(unknown)}, which this reader does not know")
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        yield from violations(value, manifest_schema()["$defs"][name], where)
    if "const" in schema and not _same(value, schema["const"]):
        yield where, f"must be {json.dumps(schema['const'])}"
    if "enum" in schema and not any(_same(value, option) for option in schema["enum"]):
        yield where, f"must be one of {', '.join(json.dumps(option) for option in schema['enum'])}"
    if "anyOf" in schema and all(any(violations(value, option, where)) for option in schema["anyOf"]):
        yield where, "has a wrong type or value"
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(_is(value, name) for name in types):
        yield where, f"must be of type {' or '.join(types)}"
    elif isinstance(value, dict):
        yield from _object(value, schema, where)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield where, "must not be empty"
        for index, item in enumerate(value):
            yield from violations(item, schema.get("items", {}), f"{where}[{index}]")
    else:
        yield from _scalar(value, schema, where)


def _object(value: dict[str, Any], schema: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    prefix = f"{where}." if where else ""
    for key in schema.get("required", []):
        if key not in value:
            yield f"{prefix}{key}", "is missing"
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", {})
    for key, item in value.items():
        yield from violations(item, properties.get(key, others), f"{prefix}{key}")


def _scalar(value: Any, schema: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            yield where, "must not be empty"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield where, f"must look like {schema['pattern']}"
    elif _is(value, "number") and "minimum" in schema and not value >= schema["minimum"]:
        yield where, f"must be at least {schema['minimum']}"


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _same(value: Any, other: Any) -> bool:
    """Equal in JSON, where true is not 1."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)
