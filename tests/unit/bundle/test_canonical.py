"""One byte form, and everything that is not it is noticed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bundle.canonical import canonical_json, parse_json, parse_sums, render_sums
from exporter.errors import InputError

A, B = "a" * 64, "b" * 64
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_json_survives_and_has_one_form(value: object) -> None:
    raw = canonical_json(value)
    assert parse_json(raw) == value
    assert canonical_json(parse_json(raw)) == raw
    assert raw.endswith(b"\n")


def test_json_form() -> None:
    assert (
        canonical_json({"b": (1, 2.5), "a": "日本"})
        == '{\n  "a": "日本",\n  "b": [\n    1,\n    2.5\n  ]\n}\n'.encode()
    )


def test_floats_without_json_become_null() -> None:
    assert json.loads(canonical_json([float("inf"), {"x": float("nan")}])) == [None, {"x": None}]


def test_a_lone_surrogate_from_a_hostile_config_stays_readable() -> None:
    assert parse_json(canonical_json({"x": "\ud800"})) == {"x": "\ud800"}


def test_a_config_nested_beyond_reason_is_an_input_error() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InputError):
        canonical_json(deep)


@pytest.mark.parametrize(
    "raw", [b'{"a": 1, "a": 2}', b"NaN", b"[Infinity]", b"\xff", b"{", b"", b"[" * 100_000, b"9" * 5000]
)
def test_what_is_not_strict_json_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  any of its kinds
        parse_json(raw)


def test_sums_are_what_sha256sum_reads(tmp_path: Path) -> None:
    hashes = {}
    for name in ("b c.txt", "a.txt", "日本.txt"):
        (tmp_path / name).write_text(name)
        hashes[name] = subprocess.run(
            ["sha256sum", name], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.split()[0]
    (tmp_path / "SUMS").write_bytes(render_sums(hashes))
    subprocess.run(["sha256sum", "--strict", "-c", "SUMS"], cwd=tmp_path, check=True, capture_output=True)
    assert parse_sums(render_sums(hashes)).hashes == hashes


@pytest.mark.parametrize(
    "raw",
    [
        f"{A}  b\n{A}  a\n",  # not sorted
        f"{A}  a\n{A}  a\n",  # twice
        f"{A}  a\n\n",  # blank line
        f"{A}  a",  # no newline at the end
        f"{A}  a\r\n",
        f"{A} *a\n",  # sha256sum's binary mark
        f"{A.upper()}  a\n",
        f"{A[1:]}  a\n",
        f"# why\n{A}  a\n",
        f"\\{A}  a\n",
        f"{A}  /etc/passwd\n",
        f"{A}  ../a\n",
        f"{A}  a/../../b\n",
        f"{A}  a//b\n",
        f"{A}  ./a\n",
        f"{A}  C:/a\n",
        f"{A}  a\\b\n",
        f"{A}  \n",
        f"{A}  a\x00\n",
        f"\ufeff{A}  a\n",
    ],
)
def test_sums_in_any_other_form_are_a_problem(raw: str) -> None:
    assert parse_sums(raw.encode()).problems


def test_each_problem_says_which_line() -> None:
    problems = parse_sums(f"{A}  a\n{B}  a\n{A}  ../b\nx\n".encode()).problems
    assert problems[0] == "line 2: a is listed twice"
    assert problems[1].startswith("line 3: the path '../b'")
    assert problems[2].startswith("line 4 is not")


def test_a_byte_that_is_no_utf8_spoils_only_its_line() -> None:
    sums = parse_sums(f"{A}  a\n".encode() + f"{B}  b".encode() + b"\xff\n")
    assert sums.hashes == {"a": A}
    assert len(sums.problems) == 1
    assert "line 2" in sums.problems[0]


def test_an_empty_list_is_canonical() -> None:
    assert parse_sums(b"").problems
    assert not parse_sums(render_sums({"a": A})).problems
