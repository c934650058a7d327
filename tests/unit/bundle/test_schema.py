"""The schema accepts what is written, and a spoiled manifest is refused with every problem, never with a traceback."""

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
from exporter.bundle.schema import MAX_PROBLEMS, MAX_WORDS, manifest_schema, violations
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


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoiled_manifest_is_read_or_refused_but_never_crashes(
    manifest: dict[str, Any], tmp_path: Path, data: st.DataObject
) -> None:
    spoiled = copy.deepcopy(manifest)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(spoiled)[1:]))
        parent = holder(spoiled, path)
        if data.draw(st.booleans()):
            del parent[path[-1]]
        else:
            parent[path[-1]] = data.draw(STRANGE)
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(spoiled))
    refused = "Infinity" in file.read_text() or not jsonschema.Draft202012Validator(manifest_schema()).is_valid(spoiled)
    wheres = []
    try:
        read_manifest(file).to_bytes()
    except InputError as error:
        wheres = [diagnostic.where for diagnostic in error.diagnostics]
    assert all(where.startswith("manifest.json") for where in wheres)
    assert wheres or not refused


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", True),
        ("name", ""),
        ("name", 3),
        ("context", False),
        ("context", 0),
        ("context", 2.5),
        ("languages", [""]),
        ("model.family", None),
        ("source.digest", "sha256:" + "A" * 64),
        ("source.license", ""),
        ("compression.bpw", "4"),
        ("compression.tensors", {}),
        ("artifacts", []),
        ("artifacts.0.kind", "tflite"),
        ("artifacts.0.files", []),
        ("artifacts.0.bytes", None),
        ("tools.kogata", ""),
        ("tools.numpy", None),
    ],
)
def test_the_schema_is_strict(manifest: dict[str, Any], path: str, value: Any) -> None:
    keys = [int(key) if key.isdecimal() else key for key in path.split(".")]
    assert not manifest_problems(manifest)
    holder(manifest, tuple(keys))[keys[-1]] = value
    where = path.replace(".0", "[0]")
    assert any(problem.where.startswith(f"manifest.json: {where}") for problem in manifest_problems(manifest))


def test_a_whole_number_with_a_point_is_an_integer(manifest: dict[str, Any], tmp_path: Path) -> None:
    manifest["context"] = 128.0
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert repr(read_manifest(tmp_path / "manifest.json").context) == "128"


def test_all_violations_come_at_once_with_their_place(manifest: dict[str, Any]) -> None:
    del manifest["name"]
    manifest["context"] = 0
    manifest["artifacts"][0]["bytes"] = "many"
    manifest["source"]["digest"] = "md5:1"
    io = manifest["io"].popitem()[0]
    manifest["io"][io] = {"inputs": [], "outputs": [{"name": "x", "dtype": "", "shape": []}], "states": []}
    assert set(violations(manifest)) == {
        ("name", "is missing"),
        ("context", "0 is less than the minimum of 1"),
        ("artifacts[0].bytes", "'many' is not of type 'integer'"),
        ("source.digest", "'md5:1' does not match '^sha256:[0-9a-f]{64}$'"),
        (f"io['{io}'].outputs[0].dtype", "'' should be non-empty"),
    }


def test_a_hostile_manifest_is_refused_in_few_words(manifest: dict[str, Any]) -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert violations({**manifest, "name": nested}) == [("", "is nested too deeply")]
    (problem,) = violations({**manifest, "name": ["x" * 1000] * 1000})
    assert problem[0] == "name"
    assert problem[1].endswith("is not of type 'string'")
    assert len(problem[1]) == MAX_WORDS + 1
    assert len(violations({**manifest, "languages": [0] * 10_000})) == MAX_PROBLEMS


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
