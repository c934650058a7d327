"""Which files make up a checkpoint's tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from exporter.checkpoint.folder import Folder
from exporter.errors import InputError, KogataError

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
SENTENCEPIECE = ("tokenizer.model", "sentencepiece.bpe.model", "spiece.model", "spm.model")
VOCAB_TXT, VOCAB_JSON, MERGES = "vocab.txt", "vocab.json", "merges.txt"
CONVERTIBLE = (*SENTENCEPIECE, VOCAB_TXT, VOCAB_JSON, MERGES)  # to a tokenizer.json, see `convert`
UNREADABLE = ("tiktoken.model", "tekken.json")
_FILES = (
    TOKENIZER, TOKENIZER_CONFIG, SPECIAL_TOKENS, ADDED_TOKENS, "chat_template.jinja", "chat_template.json",
    *CONVERTIBLE, *UNREADABLE,
)  # fmt: skip
# Models published without a tokenizer of their own.
_BORROWED = {"openelm": "Llama 2's tokenizer (tokenizer.json or tokenizer.model of meta-llama/Llama-2-7b-hf)"}


def find_tokenizer_files(folder: Folder) -> dict[str, Path]:
    """File name → path of those that exist, sorted; empty for a model without text. Raises as `Folder.find` does."""
    return {name: path for name in sorted(_FILES) if (path := folder.find(name)) is not None}


def no_tokenizer(present: Iterable[str], config: Mapping[str, Any]) -> KogataError:
    """Why there is no tokenizer to load, from the tokenizer files that are `present` and config.json."""
    others = sorted(set(present) & set(UNREADABLE))
    borrowed = _BORROWED.get(str(config.get("model_type")))
    if others:
        message = f"the only tokenizer is {', '.join(others)}, which is not read"
        hint = "`AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` writes tokenizer.json where it can"
    elif borrowed is not None:
        message, hint = "there is no tokenizer in the folder", f"copy {borrowed} into it"
    else:
        message = "there is no tokenizer: no tokenizer.json, and none of " + ", ".join(CONVERTIBLE)
        hint = "a text model needs its tokenizer's files beside config.json"
    return InputError.of("checkpoint.tokenizer", message, where=TOKENIZER, hint=hint)
