"""The header reader against the `safetensors` package: agrees on valid files, and refuses whatever else comes."""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from exporter.checkpoint.safetensors_header import MAX_DIAGNOSTICS, read_header
from exporter.checkpoint.tensors import Shard, TensorStore
from exporter.errors import InputError, KogataError

DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.uint8, np.bool_)
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def encode(entries: object, data: bytes = b"", *, pad: int = 0) -> bytes:
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    header += b" " * pad
    return struct.pack("<Q", len(header)) + header + data


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def load(path: Path) -> TensorStore:
    return TensorStore([Shard(path, path.name, read_header(path, path.name))])


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def refusal(tmp_path: Path, content: bytes) -> InputError:
    with pytest.raises(InputError) as error:
        read_header(write(tmp_path / "m.safetensors", content), "m.safetensors")
    return error.value


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    count = int(np.prod(shape)) * dtype.itemsize
    raw = draw(st.binary(min_size=count, max_size=count))
    if dtype == np.bool_:
        raw = bytes(byte & 1 for byte in raw)
    return np.frombuffer(raw, dtype).reshape(shape)


@given(tensors=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), arrays(), max_size=5))
@RELAXED
def test_valid_files_read_the_same_as_the_safetensors_package(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    tensors.pop("__metadata__", None)
    path = write(tmp_path / "m.safetensors", safetensors.numpy.save(tensors, metadata={"format": "pt"}))
    store = load(path)
    assert sorted(store) == sorted(tensors)
    for name, expected in tensors.items():
        actual = store[name].numpy()
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        assert actual.tobytes() == expected.tobytes()
        assert store[name].tobytes() == expected.tobytes()


VALID = safetensors.numpy.save(
    {
        "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array(2.5, np.float16),
        "c": np.zeros((0, 4), ml_dtypes.bfloat16),
        "d.bias": np.arange(4, dtype=np.int64),
    },
    metadata={"format": "pt"},
)
DATA_BYTES = len(VALID) - 8 - int.from_bytes(VALID[:8], "little")
SNIPPETS = st.sampled_from(
    [b"-", b"0", b"9", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\ud800", b"null", b"true", b"1e3", b"NaN",
     b"\xff", b"\x00", b"1.0", b"99999999999999999999999", b'"a":', b'"F64"', b'"dtype":"F32",', b"{" * 2000]
)  # fmt: skip


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """`VALID` after some edits: bytes replaced, cut out, put in, or the end cut off."""
    content = VALID
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 8))
        new = draw(st.one_of(SNIPPETS, st.binary(max_size=8), st.just(b"")))
        content = content[:at] + new + content[at + length :]
        if draw(st.booleans()):  # a consistent header length, so that the JSON itself is what is wrong
            content = struct.pack("<Q", max(0, len(content) - 8 - DATA_BYTES)) + content[8:]
    return content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content


@given(content=mutations())
@settings(RELAXED, max_examples=400)
def test_a_damaged_file_is_refused_or_reads_as_the_safetensors_package_reads_it(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "m.safetensors", content)
    try:
        store = load(path)
        actual = {name: (store[name].numpy().shape, store[name].tobytes()) for name in store}
    except KogataError:
        return
    expected = {name: (tuple(info["shape"]), bytes(info["data"])) for name, info in safetensors.deserialize(content)}
    assert actual == expected


@given(
    entries=st.dictionaries(
        st.sampled_from(["a", "b", "__metadata__"]),
        st.one_of(
            st.fixed_dictionaries(
                {
                    "dtype": st.sampled_from(["F32", "F4", "U8", "X", 3, None]),
                    "shape": st.lists(st.one_of(st.integers(-2, 9), st.just(2**62), st.booleans()), max_size=4),
                    "data_offsets": st.lists(st.integers(-1, 20), min_size=1, max_size=3),
                }
            ),
            st.dictionaries(st.text(max_size=3), st.one_of(st.text(max_size=3), st.integers()), max_size=2),
            st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=3), st.lists, max_leaves=4),
        ),
    ),
    data=st.binary(max_size=20),
)
@settings(RELAXED, max_examples=300)
def test_any_header_object_is_refused_or_covers_the_data_exactly(tmp_path: Path, entries: object, data: bytes) -> None:
    path = write(tmp_path / "m.safetensors", encode(entries, data))
    try:
        header = read_header(path, "m.safetensors")
    except InputError:
        return
    assert sum(tensor.nbytes for tensor in header.tensors) == len(data)
    end = path.stat().st_size - len(data)
    for tensor in header.tensors:
        assert tensor.offset == end
        end += tensor.nbytes


