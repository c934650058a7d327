"""Hub ids against a cache laid out on disk; the network is never used."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import requests
from huggingface_hub import constants, errors

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.huggingface import is_closed_model, is_hub_id
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.errors import InputError, KogataError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of `org/tiny` at COMMIT as huggingface_hub lays it out: files are links into `blobs`."""
    root = tmp_path / "cache"
    repository = root / "models--org--tiny"
    snapshot = repository / "snapshots" / COMMIT
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(folder.iterdir())):
        shutil.move(path, repository / "blobs" / f"{number:040x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:040x}")
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "refs" / "v1.0").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return root


def code_of(reference: str, revision: str | None = None) -> str:
    with pytest.raises(InputError) as error:
        open_checkpoint(reference, revision=revision)
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.hint
    return diagnostic.code


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT])
def test_the_resolved_commit_is_recorded(cache: Path, revision: str | None) -> None:
    checkpoint = open_checkpoint("org/tiny", revision=revision)
    assert checkpoint.source.repo == "org/tiny"
    assert checkpoint.source.revision == COMMIT
    assert checkpoint.name == "tiny"
    assert checkpoint.tensors["model.norm.weight"].numpy().tolist() == [1.0, -2.0, 0.5]
    assert load_tokenizer(checkpoint).encode("hello world") == [3, 4]
    assert checkpoint.source.digest.startswith("sha256:")


def test_the_path_of_a_snapshot_opens_too_but_proves_no_origin(cache: Path) -> None:
    snapshot = cache / "models--org--tiny" / "snapshots" / COMMIT
    checkpoint = open_checkpoint(snapshot)
    assert (checkpoint.name, checkpoint.source.repo, checkpoint.source.revision) == ("tiny", None, None)
    assert checkpoint.source.digest == open_checkpoint("org/tiny").source.digest


def test_the_environment_is_all_it_takes(cache: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    code = "from exporter.checkpoint import open_checkpoint; print(open_checkpoint('org/tiny').source.revision)"
    run = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert run.stdout.strip() == COMMIT
    assert run.stderr == ""


def test_a_link_out_of_the_repositorys_cache_is_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"model_type": "llama"}')
    config = cache / "models--org--tiny" / "snapshots" / COMMIT / "config.json"
    config.unlink()
    config.symlink_to(tmp_path / "secret.json")
    assert code_of("org/tiny") == "checkpoint.symlink"


def test_an_incomplete_snapshot_says_so(cache: Path) -> None:
    next((cache / "models--org--tiny" / "snapshots").rglob("model.safetensors")).resolve().unlink()
    with pytest.raises(InputError, match=r"model\.safetensors can't be read"):
        open_checkpoint("org/tiny")


def test_offline_and_not_cached(cache: Path) -> None:
    assert code_of("org/other") == "checkpoint.offline"
    assert code_of("org/tiny", "v2.0") == "checkpoint.offline"


@pytest.mark.parametrize("revision", ["../../../etc/passwd", "/etc/passwd", "", "a b", "refs/..", "-x", "a\nb"])
def test_a_revision_can_not_be_a_path(cache: Path, revision: str) -> None:
    assert code_of("org/tiny", revision) == "checkpoint.revision"


def test_a_ref_that_points_elsewhere_is_refused(cache: Path, folder: Path) -> None:
    (cache / "models--org--tiny" / "refs" / "main").write_text("../../..")
    assert code_of("org/tiny") == "checkpoint.hub"


def http_error(kind: type[Exception], status: int) -> Exception:
    response = requests.Response()
    response.status_code = status
    return kind("Boom\nsecond line", response=response)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (http_error(errors.GatedRepoError, 403), "checkpoint.gated"),
        (http_error(errors.RepositoryNotFoundError, 404), "checkpoint.not_found"),
        (http_error(errors.RevisionNotFoundError, 404), "checkpoint.revision"),
        (http_error(errors.HfHubHTTPError, 500), "checkpoint.hub"),
        (requests.exceptions.ProxyError("proxy"), "checkpoint.hub"),
        (OSError(28, "No space left on device"), "checkpoint.hub"),
        (errors.HFValidationError("bad id"), "checkpoint.hub"),
    ],
)
def test_each_failure_of_the_hub_is_an_input_error_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, code: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> str:
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    assert code_of("org/tiny") == code


def test_only_what_a_checkpoint_needs_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted: dict[str, list[str]] = {}

    def record(repo: str, **options: Any) -> str:
        wanted.update(options)
        raise OSError("stop here")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", record)
    with pytest.raises(KogataError):
        open_checkpoint("org/tiny")
    files = [
        "config.json", "generation_config.json", "model.safetensors", "model-00001-of-00002.safetensors",
        "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
        "modules.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors",
        "sentence_bert_config.json", "README.md", "LICENSE", "LICENSE.txt",
        "config_sentence_transformers.json", "chat_template.json",
    ]  # fmt: skip
    others = [
        "pytorch_model.bin", "modeling_x.py", "tf_model.h5", "consolidated.safetensors", "original/consolidated.00.pth",
        "onnx/model.onnx", "onnx/config.json", "fp32/model.safetensors", "model.onnx", "openvino/model.xml", "a.gguf",
        "training_args.bin", "2_Dense/pytorch_model.bin", "0_T/model.safetensors", "runs/events.out",
        "rust_model.ot", "coreml/x.mlmodel",
    ]  # fmt: skip
    kept = huggingface_hub.utils.filter_repo_objects(
        [*files, *others], allow_patterns=wanted["allow_patterns"], ignore_patterns=wanted["ignore_patterns"]
    )
    assert sorted(kept) == sorted(files)


def test_ids_and_closed_models() -> None:
    assert is_hub_id("sentence-transformers/all-MiniLM-L6-v2")
    assert is_hub_id("Qwen/Qwen2.5-0.5B_x")
    assert not is_hub_id("gpt2")
    for open_model in ("openai/gpt-oss-20b", "openai-community/gpt2", "google/gemma-3-1b-it", "someone/claude-distill"):
        assert is_hub_id(open_model)
        assert not is_closed_model(open_model)


def test_json_of_the_blob_is_what_is_read(cache: Path) -> None:
    text = (cache / "models--org--tiny" / "snapshots" / COMMIT / "config.json").read_text()
    assert open_checkpoint("org/tiny").config == json.loads(text)
