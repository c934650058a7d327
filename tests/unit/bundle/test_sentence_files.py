"""The modules beside an ONNX file, as Kogata's own reader and the checkpoint state them. tests/clients runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import tiny_bert, write_json
from support.encoder_checkpoints import tiny_encoder, write_pooling

from exporter.bundle.sentence_files import sentence_files
from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.folder import Folder
from exporter.checkpoint.sentence import SentenceModules, read_sentence

TANH = "torch.nn.modules.activation.Tanh"


def read(folder: Path) -> SentenceModules:
    modules = read_sentence(Folder.at(folder), tokenizer_lowercases=True)
    assert modules is not None
    return modules


def written(modules: SentenceModules, folder: Path, context: int | None = 64) -> SentenceModules:
    for name, content in sentence_files(modules, 36, context).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return read(folder)


@pytest.mark.parametrize("mode", ["mean_tokens", "cls_token", "max_tokens", "mean_sqrt_len_tokens", "lasttoken"])
def test_what_is_written_says_what_was_read(mode: str, tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "c", "bert")
    write_pooling(tmp_path / "c", mode, normalize=True, dense=[(24, TANH), (12, "torch.nn.modules.linear.Identity")])
    stated = {"prompts": {"query": "find: ", "empty": ""}, "default_prompt_name": "query", "truncate_dim": 8}
    write_json(tmp_path / "c" / "config_sentence_transformers.json", stated)
    asked, found = read(tmp_path / "c"), written(read(tmp_path / "c"), tmp_path / "out")
    for name in ("pooling", "normalize", "prompts", "default_prompt", "truncate", "unsupported", "cross_encoder"):
        assert getattr(found, name) == getattr(asked, name)
    assert [layer.activation for layer in found.dense] == ["Tanh", "Identity"]
    for mine, theirs in zip(found.dense, asked.dense, strict=True):
        for name, tensor in theirs.tensors.items():
            np.testing.assert_array_equal(mine.tensors[name].numpy(), tensor.numpy())


@pytest.mark.parametrize(
    ("stated", "context", "longest"), [(32, 64, 32), (512, 64, 64), (None, 64, 64), (32, None, 32)]
)
def test_texts_are_cut_at_the_shorter_of_both_limits(
    stated: int | None, context: int | None, longest: int, tmp_path: Path
) -> None:
    tiny_bert(tmp_path / "c", max_seq_length=stated)
    assert written(read(tmp_path / "c"), tmp_path / "out", context).max_seq_length == longest


def test_a_model_without_pooling_has_no_modules(tmp_path: Path) -> None:
    tiny_bert(tmp_path, pooling=None)
    assert sentence_files(open_checkpoint(tmp_path).sentence, 36, 64) == {}


def test_a_reranker_keeps_its_activation() -> None:
    modules = SentenceModules(None, False, 40, cross_encoder=True, activation="torch.nn.modules.linear.Identity")
    files = {name: json.loads(content) for name, content in sentence_files(modules, 0, 64).items()}
    assert files["config_sentence_transformers.json"]["activation_fn"] == "torch.nn.modules.linear.Identity"
    assert files["config_sentence_transformers.json"]["model_type"] == "CrossEncoder"
    assert files["sentence_bert_config.json"]["max_seq_length"] == 40
