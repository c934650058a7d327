"""Every tokenizer class of transformers against transformers itself, with settings that contradict its defaults.

Each case compares token ids, token types, marks of special tokens and named special tokens: of the checkpoint, of the
shipped `tokenizer.json` alone, and of AutoTokenizer on the shipped files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from support.shipped_files import ship
from support.tokenizer_fixtures import ALL_SPECIAL, BUILDS, PAIRS, TEXTS, named, token, write_tokenizer
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from exporter.checkpoint.tokens.model_types import class_of_model_type
from exporter.checkpoint.tokens.special import SPECIAL_KEYS
from exporter.checkpoint.tokens.tokenizer import Tokenizer, load_tokenizer
from exporter.errors import KogataError, UnsupportedError

# The build of each class's tokenizer.json.
_CLASSES = {
    "word piece": "Bert ConvBert DistilBert Electra MobileBert SqueezeBert LayoutLM Lxmert Realm RetriBert Funnel "
    "DPRQuestionEncoder DPRContextEncoder DPRReader LayoutLMv2 Splinter RoFormer MPNet",
    "byte level": "Roberta Blenderbot Longformer Bart LED Mvp MarkupLM LayoutLMv3 Deberta GPTNeoX GPT2 CodeGen Whisper "
    "Qwen2 BlenderbotSmall OpenAIGPT Herbert PreTrained",
    "split byte level": "CLIP Bloom Cohere",
    "byte fallback": "Llama CodeLlama Gemma Nougat",
    "unigram": "Albert Barthez BigBird Camembert Cpm DebertaV2 FNet LayoutXLM MBart MBart50 MT5 Nllb Parakeet Pegasus "
    "Reformer RemBert SeamlessM4T T5 Udop XGLM XLMRoberta XLNet",
}
BUILD_OF = {f"{name}Tokenizer": build for build, names in _CLASSES.items() for name in names.split()}

# What a class can't do, by class or by class and case: how transformers or kogata says so.
_WORDS = "transformers: Words must"
_NOT_A_BOOL = "transformers: argument 'add_prefix_space'"
_NO_MODEL = "transformers: Either model_file or model_proto must be specified"
_WITHOUT_NULL = ("Bart", "Blenderbot", "LED", "Longformer", "Mvp", "Roberta", "BlenderbotSmall")
REFUSED: Mapping[tuple[str, str], str] = {
    ("RoFormerTokenizer", ""): "kogata: it cuts Chinese words with rjieba",
    ("CpmTokenizer", ""): "kogata: it cuts Chinese words with rjieba",
    **{(f"{name}Tokenizer", ""): _WORDS for name in ("LayoutLMv2", "LayoutLMv3", "LayoutXLM", "Udop")},
    ("LayoutLMv3Tokenizer", "prefix null"): _NOT_A_BOOL,
    **{(f"{name}Tokenizer", "prefix null"): _NOT_A_BOOL for name in _WITHOUT_NULL},
    ("MarkupLMTokenizer", ""): "transformers: MarkupLMTokenizerFast.__init__() missing",
    ("CodeGenTokenizer", "ends"): "transformers: Currently GPT2's fast tokenizer does NOT support adding a BOS token",
    **{(f"{name}Tokenizer", case): _NO_MODEL for name in ("Llama", "T5", "MT5") for case in ("prefix", "no prefix")},
    **{("PegasusTokenizer", case): _NO_MODEL for case in ("tokens", "no tokens")},
    **{
        ("SplinterTokenizer", case): "transformers: transformers.tokenization_utils_fast"
        for case in ("additional", "older files")
    },
}
PAIRS_ARE_INFILLING = ("CodeLlamaTokenizer",)  # a second text is what follows the gap, on purpose

_TOKENS = {
    "unk_token": "<unk>", "mask_token": "[MASK]", "bos_token": "<bos>", "eos_token": named("<eos>", lstrip=True),
    "pad_token": "<pad>", "cls_token": "<cls>", "sep_token": "<sep>",
}  # fmt: skip
CASES: Mapping[str, Mapping[str, Any]] = {
    "class": {},
    "cased": {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False},
    "ends": {"add_bos_token": True, "add_eos_token": True},
    "no ends": {"add_bos_token": False, "add_eos_token": False},
    "prefix": {"add_prefix_space": True},
    "no prefix": {"add_prefix_space": False},
    "prefix null": {"add_prefix_space": None},
    "additional": {"additional_special_tokens": ["<extra>", named("<EXTRA>", lstrip=True)]},
    "tokens": _TOKENS,
    "no tokens": {"mask_token": None, "pad_token": None},
    "listed": {
        "added_tokens_decoder": {
            str(i): token(text, normalized=False, special=True) for i, text in enumerate(ALL_SPECIAL)
        }
    },
    "legacy": {"legacy": False, "legacy_behaviour": True, "remove_space": False, "keep_accents": True},
    "language": {"src_lang": "de_DE"},
    "older files": {"additional_special_tokens": ["<extra>"]},
}
_OLDER_FILES = {
    "special_tokens_map": {
        "mask_token": token("<mask>", lstrip=True), "unk_token": "<unk>", "additional_special_tokens": ["<EXTRA>"]
    }
}  # fmt: skip
_LANGUAGE_OF = {"NllbTokenizer": "deu_Latn", "SeamlessM4TTokenizer": "deu"}
QUICK = ("class", "tokens")
_EVERY = [
    pytest.param(name, case, id=f"{name}-{case}", marks=() if case in QUICK else pytest.mark.slow)
    for name in sorted(BUILD_OF)
    for case in CASES
]


def fast_classes() -> set[str]:
    """Every class of transformers that has a fast form, without `Fast`."""
    from transformers.utils import dummy_tokenizers_objects as dummies

    named = {fast for _, fast in TOKENIZER_MAPPING_NAMES.values() if fast}
    exported = {name for name in dir(transformers) if name.endswith("TokenizerFast") and not hasattr(dummies, name)}
    return {name.removesuffix("Fast") for name in named | exported}


def test_every_fast_class_has_a_fixture() -> None:
    assert set(BUILD_OF) == fast_classes()


def test_the_class_of_every_model_type() -> None:
    for model_type, (slow, fast) in TOKENIZER_MAPPING_NAMES.items():
        name = (fast or slow or "").removesuffix("Fast")
        assert class_of_model_type(model_type) == ("" if name == "PreTrainedTokenizer" else name)


@pytest.mark.parametrize(("name", "case"), _EVERY)
def test_a_class_agrees_with_transformers(name: str, case: str, tmp_path: Path) -> None:
    stated = dict(CASES[case])
    if "src_lang" in stated:
        stated["src_lang"] = _LANGUAGE_OF.get(name, "de_DE")
    files = _OLDER_FILES if case == "older files" else {}
    folder = write_tokenizer(tmp_path / "source", BUILD_OF[name], {"tokenizer_class": name, **stated}, **files)
    refusal = REFUSED.get((name, case), REFUSED.get((name, "")))
    if refusal is not None:
        who, _, reason = refusal.partition(": ")
        with pytest.raises(Exception, match=reason.replace("(", r"\(").replace(")", r"\)")):
            load_tokenizer(folder) if who == "kogata" else AutoTokenizer.from_pretrained(folder)("a")
        return
    agrees(folder, name, tmp_path / "shipped")


@pytest.mark.parametrize("model_type", ["albert", "camembert", "fnet", "mpnet", "xlnet", "cohere", "bloom", "mbart"])
def test_without_a_tokenizer_config(model_type: str, tmp_path: Path) -> None:
    """The class of the model type supplies all special tokens, as for albert-base-v2 as it is published."""
    name = class_of_model_type(model_type)
    folder = write_tokenizer(tmp_path / "source", BUILD_OF[name], None, {"model_type": model_type})
    agrees(folder, name, tmp_path / "shipped")


def test_split_special_tokens_is_refused(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, "word piece", {"tokenizer_class": "BertTokenizer", "split_special_tokens": True})
    with pytest.raises(UnsupportedError, match="split_special_tokens"):
        load_tokenizer(folder)


def test_a_language_that_is_not_a_token_is_refused(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, "unigram", {"tokenizer_class": "NllbTokenizer", "src_lang": "xx_Latn"})
    with pytest.raises(KogataError, match="'xx_Latn' is not a token"):
        load_tokenizer(folder)


def slow_classes() -> set[str]:
    """Every class of transformers that has only a form in Python."""
    return {slow for slow, fast in TOKENIZER_MAPPING_NAMES.values() if slow and not fast} - set(BUILD_OF)


@pytest.mark.parametrize("name", sorted(slow_classes()))
def test_classes_in_python_alone_are_refused(name: str, tmp_path: Path) -> None:
    """They read other files than a tokenizer.json, which kogata doesn't convert for them."""
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    with pytest.raises(UnsupportedError, match=f"the tokenizer class '{name}' is not known"):
        load_tokenizer(tmp_path)


