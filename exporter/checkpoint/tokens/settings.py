"""Merges a tokenizer's settings: tokenizer_config.json, special_tokens_map.json, added_tokens.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens.files import ADDED_TOKENS, SPECIAL_TOKENS, TOKENIZER, TOKENIZER_CONFIG
from exporter.checkpoint.tokens.special import ADDITIONAL_TOKENS, SPECIAL_KEYS, TOKEN_LIST
from exporter.errors import InputError


def read_settings(folder: Folder) -> Mapping[str, Any]:
    """tokenizer_config.json. Where it has no `added_tokens_decoder`, special_tokens_map.json overrides it, and the
    tokens of added_tokens.json and tokenizer.json are listed instead, as in transformers (4.57, `_from_pretrained`).
    """
    settings = folder.read_object(TOKENIZER_CONFIG) or {}
    if TOKEN_LIST in settings:
        return settings
    settings = {**settings, **(folder.read_object(SPECIAL_TOKENS) or {})}
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


def _own_tokens(folder: Folder) -> dict[str, Any]:
    """The added tokens of tokenizer.json, in tokenizer_config.json's form."""
    entries = (folder.read_object(TOKENIZER) or {}).get("added_tokens")
    if not isinstance(entries, list):
        return {}
    return {str(entry["id"]): entry for entry in entries if isinstance(entry, dict) and type(entry.get("id")) is int}


def _text(token: Any) -> str | None:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None
