"""Which files make up a checkpoint's tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporter.checkpoint.folder import Folder
from exporter.errors import InputError

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
_SLOW = (
    "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "sentencepiece.bpe.model", "spiece.model",
    "spm.model", "tiktoken.model", "tekken.json",
)  # fmt: skip
_FILES = (
    TOKENIZER, TOKENIZER_CONFIG, SPECIAL_TOKENS, "added_tokens.json", "chat_template.jinja", "chat_template.json",
    *_SLOW,
)  # fmt: skip


def find_tokenizer_files(folder: Folder) -> dict[str, Path]:
    """File name → path of those that exist, sorted. `InputError` when `tokenizer.json` is not among them."""
    found = {name: path for name in sorted(_FILES) if (path := folder.find(name)) is not None}
    if TOKENIZER not in found:
        slow = sorted(set(found) & set(_SLOW))
        raise InputError.of(
            "checkpoint.tokenizer",
            f"there is no {TOKENIZER}" + (f", only {', '.join(slow)}" if slow else ""),
            where=TOKENIZER,
            hint="write it once: `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)`",
        )
    return found


def lowercases(tokenizer: Mapping[str, Any]) -> bool:
    """Whether the normalizer of a `tokenizer.json` turns text into lower case."""
    normalizer = tokenizer.get("normalizer")
    steps = [normalizer]
    if isinstance(normalizer, dict) and isinstance(normalizer.get("normalizers"), list):
        steps = normalizer["normalizers"]
    return any(
        isinstance(step, dict)
        and (step.get("type") == "Lowercase" or (step.get("type") == "BertNormalizer" and bool(step.get("lowercase"))))
        for step in steps
    )
