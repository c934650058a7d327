"""What swift-transformers would make of shipped tokenizers. Each case names the line of its sources that decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.tokenizer_fixtures import BUILDS
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from exporter.checkpoint.tokens.swift_lint import swift_findings
from exporter.errors import Diagnostic

PLAIN = {"clean_up_tokenization_spaces": False}


def _findings(
    tokenizer: str | dict[str, Any], settings: dict[str, Any], *, ends: tuple[int, ...] = (), writes: bool = False
) -> list[Diagnostic]:
    text = tokenizer if isinstance(tokenizer, str) else json.dumps(tokenizer)
    files: dict[str, Path | bytes] = {
        "tokenizer.json": text.encode(),
        "tokenizer_config.json": json.dumps(PLAIN | settings).encode(),
    }
    return swift_findings(files, "some_type", ends, writes=writes)


def _changed(build: str, **sections: Any) -> dict[str, Any]:
    return json.loads(BUILDS[build]()) | sections


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        ("word piece", {"tokenizer_class": "BertTokenizer"}),
        ("word piece", {"tokenizer_class": "BertTokenizerFast", "do_lower_case": True}),
        ("word piece", {"tokenizer_class": "DistilBertTokenizer"}),
        ("byte level", {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"}),
        ("byte level", {"tokenizer_class": "Qwen2TokenizerFast", "eos_token": "<|endoftext|>"}),
        ("split byte level", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": {"content": "<eos>"}}),
        ("byte fallback", {"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"}),
        ("byte fallback", {"tokenizer_class": "LlamaTokenizerFast", "legacy": False, "eos_token": "</s>"}),
        ("byte fallback", {"tokenizer_class": "GemmaTokenizer", "eos_token": "<eos>"}),
        ("unigram", {"tokenizer_class": "XLMRobertaTokenizer"}),
        ("unigram", {"tokenizer_class": "T5Tokenizer"}),
    ],
)
def test_tokenizers_that_it_takes_give_no_warning(build: str, settings: dict[str, Any]) -> None:
    text = BUILDS[build]()
    end = settings.get("eos_token")
    name = end["content"] if isinstance(end, dict) else end
    ends = () if name is None else (Tokenizer.from_str(text).token_to_id(name),)
    assert _findings(text, settings, ends=ends, writes=bool(ends)) == []


@pytest.mark.parametrize(
    ("build", "name", "code", "words"),
    [
        ("word piece", "MPNetTokenizer", "class", "refuses the tokenizer class MPNetTokenizer"),
        ("word piece", "ElectraTokenizerFast", "class", "BertTokenizer"),
        ("unigram", "DebertaV2TokenizerFast", "class", "XLMRobertaTokenizer"),
        ("byte level", "GPTNeoXTokenizer", "class", "PreTrainedTokenizerFast"),
        ("unigram", "PreTrainedTokenizerFast", "model", "BPETokenizer requires merges"),
        ("word piece", "PreTrainedTokenizerFast", "model", "BPETokenizer requires merges"),
        ("unigram", "LlamaTokenizer", "model", "takes the class LlamaTokenizer for BPE, but the tokenizer is Unigram"),
        ("byte level", "BertTokenizer", "model", "for WordPiece, but the tokenizer is BPE"),
        ("byte level", "XLMRobertaTokenizer", "model", "for Unigram, but the tokenizer is BPE"),
    ],
)
def test_a_class_that_it_reads_in_another_way(build: str, name: str, code: str, words: str) -> None:
    (found,) = _findings(BUILDS[build](), {"tokenizer_class": name})
    assert (found.code, found.level) == (f"swift-tokenizer.{code}", "warning")
    assert words in found.message + found.hint
    assert "KogataKit's tokenizer" in found.hint


def _part(component: Any) -> Any:
    """As tokenizer.json states the component."""
    return json.loads(component.__getstate__())


@pytest.mark.parametrize(
    ("section", "component", "words"),
    [
        ("pre_tokenizer", pre_tokenizers.UnicodeScripts(), "UnicodeScripts"),
        ("pre_tokenizer", pre_tokenizers.Sequence([pre_tokenizers.CharDelimiterSplit("-")]), "CharDelimiterSplit"),
        ("normalizer", normalizers.Sequence([normalizers.NFC(), normalizers.Nmt()]), "Nmt"),
        ("normalizer", normalizers.ByteLevel(), "ByteLevel"),
        ("decoder", decoders.CTC(), "CTC"),
        ("decoder", decoders.BPEDecoder(), "BPEDecoder"),
    ],
)
def test_a_component_that_ends_the_app(section: str, component: Any, words: str) -> None:
    (found,) = _findings(_changed("byte level", **{section: _part(component)}), {"tokenizer_class": "GPT2Tokenizer"})[
        :1
    ]
    assert found.code == "swift-tokenizer.component"
    assert f"doesn't know the {section} {words} and crashes" in found.message


@pytest.mark.parametrize(
    ("section", "component", "words"),
    [
        (
            "pre_tokenizer",
            pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False)]),
            "at spaces only",
        ),
        ("pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True), "a space before every word"),
        ("normalizer", normalizers.StripAccents(), "instead of removing accents"),
    ],
)
def test_a_component_that_it_treats_in_a_way_of_its_own(section: str, component: Any, words: str) -> None:
    (found,) = _findings(_changed("byte level", **{section: _part(component)}), {"tokenizer_class": "GPT2Tokenizer"})
    assert found.code == "swift-tokenizer.differs"
    assert words in found.message


@pytest.mark.parametrize(
    ("behavior", "invert", "warned"),
    [("isolated", False, False), ("removed", True, False), ("removed", False, True), ("merged_with_next", False, True)],
)
def test_how_a_pattern_splits(behavior: str, invert: bool, warned: bool) -> None:
    from tokenizers import Regex

    split = pre_tokenizers.Split(Regex(r"\w+|\W+"), behavior, invert)
    parts = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    found = _findings(_changed("byte level", pre_tokenizer=_part(parts)), {"tokenizer_class": "Qwen2Tokenizer"})
    assert [finding.code for finding in found] == ["swift-tokenizer.differs"] * warned


def test_a_character_that_the_vocabulary_lacks() -> None:
    lacking = Tokenizer(models.BPE({"a": 0, "b": 1, "<unk>": 2}, []))
    (found,) = _findings(lacking.to_str(), {"tokenizer_class": "PreTrainedTokenizerFast"})
    assert "crashes at a character that the vocabulary lacks" in found.message
    (found,) = _findings(lacking.to_str(), {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"})
    assert "one unknown token for each byte" in found.message
    without = Tokenizer(models.Unigram([("a", -1.0), ("b", -2.0)]))
    (found,) = _findings(without.to_str(), {"tokenizer_class": "T5Tokenizer"})
    assert "without unk_id" in found.message


def test_added_tokens_of_a_unigram_model_outside_of_its_vocabulary() -> None:
    backend = Tokenizer.from_str(BUILDS["unigram"]())
    backend.add_special_tokens(["<|new|>"])
    (found,) = _findings(backend.to_str(), {"tokenizer_class": "XLMRobertaTokenizer"})
    assert "reads added tokens outside of the vocabulary as unknown: <|new|>" in found.message


def test_a_model_of_whole_words() -> None:
    (found,) = _findings(Tokenizer(models.WordLevel({"a": 0}, "a")).to_str(), {"tokenizer_class": "BertTokenizer"})
    assert "no tokenizer of the kind WordLevel" in found.message


def test_small_letters_of_word_pieces() -> None:
    cased = _changed("word piece", normalizer=_part(normalizers.BertNormalizer(lowercase=False)))
    (found,) = _findings(cased, {"tokenizer_class": "BertTokenizer"})
    assert "makes all letters small" in found.message
    assert _findings(cased, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}) == []


def test_what_the_class_of_llama_puts_in_place_of_the_file() -> None:
    settings = {"tokenizer_class": "LlamaTokenizerFast", "legacy": False}
    (found,) = _findings(BUILDS["byte level"](), settings)
    assert found.code == "swift-tokenizer.llama"
    assert "AutoTokenizer.from(modelFolder:)" in found.hint
    after = processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])])
    (found,) = _findings(_changed("byte level", post_processor=_part(after)), {"tokenizer_class": "LlamaTokenizerFast"})
    assert "leaves out the tokens around a text" in found.message


def test_several_ends_of_an_answer() -> None:
    text = BUILDS["byte level"]()
    end = Tokenizer.from_str(text).token_to_id("</s>")
    settings = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "</s>"}
    assert _findings(text, settings, ends=(end,), writes=True) == []
    (found,) = _findings(text, settings, ends=(end, 700), writes=True)
    assert f"ends an answer only at </s> ({end}); the model also ends one with 700" in found.message
    assert _findings(text, settings, ends=(end, 700), writes=False) == []
    (found,) = _findings(text, {"tokenizer_class": "GPT2Tokenizer"}, ends=(end,), writes=True)
    assert "at no token" in found.message


def test_spaces_in_decoded_texts() -> None:
    settings = {"tokenizer_class": "GPT2Tokenizer", "clean_up_tokenization_spaces": None}
    (found,) = _findings(BUILDS["byte level"](), settings, writes=True)
    assert found.code == "swift-tokenizer.clean-up"
    assert _findings(BUILDS["byte level"](), settings) == []


def test_without_a_class_the_model_type_decides() -> None:
    files: dict[str, Path | bytes] = {"tokenizer.json": BUILDS["byte level"]().encode(), "tokenizer_config.json": b"{}"}
    assert swift_findings(files, "gpt2", (), writes=False) == []
    (found,) = swift_findings(files, "gpt_neox", (), writes=False)
    assert "refuses the tokenizer class Gpt_NeoxTokenizer" in found.message
    assert swift_findings({}, "gpt2", (), writes=False) == []
