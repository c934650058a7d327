"""Opening folders: what is found, and how everything that can be wrong ends in one clear error."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.tokens.shipping import shipped_tokenizer
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.errors import ExitCode, InputError, KogataError, UnsupportedError


def refusal(reference: Path | str, kind: type[KogataError] = InputError, revision: str | None = None) -> KogataError:
    with pytest.raises(kind) as error:
        open_checkpoint(reference, revision=revision)
    return error.value


def codes(error: KogataError) -> list[str]:
    return [diagnostic.code for diagnostic in error.diagnostics]


def test_a_whole_folder_opens(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"eos_token_id": 2}')
    checkpoint = open_checkpoint(folder)
    assert checkpoint.root == folder
    assert checkpoint.name == "tiny"
    assert checkpoint.config["model_type"] == "llama"
    assert checkpoint.generation_config == {"eos_token_id": 2}
    assert sorted(checkpoint.tensors) == ["model.embed.weight", "model.norm.weight"]
    assert sorted(checkpoint.tokenizer_files) == ["tokenizer.json", "tokenizer_config.json"]
    assert checkpoint.chat_template is None
    assert checkpoint.sentence is None
    assert checkpoint.source.repo is None
    assert checkpoint.source.revision is None
    assert checkpoint.source.license is None


def test_the_digest_is_that_of_sha256sums_listing(folder: Path) -> None:
    (folder / "README.md").write_text("not part of the model")
    names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    listing = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    assert open_checkpoint(folder).source.digest == f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_the_digest_depends_on_every_file_that_matters_and_not_on_the_place(folder: Path, name: str) -> None:
    before = open_checkpoint(folder).source.digest
    other = folder.parent / "elsewhere"
    shutil.copytree(folder, other)
    assert open_checkpoint(other).source.digest == before
    data = bytearray((other / name).read_bytes())
    if name == "model.safetensors":
        data[-1] ^= 1
    else:
        data += b"\n"
    (other / name).write_bytes(data)
    assert open_checkpoint(other).source.digest != before


def test_everything_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text("[")
    error = refusal(tmp_path)
    assert codes(error) == ["checkpoint.config", "checkpoint.json", "checkpoint.weights"]
    assert error.exit_code == ExitCode.INPUT


DEEP = '{"a":' * 200_000
CONFIGS = [
    "", "{", "[]", "null", "3", '"x"', "{'a': 1}", DEEP, "[" * 200_000, '{"a": 1e999}', '{"a": -1e999}',
    '{"hidden_size": 9223372036854775808}', '{"a": ' + "9" * 5000 + "}", '{"a": -99999999999999999999}',
]  # fmt: skip


@pytest.mark.parametrize("text", CONFIGS, ids=range(len(CONFIGS)))
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_malformed_config_is_an_input_error_that_names_it(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    error = refusal(folder)
    assert codes(error) == ["checkpoint.json"]
    assert error.diagnostics[0].where == name
    assert len(str(error)) < 300


def test_a_config_that_is_not_utf8_is_an_input_error(folder: Path) -> None:
    (folder / "config.json").write_bytes(b'{"a": "\xff"}')
    assert codes(refusal(folder)) == ["checkpoint.encoding"]


def test_a_config_of_hostile_size_is_not_read_into_memory(folder: Path) -> None:
    with (folder / "config.json").open("wb") as file:
        file.truncate(10 << 30)  # sparse: takes no disk
    assert codes(refusal(folder)) == ["checkpoint.too_large"]


KEYS = st.sampled_from(["type", "path", "chat_template", "default", "model_type", "auto_map", "normalizer"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(
        ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "modules.json",
         "special_tokens_map.json", "chat_template.json", "README.md", "model.safetensors.index.json"]
    ),
    content=st.one_of(
        st.binary(max_size=40),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
            max_leaves=6,
        ).map(lambda value: json.dumps(value).encode()),
    ),
)  # fmt: skip
def test_any_content_of_any_file_opens_or_is_a_kogata_error(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    exit_code = ExitCode.OK
    try:
        open_checkpoint(folder)
    except KogataError as error:
        exit_code = error.exit_code
    finally:
        path.unlink() if before is None else path.write_bytes(before)
    assert exit_code in (ExitCode.OK, ExitCode.INPUT, ExitCode.UNSUPPORTED)


def test_a_model_described_only_by_code_is_unsupported_and_never_imported(folder: Path) -> None:
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "modeling_x.Model"}}')
    (folder / "modeling_x.py").write_text("raise SystemExit('executed')")
    assert codes(refusal(folder, UnsupportedError)) == ["checkpoint.custom_code"]


def test_custom_code_beside_a_known_model_type_is_simply_not_used(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "minicpm", "auto_map": {"AutoModel": "modeling_x.Model"}}')
    assert open_checkpoint(folder).config["model_type"] == "minicpm"


def test_a_checkpoint_opens_without_a_tokenizer_and_only_loading_one_fails(folder: Path) -> None:
    """Vision models have none."""
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    checkpoint = open_checkpoint(folder)
    assert checkpoint.tokenizer_files == {}
    assert shipped_tokenizer(checkpoint, None).files == {}
    with pytest.raises(InputError, match="there is no tokenizer"):
        load_tokenizer(checkpoint)
    (folder / "tekken.json").write_text("{}")
    with pytest.raises(InputError, match=r"the only tokenizer is tekken\.json"):
        load_tokenizer(open_checkpoint(folder))


def test_a_model_that_is_published_without_its_tokenizer_names_the_one_it_needs(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "config.json").write_text('{"model_type": "openelm"}')
    with pytest.raises(InputError) as error:
        load_tokenizer(open_checkpoint(folder))
    assert "Llama-2-7b-hf" in error.value.diagnostics[0].hint


def test_symbolic_links_out_of_the_folder_are_refused_for_every_kind_of_file(folder: Path) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).rename(folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)
    assert codes(refusal(folder)) == ["checkpoint.symlink"] * 3


def test_a_link_to_nowhere_and_a_loop_are_input_errors(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("gone")
    (folder / "generation_config.json").symlink_to("generation_config.json")
    assert codes(refusal(folder)) == ["checkpoint.unreadable"] * 2


def test_a_folder_or_a_fifo_in_place_of_a_file_is_an_input_error(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    os.mkfifo(folder / "generation_config.json")  # opening it would wait forever
    assert codes(refusal(folder)) == ["checkpoint.unreadable"] * 2


def test_a_file_instead_of_a_folder(folder: Path) -> None:
    error = refusal(folder / "model.safetensors")
    assert codes(error) == ["checkpoint.not_a_folder"]
    assert "accepted" in error.diagnostics[0].hint


@pytest.mark.parametrize("reference", ["", "no-such-folder", "./a/b", "/no/such", "a/b/c", "a\0b", "../x", "~nobody/x",
                                       "org/na me", "org/..", "org/a--b", "org/x.git", "x" * 5000, "a/\n"])  # fmt: skip
def test_a_reference_that_can_be_nothing_is_refused_without_asking_the_hub(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("exporter.checkpoint.huggingface.download", lambda *_: pytest.fail("the hub was asked"))
    error = refusal(reference)
    assert codes(error) == ["checkpoint.not_found"]
    assert "accepted" in error.diagnostics[0].hint


@pytest.mark.parametrize(
    "reference",
    ["gpt-4o-mini", "gpt-4o", "GPT-4o-mini", "openai/gpt-4o-mini", "o3-mini", "chatgpt", "gpt-3.5-turbo",
     "gemini-flash", "google/gemini-2.5-flash", "claude-haiku", "anthropic/claude-3-5-haiku", "sensechat-lite"],
)  # fmt: skip
def test_closed_models_are_said_to_publish_no_weights(reference: str) -> None:
    error = refusal(reference)
    assert codes(error) == ["checkpoint.closed_model"]
    assert "publish no weights" in str(error)


def test_a_local_folder_named_like_a_closed_model_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.rename(folder.parent / "claude-haiku")
    monkeypatch.chdir(folder.parent)
    assert open_checkpoint("claude-haiku").name == "claude-haiku"


def test_a_revision_of_a_local_folder_is_refused(folder: Path) -> None:
    assert codes(refusal(folder, revision="main")) == ["checkpoint.revision"]


@pytest.mark.parametrize(
    ("name", "slug"),
    [("My Model (v2)", "My-Model-v2"), ("日本語", "model"), ("naïve", "naive"), (".hidden-", "hidden"),
     ("a" * 90, "a" * 64), ("Qwen2.5-0.5B", "Qwen2.5-0.5B"), ("a; rm -rf $HOME", "a-rm-rf-HOME")],
)  # fmt: skip
def test_the_name_is_safe_as_a_file_name(folder: Path, name: str, slug: str) -> None:
    folder.rename(folder.parent / name)
    assert open_checkpoint(folder.parent / name).name == slug


def test_a_linked_folder_is_named_as_the_user_named_it(folder: Path) -> None:
    (folder.parent / "mine").symlink_to(folder)
    checkpoint = open_checkpoint(folder.parent / "mine")
    assert checkpoint.name == "mine"
    assert checkpoint.tensors["model.norm.weight"].numpy().tolist() == [1.0, -2.0, 0.5]


def test_opening_imports_neither_torch_nor_transformers_nor_the_hub_client(folder: Path) -> None:
    code = (
        "import sys; from exporter.checkpoint import open_checkpoint\n"
        "from exporter.checkpoint.tokens.tokenizer import load_tokenizer\n"
        "checkpoint = open_checkpoint(sys.argv[1]); load_tokenizer(checkpoint).encode('hello')\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'onnx_ir', 'numpy', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
