"""The names of a checkpoint's tokenizer files."""

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
OLDER_FILES = (*SENTENCEPIECE, VOCAB_TXT, VOCAB_JSON, MERGES)  # older forms that `convert` makes a tokenizer.json of
UNREADABLE_FILES = ("tiktoken.model", "tekken.json")
_FILES = (
    TOKENIZER, TOKENIZER_CONFIG, SPECIAL_TOKENS, ADDED_TOKENS, "chat_template.jinja", "chat_template.json",
    *OLDER_FILES, *UNREADABLE_FILES,
)  # fmt: skip
# Models published without a tokenizer, and the tokenizer that they use.
_BORROWED_TOKENIZERS = {
    "openelm": "Llama 2's tokenizer (tokenizer.json or tokenizer.model of meta-llama/Llama-2-7b-hf)"
}


def find_tokenizer_files(folder: Folder) -> dict[str, Path]:
    """File name → path of each file that exists, sorted; empty for a model without text. Raises as `Folder.find`."""
    return {name: path for name in sorted(_FILES) if (path := folder.find(name)) is not None}


def no_tokenizer(present: Iterable[str], config: Mapping[str, Any]) -> KogataError:
    """The error for a checkpoint without a readable tokenizer. present: its tokenizer files; config: config.json."""
    others = sorted(set(present) & set(UNREADABLE_FILES))
    borrowed = _BORROWED_TOKENIZERS.get(str(config.get("model_type")))
    if others:
        message = f"the only tokenizer is {', '.join(others)}, which kogata can't read"
        hint = "`AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` writes tokenizer.json where it can"
    elif borrowed is not None:
        message, hint = "there is no tokenizer in the folder", f"copy {borrowed} into it"
    else:
        message = "there is no tokenizer: neither tokenizer.json nor one of " + ", ".join(OLDER_FILES)
        hint = "put the tokenizer's files beside config.json; a text model needs them"
    return InputError.of("checkpoint.tokenizer", message, where=TOKENIZER, hint=hint)
