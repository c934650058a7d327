"""Laziness, sharing of mappings, dtypes and totals of the tensor store."""

import gc
import os
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from safetensors.numpy import save_file

from exporter.checkpoint.safetensors_header import read_header
from exporter.checkpoint.tensors import Shard, TensorStore
from exporter.errors import InputError, UnsupportedError


def store_of(path: Path) -> TensorStore:
    return TensorStore([Shard(path, path.name, read_header(path, path.name))])


def mappings(path: Path) -> int:
    """Distinct mappings of `path` in this process (the kernel may list one in several pieces)."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum(line.endswith(str(path)) and line.split()[2] == "00000000" for line in lines)


needs_proc = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts mappings through /proc")


def test_each_tensor_has_its_dtype_shape_and_values(tmp_path: Path) -> None:
    arrays = {
        "f32": np.array([[1.5, -2.0]], np.float32),
        "f16": np.array([1.0, 65504.0], np.float16),
        "bf16": np.array([[3.0]], ml_dtypes.bfloat16),
        "f64": np.array(0.1),
        "i64": np.arange(3),
        "bool": np.array([True, False]),
        "u8": np.array([255], np.uint8),
        "empty": np.zeros((0, 7), np.float32),
    }
    save_file(arrays, tmp_path / "m.safetensors")
    store = store_of(tmp_path / "m.safetensors")
    for name, expected in arrays.items():
        tensor = store[name]
        assert isinstance(tensor, ir.TensorProtocol)
        assert tensor.name == name
        assert tuple(tensor.shape.numpy()) == expected.shape
        assert tensor.dtype.numpy() == expected.dtype
        np.testing.assert_array_equal(tensor.numpy(), expected, strict=True)


def test_totals_count_every_stored_tensor_once_and_buffers_are_no_parameters(tmp_path: Path) -> None:
    save_file(
        {"w": np.zeros((3, 4), np.float32), "h": np.zeros(5, np.float16), "position_ids": np.arange(6)},
        tmp_path / "m.safetensors",
    )
    store = store_of(tmp_path / "m.safetensors")
    assert store.parameters == 12 + 5
    assert store.total_bytes == 48 + 10 + 48
    assert store.dtypes == {"F16": 5, "F32": 12, "I64": 6}
    assert list(store) == ["h", "position_ids", "w"]


def test_fp8_is_listed_and_refused_only_when_asked_for(tmp_path: Path) -> None:
    header = (
        b'{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},'
        b'"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}'
    )
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"abc")
    store = store_of(path)
    assert "a" in store
    assert store.total_bytes == 3
    assert store.stored["a"].dtype == "F8_E4M3"
    assert store["b"].tobytes() == b"c"
    with pytest.raises(UnsupportedError, match="a is stored as F8_E4M3"):
        store["a"]


def test_an_unaligned_tensor_is_read_right(tmp_path: Path) -> None:
    header = (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}'
    )
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"x" + np.array([1.5, 2.5], "<f4").tobytes())
    array = store_of(path)["b"].numpy()
    assert array.flags.aligned
    np.testing.assert_array_equal(array, np.array([1.5, 2.5], np.float32))


@needs_proc
def test_a_file_is_mapped_once_while_arrays_live_and_not_at_all_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({f"t{i:03}": np.full(2000, i, np.float32) for i in range(300)}, path)
    store = store_of(path)
    tensors = [store[name] for name in store]
    assert mappings(path) == 0
    before = len(os.listdir("/proc/self/fd"))
    arrays = [tensor.numpy() for tensor in tensors]
    assert mappings(path) == 1
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    del arrays
    gc.collect()
    assert mappings(path) == 0


@needs_proc
def test_a_large_tensor_is_mapped_alone_and_only_while_it_lives(tmp_path: Path) -> None:
    """Its pages count as this process's memory: they must not stay for a small array's sake."""
    path = tmp_path / "m.safetensors"
    large = np.arange(3 << 20, dtype=np.float32).reshape(3, 1 << 20)
    save_file({"a": np.arange(1001, dtype=np.float16), "b": large, "c": large + 1, "d": np.arange(5)}, path)
    store = store_of(path)

    def mapped() -> list[str]:
        return [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]

    small = store["a"].numpy()
    before = mapped()
    assert len(before) == 1
    for name, expected in (("b", large), ("c", large + 1)):  # they begin in the middle of a page
        array = store[name].numpy()
        np.testing.assert_array_equal(array, expected)
        assert len(mapped()) == 2
        row = array[1]
        del array
        gc.collect()
        np.testing.assert_array_equal(row, expected[1])
        del row
        gc.collect()
        assert mapped() == before
    assert small[1000] == 1000


def test_arrays_are_views_of_the_file_and_read_only(tmp_path: Path) -> None:
    save_file({"w": np.zeros((100, 100), np.float32)}, tmp_path / "m.safetensors")
    array = store_of(tmp_path / "m.safetensors")["w"].numpy()
    assert not array.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_hard_links_are_fine(tmp_path: Path) -> None:
    """Package installers hard-link files from their cache; onnx_ir's own external tensors refuse those."""
    save_file({"w": np.arange(3, dtype=np.float32)}, tmp_path / "m.safetensors")
    os.link(tmp_path / "m.safetensors", tmp_path / "n.safetensors")
    assert store_of(tmp_path / "n.safetensors")["w"].numpy().tolist() == [0, 1, 2]


def test_a_file_cut_after_opening_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"w": np.zeros(5000, np.float32)}, path)
    store = store_of(path)
    os.truncate(path, 200)
    with pytest.raises(InputError, match="changed"):
        store["w"].numpy()
    path.unlink()
    with pytest.raises(InputError, match="can't be read"):
        store["w"].numpy()


def test_a_serialized_graph_holds_the_values_and_no_path(tmp_path: Path) -> None:
    save_file({"w": np.array([1.5, 2.5], np.float16)}, tmp_path / "m.safetensors")
    proto = ir.to_proto(store_of(tmp_path / "m.safetensors")["w"])
    assert proto.raw_data == np.array([1.5, 2.5], np.float16).tobytes()
    assert str(tmp_path).encode() not in proto.SerializeToString()


def test_an_unknown_name_is_a_key_error(tmp_path: Path) -> None:
    save_file({"w": np.zeros(1, np.float32)}, tmp_path / "m.safetensors")
    store = store_of(tmp_path / "m.safetensors")
    assert "v" not in store
    assert store.get("v") is None
    with pytest.raises(KeyError):
        store["v"]