def test_every_truncation_of_a_valid_file_is_refused(tmp_path: Path) -> None:
    for length in range(len(VALID)):
        assert refusal(tmp_path, VALID[:length]).diagnostics[0].code in (
            "checkpoint.truncated",
            "checkpoint.safetensors",
        )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "header length"),
        (struct.pack("<Q", 100_000_001) + b"{}", "header length"),
        (struct.pack("<Q", 2**63) + b"{}", "header length"),
        (struct.pack("<Q", 5000) + b"{}", "truncated"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS"),
        (encode([]), "not a JSON object"),
        (encode(b' {"a":1}'), "not a JSON object"),
        (encode(b'{"a":1,"a":2}'), "'a' occurs twice"),
        (encode(b'{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}', b"1234"), "occurs twice"),
        (encode(b'{"a":NaN}'), "out of range"),
        (encode(b'{"a":-0}'), "out of range"),
        (encode(b'{"a":' + b"9" * 5000 + b"}"), "out of range"),
        (encode(b'{"a":' + b"[" * 100_000), "nested too deeply"),
        (encode(b'{"\xff":1}'), "not UTF-8"),
        (encode(b'{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"), "not valid Unicode"),
        (encode({"__metadata__": {"a": 1}}), "__metadata__"),
        (encode({"a": entry("F33", [], 0, 4)}, b"1234"), "unknown dtype 'F33'"),
        (encode({"a": entry("F32", [True], 0, 4)}, b"1234"), "no valid shape"),
        (encode({"a": entry("F32", [-1], 0, 4)}, b"1234"), "can't be read"),
        (encode({"a": entry("F32", [1.0], 0, 4)}, b"1234"), "no valid shape"),
        (encode({"a": entry("F32", [2**40, 2**40], 0, 4)}, b"1234"), "impossible shape"),
        (encode({"a": entry("F32", [0, 2**62, 2**62], 0, 0)}), "impossible shape"),
        (encode({"a": entry("F32", [1] * 33, 0, 4)}, b"1234"), "impossible shape"),
        (encode({"a": entry("F32", [1], 4, 0)}, b"1234"), "no valid data_offsets"),
        (encode({"a": entry("F32", [2], 0, 4)}, b"1234"), "has 4 bytes; its dtype F32 and shape [2] need 8"),
        (encode({"a": entry("F4", [3], 0, 2)}, b"12"), "need 2"),
        (encode({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"123"), "overlaps"),
        (encode({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, b"123"), "gap"),
        (encode({"a": entry("U8", [1], 1, 2)}, b"12"), "gap"),
        (encode({"a": entry("U8", [1], 0, 1)}, b"123"), "2 bytes after the last tensor"),
        (encode({"a": entry("U8", [5], 0, 5)}, b"123"), "truncated"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in str(refusal(tmp_path, content))


def test_all_problems_come_at_once_and_name_their_tensors(tmp_path: Path) -> None:
    error = refusal(tmp_path, encode({"a": entry("X", [], 0, 0), "b": 3, "c": entry("U8", [9], 0, 1)}, b"1"))
    assert [diagnostic.where for diagnostic in error.diagnostics] == [f"m.safetensors: {name}" for name in "abc"]


def test_a_header_wrong_in_every_tensor_is_reported_in_bounded_length(tmp_path: Path) -> None:
    error = refusal(tmp_path, encode({f"t{i}": 0 for i in range(500)}))
    assert len(error.diagnostics) == MAX_DIAGNOSTICS + 1
    assert f"{500 - MAX_DIAGNOSTICS} more" in error.diagnostics[-1].message


def test_a_header_padded_with_spaces_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", encode({"a": entry("U8", [1], 0, 1)}, b"x", pad=100))
    assert load(path)["a"].tobytes() == b"x"
