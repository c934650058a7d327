"""Which tokenizer files a bundle ships: those that phones and runtimes read, made where a checkpoint lacks them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.checkpoint.checkpoint import Checkpoint
from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens import rules
from exporter.checkpoint.tokens.files import CONVERTIBLE, TOKENIZER, TOKENIZER_CONFIG, UNREADABLE, VOCAB_JSON
from exporter.checkpoint.tokens.tokenizer import load_tokenizer

# Classes that exist only as code in checkpoints, and the one of transformers that loads the converted file alike; and
# the name that transformers 5 gave to one that transformers 4 and swift-transformers know.
_STANDARD = {
    **dict.fromkeys(("InternLMTokenizer", "InternLM2Tokenizer", "InternLM3Tokenizer"), "LlamaTokenizer"),
    "TokenizersBackend": "PreTrainedTokenizerFast",
}


@dataclass(frozen=True)
class ShippedTokenizer:
    """files: name → where it is, or what it holds. origin: how tokenizer.json came to be where it isn't the
    checkpoint's own, in words. ends: the ids that end a text where only the tokenizer's files say so, else empty.
    """

    files: Mapping[str, Path | bytes]
    origin: str | None = None
    ends: tuple[int, ...] = ()


def shipped_tokenizer(checkpoint: Checkpoint) -> ShippedTokenizer:
    """The files, sorted by name; none for a model without text. Raises as `load_tokenizer` does.

    The older forms of a vocabulary stay behind: tokenizer.json holds all of it. tokenizer_config.json names a class
    that needs no code of the checkpoint, since swift-transformers and onnxruntime-genai look for one.
    """
    files: dict[str, Path | bytes] = {
        name: path for name, path in checkpoint.tokenizer_files.items() if name not in (*CONVERTIBLE, *UNREADABLE)
    }
    conversion = checkpoint.conversion
    if conversion is None and TOKENIZER not in files:
        return ShippedTokenizer({})
    stated = Folder.at(checkpoint.root).read_object(TOKENIZER_CONFIG) or {}
    settings = _settled(stated, checkpoint.config)
    origin, tokenizer = None, load_tokenizer(checkpoint)
    if conversion is not None:
        files[TOKENIZER] = tokenizer.to_json().encode()
        if VOCAB_JSON not in conversion.source:  # Llama's class would ask for tokenizer.model again because of it
            settings.pop("add_prefix_space", None)
        settings = {**conversion.defaults, **settings}
        origin = f"converted from {' and '.join(conversion.source)} by kogata; {conversion.checked}"
    if settings != stated:
        files[TOKENIZER_CONFIG] = (json.dumps(settings, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()
    return ShippedTokenizer(dict(sorted(files.items())), origin, () if tokenizer.eos_stated else tokenizer.eos_ids)


def _settled(stated: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with a class that transformers has, as far as one is known."""
    settings = {key: value for key, value in stated.items() if key != "auto_map"}
    name = rules.class_name(stated, config)
    if "auto_map" in stated and not rules.is_known(name):
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    elif name in _STANDARD or ("tokenizer_class" not in stated and rules.is_known(name)):
        settings["tokenizer_class"] = _STANDARD.get(name, name)
    return settings
