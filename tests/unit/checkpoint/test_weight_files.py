"""Where weights may lie, and what is said when they don't."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from support.checkpoints import DType, tiny_llama
from transformers import AutoModelForCausalLM

from exporter.checkpoint import open_checkpoint
from exporter.errors import InputError, KogataError, UnsupportedError
from exporter.importers import import_checkpoint

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


def hint(folder: Path, kind: type[KogataError] = InputError) -> str:
    with pytest.raises(kind) as error:
        open_checkpoint(folder)
    return error.value.diagnostics[0].hint


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


def test_the_index_says_which_tensors_there_are_and_not_where(sharded: Path) -> None:
    """As transformers loads shards: all that the index lists, wherever it lies, and nothing else."""
    write_index(sharded, {"a": ONE, "c": ONE, "d": TWO})
    checkpoint = open_checkpoint(sharded)
    assert list(checkpoint.tensors) == ["a", "c"]
    assert checkpoint.tensors["c"].numpy().tolist() == [[7, 7], [7, 7]]
    absent, unlisted = checkpoint.notes
    assert (absent.message, absent.level) == ("the index lists d, which no shard holds", "note")
    assert unlisted.message == "the shards hold b, which the index doesn't list: not read"
    write_index(sharded, {"a": ONE, "b": ONE, "c": TWO})
    assert open_checkpoint(sharded).notes == ()


@pytest.mark.parametrize("entry", ["too many", "too few", "other shard"])
def test_a_wrong_index_gives_what_transformers_loads(entry: str, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path, max_shard_size="20KB")
    index = folder / "model.safetensors.index.json"
    stated = json.loads(index.read_text())
    places, needed = stated["weight_map"], "model.norm.weight"
    shards = sorted(set(places.values()))
    if entry == "too many":
        places["model.layers.9.extra"] = shards[0]
    elif entry == "too few":
        del places[needed]
    else:
        places[needed] = next(shard for shard in shards if shard != places[needed])
    index.write_text(json.dumps(stated))
    _, loaded = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert loaded["missing_keys"] == ([needed] if entry == "too few" else [])
    checkpoint = open_checkpoint(folder)
    assert len(checkpoint.notes) == (entry != "other shard")
    if entry != "too few":
        import_checkpoint(checkpoint)
        return
    with pytest.raises(InputError, match=r"model\.norm\.weight \[\d+\] is missing") as error:
        import_checkpoint(checkpoint)
    assert "doesn't list it" in error.value.diagnostics[0].hint


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
    assert messages(sharded) == [f"{TWO} is a symbolic link to a file outside the checkpoint folder"]


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


def test_variants_and_consolidated_files_get_a_hint_of_their_own(folder: Path) -> None:
    os.replace(folder / "model.safetensors", folder / "model.fp16.safetensors")
    assert "model.fp16.safetensors is a variant: to export it, rename it" in hint(folder)
    os.replace(folder / "model.fp16.safetensors", folder / "consolidated.safetensors")
    assert "authors' own tensor names" in hint(folder)


def test_consolidated_weights_beside_the_shards_are_not_read(sharded: Path) -> None:
    """Mistral ships both: the same values under the names of its own code."""
    before = sorted(open_checkpoint(sharded).tensors)
    save_file({"layers.0.attention.wq.weight": np.zeros(1, np.float32)}, sharded / "consolidated.safetensors")
    (sharded / "original").mkdir()
    (sharded / "original" / "consolidated.00.pth").write_bytes(b"x")
    checkpoint = open_checkpoint(sharded)
    assert sorted(checkpoint.tensors) == before
    assert "consolidated.safetensors" not in checkpoint.source.files


def test_an_adapter_alone_is_unsupported_and_its_model_named(folder: Path) -> None:
    os.replace(folder / "model.safetensors", folder / "adapter_model.safetensors")
    os.remove(folder / "config.json")  # peft writes none
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base", "peft_type": "LORA"}')
    (message,) = messages(folder, UnsupportedError)
    assert "an adapter (LoRA), not a whole model; it belongs to org/base" in message
    assert "merge_and_unload" in hint(folder, UnsupportedError)


def test_an_adapter_beside_a_model_is_refused_and_its_leftover_settings_are_not(folder: Path) -> None:
    """Whether the weights hold the adapter already is not to be seen."""
    (folder / "adapter_config.json").write_text("{}")
    open_checkpoint(folder)
    save_file({"lora_A": np.zeros(1, np.float32)}, folder / "adapter_model.safetensors")
    assert "an adapter (LoRA) beside a model" in messages(folder, UnsupportedError)[0]
    assert "remove the adapter_* files" in hint(folder, UnsupportedError)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "by AWQ"),
        ({"quantization_config": {"quant_method": "gptq"}}, "by GPTQ"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "by bitsandbytes"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "by compressed-tensors"),
        ({"quantization_config": {"quant_method": "fp8"}}, "by FP8"),
        ({"quantization_config": {"bits": 4}}, "by an unnamed method"),
        ({"quantization_config": {"quant_method": ["x"]}}, "by an unnamed method"),
        ({"text_config": {"quantization_config": {"quant_method": "new"}}}, "by new"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "by MLX"),
    ],
)
def test_quantized_weights_are_unsupported_by_name(folder: Path, changes: dict[str, object], says: str) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **changes}))
    (folder / "README.md").write_text("---\nbase_model:\n- org/base\n---\n")
    assert says in messages(folder, UnsupportedError)[0]
    assert hint(folder, UnsupportedError) == "export the model that it was quantized from: org/base"


@pytest.mark.parametrize("settings", [None, {}])
def test_an_empty_quantization_is_none(folder: Path, settings: object) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": settings}))
    open_checkpoint(folder)


def test_folders_that_are_something_else_say_what(folder: Path, tmp_path: Path) -> None:
    os.remove(folder / "config.json")
    (folder / "params.json").write_text("{}")
    assert "Meta's end in -hf" in hint(folder)
    (folder / "model_index.json").write_text("{}")
    assert "diffusers pipeline" in messages(folder, UnsupportedError)[0]
    for step in ("checkpoint-500", "checkpoint-1000"):
        (tmp_path / "run" / step).mkdir(parents=True)
        (tmp_path / "run" / step / "config.json").write_text("{}")
    assert hint(tmp_path / "run") == "pass one of its subfolders: checkpoint-1000, checkpoint-500"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_git_lfs_pointer_is_told_as_such(folder: Path, name: str) -> None:
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    assert messages(folder) == [f"{name} is a Git LFS pointer, not the file itself"]


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
