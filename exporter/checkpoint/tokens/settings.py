"""Merges a tokenizer's settings: tokenizer_config.json, special_tokens_map.json, added_tokens.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens.files import ADDED_TOKENS, SPECIAL_TOKENS, TOKENIZER, TOKENIZER_CONFIG
from exporter.checkpoint.tokens.special import ADDITIONAL_TOKENS, EXTRA_TOKENS, SPECIAL_KEYS, TOKEN_LIST
from exporter.errors import InputError

_NAMED_TOKENS = "model_specific_special_tokens"


def read_settings(folder: Folder) -> Mapping[str, Any]:
    """tokenizer_config.json. Where it has no `added_tokens_decoder`, special_tokens_map.json overrides it, and the
    tokens of added_tokens.json and tokenizer.json are listed instead, as in transformers (4.57, `_from_pretrained`).
    """
    settings = older_settings(folder.read_object(TOKENIZER_CONFIG) or {})
    if TOKEN_LIST in settings:
        return settings
    settings = {**settings, **_special_tokens(settings, folder)}
    added = folder.read_object(ADDED_TOKENS)
    if not added:
        return settings
    special = {_text(settings.get(key)) for key in SPECIAL_KEYS} - {None}
    additional = settings.get(ADDITIONAL_TOKENS)
    special |= {_text(token) for token in additional} if isinstance(additional, list) else set()
    listed: dict[str, Any] = {}
    for text, index in sorted(added.items(), key=lambda item: str(item[1])):
        if type(index) is not int or index < 0 or not text:
            raise InputError.of(
                "checkpoint.tokenizer", f"{ADDED_TOKENS} is not a map from tokens to ids", where=ADDED_TOKENS
            )
        flags = {"lstrip": False, "rstrip": False, "single_word": False}
        listed[str(index)] = {
            "content": text, **flags, "normalized": text not in special, "special": text in special
        }  # fmt: skip
    return {**settings, TOKEN_LIST: {**listed, **_own_tokens(folder)}}


def older_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json in transformers 4's spelling. transformers 5 writes the additional special tokens as a list
    `extra_special_tokens`, which version 4 reads as a map of named tokens and fails, and the named ones as
    `model_specific_special_tokens`.
    """
    settings, extra = dict(settings), settings.get(EXTRA_TOKENS)
    if isinstance(extra, list):
        del settings[EXTRA_TOKENS]
        stated = settings.get(ADDITIONAL_TOKENS)
        stated = list(stated) if isinstance(stated, list) else []
        settings[ADDITIONAL_TOKENS] = [*stated, *(token for token in extra if token not in stated)]
    named = settings.get(_NAMED_TOKENS)
    if isinstance(named, dict):
        del settings[_NAMED_TOKENS]
        settings[EXTRA_TOKENS] = {**named, **(extra if isinstance(extra, dict) else {})}
    return settings


def _special_tokens(settings: Mapping[str, Any], folder: Folder) -> dict[str, Any]:
    """special_tokens_map.json; its additional tokens join those of the settings."""
    special = older_settings(folder.read_object(SPECIAL_TOKENS) or {})
    stated, more = settings.get(ADDITIONAL_TOKENS), special.get(ADDITIONAL_TOKENS)
    if isinstance(stated, list) and isinstance(more, list):
        special[ADDITIONAL_TOKENS] = [*stated, *(token for token in more if token not in stated)]
    return special


def _own_tokens(folder: Folder) -> dict[str, Any]:
    """The added tokens of tokenizer.json, in tokenizer_config.json's form."""
    entries = (folder.read_object(TOKENIZER) or {}).get("added_tokens")
    if not isinstance(entries, list):
        return {}
    return {str(entry["id"]): entry for entry in entries if isinstance(entry, dict) and type(entry.get("id")) is int}


def _text(token: Any) -> str | None:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None
