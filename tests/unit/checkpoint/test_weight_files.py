"""Where weights may lie, and what is said when they don't."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import DType, tiny_llama
from safetensors.numpy import save_file
from safetensors.torch import load_file

from exporter.checkpoint import open_checkpoint
from exporter.errors import InputError, KogataError, UnsupportedError

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def sharded(folder: Path) -> Path:
    (folder / "model.safetensors").unlink()
    save_file({"a": np.ones(2, np.float32), "b": np.zeros(3, np.float16)}, folder / ONE)
    save_file({"c": np.full((2, 2), 7, np.float32)}, folder / TWO)
    write_index(folder, {"a": ONE, "b": ONE, "c": TWO})
    return folder


def write_index(folder: Path, weight_map: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def messages(folder: Path, kind: type[KogataError] = InputError) -> list[str]:
    with pytest.raises(kind) as error:
        open_checkpoint(folder)
    return [diagnostic.message for diagnostic in error.value.diagnostics]


def test_shards_read_as_one_store(sharded: Path) -> None:
    store = open_checkpoint(sharded).tensors
    assert list(store) == ["a", "b", "c"]
    assert store["c"].numpy().tolist() == [[7, 7], [7, 7]]
    assert store.parameters == 2 + 3 + 4
    assert [path.name for path in store.files] == [ONE, TWO]


def test_every_missing_shard_is_named(sharded: Path) -> None:
    (sharded / ONE).unlink()
    (sharded / TWO).unlink()
    assert messages(sharded) == [f"the shard {ONE} is missing", f"the shard {TWO} is missing"]


def test_index_and_shards_must_agree_both_ways(sharded: Path) -> None:
    write_index(sharded, {"a": ONE, "b": TWO, "c": TWO})
    assert messages(sharded) == [f"{ONE} holds b, which the index doesn't list", f"{TWO} lacks b"]


def test_a_tensor_in_two_shards_is_refused(sharded: Path) -> None:
    save_file({"a": np.ones(1, np.float32), "c": np.ones(1, np.float32)}, sharded / TWO)
    assert messages(sharded)[0] == f"both {ONE} and {TWO} hold a"


@pytest.mark.parametrize(
    "name",
    ["../secret.safetensors", "/etc/secret.safetensors", "sub/x.safetensors", "..", "", ".safetensors",
     "a\\b.safetensors", "x.safetensors\n", "x\0.safetensors", "model.bin", 3, None, ["x"]],
)  # fmt: skip
def test_an_index_can_only_name_files_of_its_folder(sharded: Path, name: object) -> None:
    save_file({"c": np.zeros(1, np.float32)}, sharded.parent / "secret.safetensors")
    write_index(sharded, {"a": ONE, "b": ONE, "c": name})
    assert "is not a file of the folder" in messages(sharded)[0]


def test_a_shard_that_links_out_of_the_folder_is_refused(sharded: Path) -> None:
    os.replace(sharded / TWO, sharded.parent / "outside.safetensors")
    (sharded / TWO).symlink_to(sharded.parent / "outside.safetensors")
    assert messages(sharded) == [f"{TWO} is a symbolic link that leaves the checkpoint folder"]


def test_a_shard_that_links_inside_the_folder_is_read(sharded: Path) -> None:
    os.replace(sharded / TWO, sharded / "blob")
    (sharded / TWO).symlink_to("blob")
    assert open_checkpoint(sharded).tensors["c"].numpy().sum() == 28


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": {}}', '{"weight_map": []}', "{", '{"weight_map":' * 5000])
def test_a_malformed_index_is_an_input_error(sharded: Path, text: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(text)
    assert len(messages(sharded)) == 1


def test_damage_in_several_shards_comes_at_once(sharded: Path) -> None:
    for name in (ONE, TWO):
        os.truncate(sharded / name, 30)
    assert [message.split()[0] for message in messages(sharded)] == [ONE, TWO]


def test_a_single_file_wins_over_an_index_as_in_transformers(sharded: Path) -> None:
    save_file({"whole": np.zeros(1, np.float32)}, sharded / "model.safetensors")
    assert list(open_checkpoint(sharded).tensors) == ["whole"]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.ckpt", "pytorch_model-1-of-2.bin"])
def test_pickles_are_never_opened_and_the_way_out_is_told(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"\x80\x04cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(InputError) as error:
        open_checkpoint(folder)
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == "checkpoint.pickle"
    assert name in diagnostic.message
    assert "save_pretrained" in diagnostic.hint
    assert "safe_serialization=True" in diagnostic.hint


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("model.gguf", "GGUF"),
        ("tf_model.h5", "TensorFlow"),
        ("model.onnx", "ONNX"),
        ("consolidated.safetensors", "found consolidated.safetensors"),
        ("notes.txt", "there are no weights"),
    ],
)
def test_other_formats_are_named(folder: Path, name: str, says: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"x")
    assert says in messages(folder)[0]


def test_an_adapter_is_unsupported(folder: Path) -> None:
    os.replace(folder / "model.safetensors", folder / "adapter_model.safetensors")
    assert "adapter" in messages(folder, UnsupportedError)[0]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_transformers_saves_in_shards_is_read_bit_for_bit(tmp_path: Path, dtype: DType) -> None:
    tiny_llama(tmp_path, dtype=dtype, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    expected = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    store = open_checkpoint(tmp_path).tensors
    assert sorted(store) == sorted(expected)
    for name, tensor in expected.items():
        bits = tensor.view(torch.int32 if dtype == "float32" else torch.int16).numpy()
        np.testing.assert_array_equal(store[name].numpy().view(bits.dtype), bits)
