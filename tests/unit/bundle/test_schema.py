"""Our reader of the schema agrees with the `jsonschema` package, on good manifests and on spoiled ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.bundle import BundlePlan, finish_bundle, read_manifest
from exporter.bundle.manifest import manifest_problems
from exporter.bundle.schema import manifest_schema, violations
from exporter.errors import InputError

STRANGE = st.sampled_from(
    [None, True, False, 0, 1, -1, 1.0, 2.5, 1e999, "", "x", [], ["x"], [1], {}, {"x": 1}, "sha256:"]
).map(copy.deepcopy)  # a later spoiling may go into a list that an earlier one put there


@pytest.fixture
def manifest(decoder_plan: BundlePlan, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "bundle").mkdir()
    finish_bundle(decoder_plan, tmp_path / "bundle")
    return json.loads((tmp_path / "bundle" / "manifest.json").read_bytes())


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


def holder(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(manifest_schema())


def test_a_written_manifest_is_valid_for_both(manifest: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(manifest_schema()).validate(manifest)
    assert not list(violations(manifest, manifest_schema()))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_both_judge_spoiled_manifests_alike(manifest: dict[str, Any], data: st.DataObject) -> None:
    spoiled = copy.deepcopy(manifest)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(spoiled)[1:]))
        parent = holder(spoiled, path)
        if data.draw(st.booleans()):
            del parent[path[-1]]
        else:
            parent[path[-1]] = data.draw(STRANGE)
    judged = jsonschema.Draft202012Validator(manifest_schema()).is_valid(spoiled)
    assert judged == (not list(violations(spoiled, manifest_schema())))
    manifest_problems(spoiled)  # must not raise, whatever it is


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_manifest_is_read_or_refused_but_never_crashes(
    manifest: dict[str, Any], tmp_path: Path, data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(places(manifest)[1:]))
    spoiled = copy.deepcopy(manifest)
    holder(spoiled, path)[path[-1]] = data.draw(STRANGE)
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(spoiled))
    places_named = []
    try:
        read_manifest(file)
    except InputError as error:
        places_named = [diagnostic.where for diagnostic in error.diagnostics]
    assert all(where.startswith("manifest.json") for where in places_named)


def test_all_violations_come_at_once_with_their_place(manifest: dict[str, Any]) -> None:
    del manifest["name"]
    manifest["context"] = 0
    manifest["artifacts"][0]["bytes"] = "many"
    manifest["source"]["digest"] = "md5:1"
    assert {where for where, _ in violations(manifest, manifest_schema())} == {
        "name",
        "context",
        "artifacts[0].bytes",
        "source.digest",
    }


def test_a_keyword_that_the_reader_does_not_know_is_an_error_of_the_schema() -> None:
    with pytest.raises(RuntimeError, match="maxItems"):
        list(violations([], {"maxItems": 1}))


def test_a_written_manifest_has_no_field_that_the_schema_does_not_name(manifest: dict[str, Any]) -> None:
    def undeclared(value: Any, schema: dict[str, Any], where: str) -> list[str]:
        if "$ref" in schema:
            schema = schema | manifest_schema()["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        if isinstance(value, list):
            return [u for v in value for u in undeclared(v, schema.get("items", {}), f"{where}[]")]
        if not isinstance(value, dict):
            return []
        known, rest = schema.get("properties", {}), schema.get("additionalProperties")
        own = [f"{where}.{key}" for key in value if key not in known and rest is None]
        return own + [u for k, v in value.items() for u in undeclared(v, known.get(k, rest or {}), f"{where}.{k}")]

    # Tensors carry what compression knows of them besides, such as their PSNR.
    assert undeclared(manifest, dict(manifest_schema()), "") == [".compression.tensors[].psnr_db"]