def agrees(folder: Path, name: str, place: Path) -> None:
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    reference, ours = AutoTokenizer.from_pretrained(folder), load_tokenizer(folder)
    assert type(reference).__name__.removesuffix("Fast") in (name, name.replace("MT5", "T5"))
    ship(folder, place)
    alone, bundled = Backend.from_file(str(place / "tokenizer.json")), AutoTokenizer.from_pretrained(place)
    assert named_tokens(ours) == {key: getattr(reference, f"{key}_id") for key in SPECIAL_KEYS}
    assert named_tokens(ours) == {key: getattr(bundled, f"{key}_id") for key in SPECIAL_KEYS}
    pairs = () if name in PAIRS_ARE_INFILLING else PAIRS
    for text, second in [*((text, None) for text in TEXTS), *pairs]:
        theirs = reference(text, second, padding=False, return_special_tokens_mask=True)
        own = ours.encode_text(text, second)
        assert own.ids.tolist() == theirs["input_ids"]
        assert own.special.tolist() == [bool(mark) for mark in theirs["special_tokens_mask"]]
        assert own.types.tolist() == theirs.get("token_type_ids", own.types.tolist())
        assert list(alone.encode(text, second).ids) == theirs["input_ids"]
        assert bundled(text, second, padding=False)["input_ids"] == theirs["input_ids"]


def named_tokens(tokenizer: Tokenizer) -> dict[str, int | None]:
    return dict(tokenizer.named)


def test_builds_are_used() -> None:
    assert set(BUILD_OF.values()) == set(BUILDS)
