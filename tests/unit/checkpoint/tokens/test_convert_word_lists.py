"""vocab.json with merges.txt, and vocab.txt, without tokenizer.json: against transformers' conversion."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.shipped_files import ship
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

from exporter.checkpoint.tokens.convert import check
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.errors import InputError, UnsupportedError

HARD = (
    "", " ", "  \n", "e\u0301 é", "lamp " * 60, "x<s>y </s> <mask>  z [MASK] [CLS] <|endoftext|> <extra>", "\x00 \x7f"
)  # fmt: skip
_ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
_BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>", "<pad>", "<mask>"]


@cache
def byte_level_files(special: tuple[str, ...]) -> dict[str, str]:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=list(special), initial_alphabet=alphabet)
    backend.train_from_iterator(check.TEXTS, trainer)
    state = json.loads(backend.to_str())["model"]
    merges = [" ".join(pair) for pair in state["merges"]]
    return {"vocab.json": json.dumps(state["vocab"]), "merges.txt": "\n".join(["#version: 0.2", *merges, ""])}


@cache
def word_list_files() -> dict[str, str]:
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trained = [*check.TEXTS, *(text.lower() for text in check.TEXTS)]
    backend.train_from_iterator(trained, trainers.WordPieceTrainer(vocab_size=700, special_tokens=_BERT))
    vocabulary = backend.get_vocab()
    return {"vocab.txt": "".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.__getitem__))}


_GPT2 = byte_level_files(("<|endoftext|>", "</s>"))
_LIKE_ROBERTA = byte_level_files(tuple(_ROBERTA))
EXTRA = {"content": "<extra>", "lstrip": True, "rstrip": True, "normalized": False, "single_word": False}
CASES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "gpt2": (_GPT2, {"tokenizer_class": "GPT2Tokenizer"}),
    "gpt2: prefix space": (_GPT2, {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}),
    "opt: begins with </s>": (
        _GPT2,
        {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "bos_token": "</s>", "eos_token": "</s>"},
    ),
    "phi": (_GPT2, {"tokenizer_class": "CodeGenTokenizer"}),
    "qwen2": (_GPT2, {"tokenizer_class": "Qwen2Tokenizer", "additional_special_tokens": ["<|im_start|>"]}),
    "roberta": (_LIKE_ROBERTA, {"tokenizer_class": "RobertaTokenizer"}),
    "roberta: prefix space": (_LIKE_ROBERTA, {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}),
    "bart": (_LIKE_ROBERTA, {"tokenizer_class": "BartTokenizer"}),
    "bert": (word_list_files(), {"tokenizer_class": "BertTokenizer"}),
    "bert: cased": (word_list_files(), {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
    "bert: accents": (
        word_list_files(),
        {"tokenizer_class": "BertTokenizer", "strip_accents": False, "tokenize_chinese_chars": False},
    ),
    "bert: an added token": (
        word_list_files(),
        {"tokenizer_class": "BertTokenizer", "added_tokens_decoder": {"700": EXTRA | {"special": True}}},
    ),
    "distilbert": (word_list_files(), {"tokenizer_class": "DistilBertTokenizer"}),
    "electra": (word_list_files(), {"tokenizer_class": "ElectraTokenizer", "do_lower_case": False}),
    "mpnet": (word_list_files(), {"tokenizer_class": "MPNetTokenizer"}),
}


def write(folder: Path, files: dict[str, str], **config: Any) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("case", CASES)
def test_conversions_agree_with_transformers(case: str, tmp_path: Path) -> None:
    files, config = CASES[case]
    write(tmp_path, files, **config)
    ours, reference = load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert ours.tokens == reference.special_tokens_map
    assert ours.vocab_size == len(reference)
    for text in (*check.TEXTS, *HARD):
        ids = reference(text)["input_ids"]
        assert ours.encode(text) == ids
        assert ours.encode(text, special_tokens=False) == reference(text, add_special_tokens=False)["input_ids"]
        for skip in (True, False):
            assert ours.decode(ids, skip_special_tokens=skip) == reference.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("case", CASES)
def test_what_a_bundle_ships_needs_none_of_the_older_files(case: str, folder: Path, tmp_path: Path) -> None:
    """tokenizer.json alone, the file with our class rules over it, and transformers with it: the same ids."""
    (folder / "tokenizer.json").unlink()
    write(folder, CASES[case][0], **CASES[case][1])
    ours = load_tokenizer(folder)
    place = ship(folder, tmp_path / "shipped")
    bundled, reference = load_tokenizer(place), AutoTokenizer.from_pretrained(place)
    bare = Backend.from_file(str(place / "tokenizer.json"))
    assert bundled.tokens == reference.special_tokens_map == ours.tokens
    for text in (*check.TEXTS, *HARD):
        ids = ours.encode(text)
        assert bundled.encode(text) == reference(text)["input_ids"] == list(bare.encode(text).ids) == ids
        assert bundled.decode(ids) == reference.decode(ids, skip_special_tokens=True)
        assert bundled.decode(ids, skip_special_tokens=False) == ours.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize(("model_type", "files"), [("bert", word_list_files()), ("gpt2", _GPT2), ("opt", _GPT2)])
def test_the_class_follows_from_the_model_type(model_type: str, files: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path, files)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    text = "Hello, naïve World!"
    assert load_tokenizer(tmp_path).encode(text) == AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"]


def test_merges_without_a_version_line_are_all_used(tmp_path: Path) -> None:
    """transformers drops the first line of the file unseen, and the last one where no line end follows."""
    write(tmp_path, _GPT2, tokenizer_class="GPT2Tokenizer")
    whole = load_tokenizer(tmp_path)
    merges = _GPT2["merges.txt"].split("\n")[1:-1]
    (tmp_path / "merges.txt").write_text("\r\n".join(merges))
    bare = load_tokenizer(tmp_path)
    assert all(bare.encode(text) == whole.encode(text) for text in check.TEXTS)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("vocab.json", "{}", "empty"),
        ("vocab.json", "[]", "object"),
        ("vocab.json", '{"a": 1, "b": 1}', "an id of its own"),
        ("vocab.json", '{"a": -1}', "an id of its own"),
        ("vocab.json", '{"a": 0, "<|endoftext|>": 1}', "out of vocabulary"),
        ("merges.txt", "#version: 0.2\na b c\n", "line 2"),
        ("merges.txt", "#version: 0.2\nab\n", "line 2"),
        ("merges.txt", "q é\n", "out of vocabulary"),
    ],
)
def test_damaged_lists_are_input_errors(name: str, text: str, says: str, tmp_path: Path) -> None:
    write(tmp_path, {**_GPT2, name: text}, tokenizer_class="GPT2Tokenizer")
    with pytest.raises(InputError, match=says):
        load_tokenizer(tmp_path)


def test_a_vocabulary_that_lacks_bytes_is_refused(tmp_path: Path) -> None:
    files = {"vocab.json": json.dumps({"a": 0, "b": 1, "<|endoftext|>": 2}), "merges.txt": "#version: 0.2\n"}
    with pytest.raises(UnsupportedError, match="can't write every text"):
        load_tokenizer(write(tmp_path, files, tokenizer_class="GPT2Tokenizer"))


def test_lists_that_miss_their_partner_or_tokens_are_input_errors(tmp_path: Path) -> None:
    write(tmp_path, {"vocab.json": _GPT2["vocab.json"]}, tokenizer_class="GPT2Tokenizer")
    with pytest.raises(InputError, match=r"merges\.txt"):
        load_tokenizer(tmp_path)
    write(tmp_path, {"vocab.txt": "[UNK]\na\n"}, tokenizer_class="BertTokenizer")
    with pytest.raises(InputError, match=r"cls_token is '\[CLS\]'"):
        load_tokenizer(tmp_path)
    write(tmp_path, {"vocab.txt": ""}, tokenizer_class="BertTokenizer")
    with pytest.raises(InputError, match="empty"):
        load_tokenizer(tmp_path)


def test_japanese_word_segmentation_is_refused_by_name(tmp_path: Path) -> None:
    """Its vocab.txt alone would read as BERT's, and cut every sentence wrongly."""
    with pytest.raises(UnsupportedError, match="BertJapaneseTokenizer"):
        load_tokenizer(write(tmp_path, word_list_files(), tokenizer_class="BertJapaneseTokenizer"))
