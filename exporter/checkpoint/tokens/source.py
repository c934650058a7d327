"""Decides whether a checkpoint's tokenizer is its tokenizer.json or a conversion of older files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens import rules
from exporter.checkpoint.tokens.convert import Conversion, Request, convert_tokenizer
from exporter.checkpoint.tokens.files import OLDER_FILES, TOKENIZER
from exporter.checkpoint.tokens.rust_errors import rust_errors


def conversion_of(folder: Folder, settings: Mapping[str, Any], config: Mapping[str, Any]) -> Conversion | None:
    """The tokenizer converted from the folder's older files; None where there is a tokenizer.json, or no older file.

    settings: as `read_settings` gives them; config: config.json. Raises as `convert_tokenizer` does.
    """
    present = [name for name in OLDER_FILES if folder.find(name) is not None]
    if folder.find(TOKENIZER) is not None or not present:
        return None
    name = rules.class_name(settings, config)
    with rust_errors(f"{present[0]} can't be converted to a {TOKENIZER}", where=present[0]):
        return convert_tokenizer(Request(folder, name, settings, rules.tokenizer_class(name).tokens))


def lowercases(tokenizer: Mapping[str, Any], settings: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether the tokenizer makes text lower case. tokenizer: tokenizer.json, empty without that file.

    The settings of BERT's classes override the normalizer in tokenizer.json, as in transformers.
    """
    rule = rules.tokenizer_class(rules.class_name(settings, config)).normalizer
    normalizer = tokenizer.get("normalizer")
    bert = isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer"
    if rule is not None and (bert or not tokenizer):
        return bool(settings.get("do_lower_case", rule["do_lower_case"]))
    steps = [normalizer]
    if isinstance(normalizer, dict) and isinstance(normalizer.get("normalizers"), list):
        steps = normalizer["normalizers"]
    return any(
        isinstance(step, dict)
        and (step.get("type") == "Lowercase" or (step.get("type") == "BertNormalizer" and bool(step.get("lowercase"))))
        for step in steps
    )
