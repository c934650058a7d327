"""Where a checkpoint's tokenizer comes from: its tokenizer.json, or a conversion of the older files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens import rules
from exporter.checkpoint.tokens.convert import Conversion, Request, convert_tokenizer
from exporter.checkpoint.tokens.files import CONVERTIBLE, TOKENIZER
from exporter.checkpoint.tokens.rust_errors import rust_errors


def conversion_of(folder: Folder, settings: Mapping[str, Any], config: Mapping[str, Any]) -> Conversion | None:
    """The tokenizer made from the folder's older files; None where there is a tokenizer.json, or nothing at all.

    settings: as `read_settings` gives them; config: config.json. Raises as `convert_tokenizer` does.
    """
    present = [name for name in CONVERTIBLE if folder.find(name) is not None]
    if folder.find(TOKENIZER) is not None or not present:
        return None
    name = rules.class_name(settings, config)
    with rust_errors(f"{present[0]} can't be converted to a {TOKENIZER}", where=present[0]):
        return convert_tokenizer(Request(folder, name, settings, rules.tokenizer_class(name).tokens))


def lowercases(tokenizer: Mapping[str, Any], settings: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether text becomes lower case. tokenizer: tokenizer.json, empty where there is none.

    The settings of BERT's classes win over the normalizer in tokenizer.json, as in transformers.
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
