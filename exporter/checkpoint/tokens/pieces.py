"""How text is prepared and split before it becomes tokens: a tokenizer class's changes to tokenizer.json's parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.tokens.classes import NORMALIZER_FIELDS, TokenizerClass
from exporter.errors import InputError

if TYPE_CHECKING:
    import tokenizers

_SPACE = "\u2581"  # sentencepiece's sign for a space
_BPE_STEPS = (
    {"type": "Prepend", "prepend": _SPACE},
    {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
)


def prefix_space(backend: tokenizers.Tokenizer, kind: TokenizerClass, settings: Mapping[str, Any]) -> None:
    """Settles `add_prefix_space` in `backend`."""
    if kind.nested_prefix and settings.get("add_prefix_space") and backend.pre_tokenizer is not None:
        _switch_on_everywhere(backend)
    if kind.rebuilds:
        stated = settings.get("add_prefix_space")
        # transformers 5, which writes `backend`, keeps tokenizer.json's own spacing.
        if stated is not None and "backend" not in settings:
            _respace(backend, bool(stated), settings.get("legacy") is not False)
    else:
        stated = settings if kind.states_prefix else {}
        _set_byte_level(backend, stated.get("add_prefix_space", kind.prefix_space))


def normalize(backend: tokenizers.Tokenizer, wanted: Mapping[str, Any]) -> None:
    """Overrides a BertNormalizer. wanted: setting → True, False or None, which strip_accents alone takes."""
    if backend.normalizer is None:
        return
    from tokenizers import normalizers

    state = json.loads(backend.normalizer.__getstate__())
    if state.pop("type") != "BertNormalizer":
        return
    for key, value in wanted.items():
        if value is not None and not isinstance(value, bool):
            raise InputError.of(
                "checkpoint.tokenizer",
                f"{key} is {str(value)[:40]!r}, not true or false",
                where="tokenizer_config.json",
            )
        state[NORMALIZER_FIELDS[key]] = value
    backend.normalizer = normalizers.BertNormalizer(**state)


def _set_byte_level(backend: tokenizers.Tokenizer, wanted: Any) -> None:
    if wanted is None or backend.pre_tokenizer is None:
        return
    from tokenizers import pre_tokenizers

    state = json.loads(backend.pre_tokenizer.__getstate__())
    if state.get("type") == "ByteLevel" and state["add_prefix_space"] != bool(wanted):
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=bool(wanted), trim_offsets=state["trim_offsets"], use_regex=state["use_regex"]
        )


def _switch_on_everywhere(backend: tokenizers.Tokenizer) -> None:
    """Bloom's and Cohere's classes write the setting into the whole serialized pre-tokenizer."""
    whole = json.loads(backend.to_str())
    steps = [whole["pre_tokenizer"], *whole["pre_tokenizer"].get("pretokenizers", [])]
    for step in steps:
        if step.get("add_prefix_space") is False:
            step["add_prefix_space"] = True
    part = {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}
    backend.pre_tokenizer = (
        type(backend).from_str(json.dumps({**part, "pre_tokenizer": whole["pre_tokenizer"]})).pre_tokenizer
    )


def _respace(backend: tokenizers.Tokenizer, prefix: bool, legacy: bool) -> None:
    """The spacing that transformers gives Llama's and T5's classes where it converts their sentencepiece model again.

    A tokenizer.json whose parts are of another kind is left as it is.
    """
    from tokenizers import decoders, normalizers, pre_tokenizers

    whole = json.loads(backend.to_str())
    before, words = whole["normalizer"], whole["pre_tokenizer"]
    if words is not None and words["type"] != "Metaspace":
        return
    scheme = ("always" if legacy else "first") if prefix else "never"
    if whole["model"]["type"] == "Unigram":
        if words is not None:
            backend.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, scheme, words["split"])
            backend.decoder = decoders.Metaspace(_SPACE, scheme)
        return
    steps = [] if before is None else before.get("normalizers", [before])
    if any(step not in _BPE_STEPS for step in steps):
        return
    replace = normalizers.Replace(" ", _SPACE)
    changed: Any = normalizers.Sequence([normalizers.Prepend(_SPACE), replace] if prefix else [replace])
    backend.normalizer = changed if legacy else None
    none: Any = None
    backend.pre_tokenizer = none if legacy else pre_tokenizers.Metaspace(_SPACE, scheme, split=False)
    tail = [decoders.Strip(" ", 1, 0)] if prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *tail]
    )
