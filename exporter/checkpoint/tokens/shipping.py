"""The tokenizer files of a bundle: those that phones and runtimes read, converted where the checkpoint lacks them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.checkpoint import Checkpoint
from exporter.checkpoint.folder import MAX_JSON_BYTES, Folder
from exporter.checkpoint.tokens import rules
from exporter.checkpoint.tokens.files import (
    OLDER_FILES,
    SPECIAL_TOKENS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    UNREADABLE_FILES,
)  # fmt: skip
from exporter.checkpoint.tokens.settings import older_settings
from exporter.checkpoint.tokens.special import TOKEN_LIST

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
    folder = Folder.at(checkpoint.root)
    stated = folder.read_object(TOKENIZER_CONFIG) or {}
    settings = _settled(stated, checkpoint.config)
    origin = None
    if conversion is not None:
        files[TOKENIZER] = tokenizer.to_json().encode()
        settings = {**conversion.defaults, **settings}
        origin = f"converted from {' and '.join(conversion.source)} by kogata; {conversion.checked}"
    elif (settled := _settled_json(folder, tokenizer)) is not None:
        files[TOKENIZER] = settled
        settings = {**_moved(folder, stated, tokenizer), **settings}
    settings = _with_final_flags(settings, tokenizer)
    special = folder.read_object(SPECIAL_TOKENS)
    if special is not None and older_settings(special) != special:
        files[SPECIAL_TOKENS] = _json(older_settings(special))
    if settings != stated:
        files[TOKENIZER_CONFIG] = _json(settings)
    return ShippedTokenizer(dict(sorted(files.items())), origin, () if tokenizer.eos_stated else tokenizer.eos_ids)


def _json(settings: Mapping[str, Any]) -> bytes:
    return (json.dumps(settings, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()


def _settled_json(folder: Folder, tokenizer: Tokenizer) -> bytes | None:
    """tokenizer.json with everything that other files and the class change in it, so that a runtime that reads this
    file alone gets the same ids; None where the checkpoint's own file already gives them.

    It neither cuts nor pads texts: both are the caller's decision, and the ids were compared without them.
    """
    from tokenizers import Tokenizer as Backend

    text, settled = folder.read_text(TOKENIZER, MAX_JSON_BYTES), tokenizer.to_json()
    return None if text is None or Backend.from_str(text).to_str() == settled else settled.encode()


def _moved(folder: Folder, stated: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Settings for what stood only in the padding and truncation sections that the settled tokenizer.json lacks."""
    original = folder.read_object(TOKENIZER) or {}
    moved: dict[str, Any] = {}
    if original.get("padding") and "pad_token" in tokenizer.tokens:
        moved["pad_token"] = tokenizer.tokens["pad_token"]
    truncation = original.get("truncation")
    if isinstance(truncation, dict) and str(truncation.get("direction")).lower() == "left":
        moved["truncation_side"] = "left"
    special = folder.read_object(SPECIAL_TOKENS) or {}
    return {key: value for key, value in moved.items() if key not in stated and key not in special}


def _with_final_flags(settings: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """The settings with the flags that the listed tokens have in the shipped tokenizer.json. Other flags in the list
    would win over those that the tokenizer's class gave them.
    """
    listed = settings.get(TOKEN_LIST)
    if not isinstance(listed, dict):
        return settings
    flags = tokenizer.added_flags
    return {
        **settings,
        TOKEN_LIST: {index: {**entry, **flags.get(entry["content"], {})} for index, entry in listed.items()},
    }


def _settled(stated: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in transformers 4's spelling, with a class that it has where one is known."""
    settings = {key: value for key, value in stated.items() if key != "auto_map"}
    name = rules.class_name(stated, config)
    if "auto_map" in stated and not rules.is_known(name):
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    elif name in _STANDARD_CLASSES or ("tokenizer_class" not in stated and rules.is_known(name)):
        settings["tokenizer_class"] = _STANDARD_CLASSES.get(name, name)
    if rules.tokenizer_class(_STANDARD_CLASSES.get(name, name)).rebuilds:
        # With this setting, the class would ask for the sentencepiece model again; tokenizer.json holds the spacing.
        settings.pop("add_prefix_space", None)
    return older_settings(settings)
