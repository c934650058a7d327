"""The tokenizer files of a bundle: those that phones and runtimes read, converted where the checkpoint lacks them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.checkpoint import Checkpoint
from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens import rules
from exporter.checkpoint.tokens.files import OLDER_FILES, TOKENIZER, TOKENIZER_CONFIG, UNREADABLE_FILES, VOCAB_JSON

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer

# Class → the class of transformers 4, known to swift-transformers too, that loads the shipped file the same way. The
# first three exist only as code in checkpoints; the last is transformers 5's name for an old class.
_STANDARD_CLASSES = {
    **dict.fromkeys(("InternLMTokenizer", "InternLM2Tokenizer", "InternLM3Tokenizer"), "LlamaTokenizer"),
    "TokenizersBackend": "PreTrainedTokenizerFast",
}


@dataclass(frozen=True)
class ShippedTokenizer:
    """The tokenizer files of a bundle.

    files: name → the file to copy, or its new content. origin: what tokenizer.json was converted from and how it was
    checked, None where it is the checkpoint's own. ends: the ids that end a text where only the tokenizer's files name
    them, else empty.
    """

    files: Mapping[str, Path | bytes]
    origin: str | None = None
    ends: tuple[int, ...] = ()


def shipped_tokenizer(checkpoint: Checkpoint, tokenizer: Tokenizer | None) -> ShippedTokenizer:
    """The files, sorted by name. tokenizer: the checkpoint's, loaded; None for a model without text, which ships none.

    The older forms of a vocabulary are left out: tokenizer.json holds all of it. tokenizer_config.json names a class
    that needs no code of the checkpoint, since swift-transformers and onnxruntime-genai look for one.
    """
    if tokenizer is None:
        return ShippedTokenizer({})
    files: dict[str, Path | bytes] = {
        name: path for name, path in checkpoint.tokenizer_files.items() if name not in (*OLDER_FILES, *UNREADABLE_FILES)
    }
    conversion = checkpoint.conversion
    stated = Folder.at(checkpoint.root).read_object(TOKENIZER_CONFIG) or {}
    settings = _settled(stated, checkpoint.config)
    origin = None
    if conversion is not None:
        files[TOKENIZER] = tokenizer.to_json().encode()
        if VOCAB_JSON not in conversion.source:  # with this setting, Llama's class would ask for tokenizer.model again
            settings.pop("add_prefix_space", None)
        settings = {**conversion.defaults, **settings}
        origin = f"converted from {' and '.join(conversion.source)} by kogata; {conversion.checked}"
    if settings != stated:
        files[TOKENIZER_CONFIG] = (json.dumps(settings, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()
    return ShippedTokenizer(dict(sorted(files.items())), origin, () if tokenizer.eos_stated else tokenizer.eos_ids)


def _settled(stated: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with a class that transformers has, where such a class is known."""
    settings = {key: value for key, value in stated.items() if key != "auto_map"}
    name = rules.class_name(stated, config)
    if "auto_map" in stated and not rules.is_known(name):
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    elif name in _STANDARD_CLASSES or ("tokenizer_class" not in stated and rules.is_known(name)):
        settings["tokenizer_class"] = _STANDARD_CLASSES.get(name, name)
    return settings
