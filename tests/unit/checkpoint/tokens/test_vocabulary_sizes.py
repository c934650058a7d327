"""Tokenizers with fewer tokens than the model has rows, and with more; ends that only one file knows."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.shipped_files import shipped_of

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.errors import InputError


def change(folder: Path, file: str, **values: Any) -> None:
    path = folder / file
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**old, **values}))


def test_padded_rows_are_no_tokens_and_decode_to_nothing(folder: Path) -> None:
    """Qwen2.5 has 151,936 rows for 151,665 tokens; nothing keeps an untrained model from choosing the rest."""
    change(folder, "config.json", vocab_size=64)
    tokenizer = load_tokenizer(open_checkpoint(folder))
    assert tokenizer.vocab_size == 5
    assert tokenizer.decode([3, 63, 5, 4]) == "hello world"
    assert tokenizer.notes == ()


@pytest.mark.parametrize("section", ["config", "text_config"])
def test_a_vocabulary_larger_than_the_model_names_both_sizes_and_the_tokens(folder: Path, section: str) -> None:
    change(folder, "config.json", **({"vocab_size": 3} if section == "config" else {"text_config": {"vocab_size": 3}}))
    with pytest.raises(InputError) as error:
        load_tokenizer(open_checkpoint(folder))
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == "checkpoint.vocabulary"
    assert "ids up to 4, the model 3 rows" in diagnostic.message
    assert "'hello' (3), 'world' (4)" in diagnostic.message


def test_a_special_token_without_a_row_is_an_error(folder: Path) -> None:
    """A [PAD] that a fine-tune added without making the embedding larger."""
    change(folder, "config.json", vocab_size=5)
    change(folder, "tokenizer_config.json", pad_token="[PAD]")
    with pytest.raises(InputError, match=r"no embedding for '\[PAD\]' \(5\)"):
        load_tokenizer(open_checkpoint(folder))


def test_an_added_token_without_a_row_is_noted_and_refused_in_text(folder: Path) -> None:
    """Gemma 3's text models list `<image_soft_token>` right behind the last row."""
    change(folder, "config.json", vocab_size=5)
    change(folder, "tokenizer_config.json", extra_special_tokens={"image_token": "<image>"})
    tokenizer = load_tokenizer(open_checkpoint(folder))
    (note,) = tokenizer.notes
    assert note.level == "note"
    assert "'<image>' (5)" in note.message
    assert tokenizer.encode("hello world") == [3, 4]
    with pytest.raises(InputError, match="the text holds '<image>', token 5, and the model has 5 tokens"):
        tokenizer.encode("hello <image>")


@pytest.mark.parametrize("size", [0, -1, "5", 5.0, True, None])
def test_a_size_that_is_none_is_left_to_the_import(folder: Path, size: object) -> None:
    change(folder, "config.json", vocab_size=size)
    assert load_tokenizer(open_checkpoint(folder)).notes == ()


def test_an_end_that_generation_does_not_know_is_noted(folder: Path) -> None:
    """ChatML fine-tunes whose generation_config.json is still the base model's: answers never stop."""
    change(folder, "generation_config.json", eos_token_id=[2, 4])
    (note,) = load_tokenizer(open_checkpoint(folder)).notes
    assert "texts end with token 2, 4; the tokenizer's '<eos>' (1) isn't one" in note.message
    change(folder, "generation_config.json", eos_token_id=[2, 1])
    assert load_tokenizer(open_checkpoint(folder)).notes == ()


def test_ends_that_only_the_tokenizer_names_are_shipped(folder: Path) -> None:
    assert shipped_of(folder).ends == ()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    assert shipped_of(folder).ends == (1,)


# --- settings that other programs need, or can't follow ---


def shipped_settings(folder: Path) -> dict[str, Any]:
    held = shipped_of(folder).files["tokenizer_config.json"]
    return json.loads(held if isinstance(held, bytes) else held.read_text())  # type: ignore[no-any-return]


def test_files_that_are_well_are_shipped_as_they_are(folder: Path) -> None:
    settled = shipped_of(folder).files["tokenizer.json"]
    assert isinstance(settled, bytes)  # the checkpoint's own lists none of the special tokens
    (folder / "tokenizer.json").write_bytes(settled)
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("")
    shipped = shipped_of(folder)
    assert shipped.files == {name: folder / name for name in ("tokenizer.json", "tokenizer_config.json")}
    assert shipped.origin is None


def test_a_missing_class_is_filled_in_where_the_model_type_tells_it(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 1024, "unk_token": "<unk>"}')
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    assert shipped_settings(folder) == {
        "model_max_length": 1024, "unk_token": "<unk>", "tokenizer_class": "GPT2Tokenizer"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stated", "shipped"),
    [
        ("InternLM2Tokenizer", "LlamaTokenizer"),
        ("OwnTokenizer", "PreTrainedTokenizerFast"),
        ("Qwen2Tokenizer", "Qwen2Tokenizer"),
    ],
)
def test_a_class_that_is_code_of_the_checkpoint_is_replaced(folder: Path, stated: str, shipped: str) -> None:
    change(folder, "tokenizer_config.json", tokenizer_class=stated, auto_map={"AutoTokenizer": ["x.Own", None]},
           bos_token="<eos>")  # fmt: skip
    settings = shipped_settings(folder)
    assert settings["tokenizer_class"] == shipped
    assert "auto_map" not in settings
