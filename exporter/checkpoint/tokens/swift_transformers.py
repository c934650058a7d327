"""The tokenizers that swift-transformers knows, and a bundle's tokenizer files as it reads them.

Read from its sources at commit eec09bd of June 2026 (Sources/Tokenizers). It chooses the implementation by the class
name alone, and ends the app (`fatalError`) at a component that it doesn't know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_BPE = (
    "CodeGen", "CodeLlama", "Cohere", "Falcon", "GPT2", "Gemma", "Llama", "PreTrained", "Qwen2", "Roberta", "Whisper",
)  # fmt: skip
IMPLEMENTATIONS = {
    **dict.fromkeys((f"{name}Tokenizer" for name in _BPE), "BPE"),
    "TokenizersBackend": "BPE",
    **dict.fromkeys(("BertTokenizer", "DistilbertTokenizer", "DistilBertTokenizer"), "WordPiece"),
    **dict.fromkeys(("T5Tokenizer", "XLMRobertaTokenizer", "Xlm-RobertaTokenizer"), "Unigram"),
}
FITTING = {"BPE": "PreTrainedTokenizerFast", "WordPiece": "BertTokenizer", "Unigram": "XLMRobertaTokenizer"}
_FALLBACKS = {"gpt2": "GPT2Tokenizer", "t5": "T5Tokenizer"}  # configurations that it brings, by model type
KNOWN = {
    "normalizer": frozenset(
        {
            "Sequence", "Prepend", "Replace", "Lowercase", "NFD", "NFC", "NFKD", "NFKC", "Bert", "BertNormalizer",
            "Precompiled", "StripAccents", "Strip",
        }
    ),
    "pre_tokenizer": frozenset(
        {
            "Sequence", "ByteLevel", "Punctuation", "Digits", "Split", "Whitespace", "WhitespaceSplit", "Metaspace",
            "BertPreTokenizer",
        }
    ),
    "post_processor": frozenset({"TemplateProcessing", "ByteLevel", "RobertaProcessing", "BertProcessing", "Sequence"}),
    "decoder": frozenset(
        {"Sequence", "WordPiece", "ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}
    ),
}  # fmt: skip
_LISTS = ("normalizers", "pretokenizers", "processors", "decoders")  # where a Sequence keeps its parts
OWN_WAYS = {
    "StripAccents": "it applies NFKC instead of removing accents",
    "Whitespace": "it splits at spaces only, not between letters and punctuation",
    "Precompiled": "it applies NFKC and a short list of characters instead of the map in the file",
}


@dataclass(frozen=True)
class ShippedJson:
    """The parsed files. model_type: of config.json."""

    tokenizer: Mapping[str, Any]
    settings: Mapping[str, Any]
    model_type: str

    @property
    def class_name(self) -> str:
        """As swift-transformers finds it."""
        stated = self.settings.get("tokenizer_class")
        guessed = _FALLBACKS.get(self.model_type, f"{self.model_type.title()}Tokenizer")
        return (stated if isinstance(stated, str) else guessed).replace("Fast", "")

    @property
    def model(self) -> Mapping[str, Any]:
        """The model's section of tokenizer.json."""
        return self.tokenizer.get("model") or {}

    @property
    def kind(self) -> str:
        """The kind of the model: BPE, WordPiece, Unigram, WordLevel. Old files don't state it."""
        stated = self.model.get("type")
        return str(stated) if stated else "BPE" if "merges" in self.model else "Unigram"

    @cached_property
    def vocabulary(self) -> Mapping[str, Any]:
        """Token → id; of Unigram, its place in the list."""
        stated = self.model.get("vocab") or {}
        return stated if isinstance(stated, dict) else {piece[0]: index for index, piece in enumerate(stated)}

    @property
    def added(self) -> Mapping[str, int]:
        """Added token → id."""
        return {token["content"]: token["id"] for token in self.tokenizer.get("added_tokens") or ()}

    def parts(self, section: str) -> Iterator[Mapping[str, Any]]:
        """The components of a section, those in a Sequence included."""
        waiting = [self.tokenizer.get(section)]
        for part in waiting:
            if isinstance(part, dict):
                yield part
                waiting += [inner for key in _LISTS for inner in part.get(key) or ()]

    def named(self, key: str) -> str | None:
        """The text of a special token such as eos_token."""
        stated = self.settings.get(key)
        return stated.get("content") if isinstance(stated, dict) else stated


def read_json(held: Path | bytes) -> dict[str, Any]:
    """A shipped file: its path, or its new content."""
    return dict(json.loads(held if isinstance(held, bytes) else held.read_bytes()))
