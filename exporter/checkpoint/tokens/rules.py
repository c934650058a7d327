"""Applies the changes that transformers makes to a `tokenizer.json` when it loads one, so that token ids are the same.

In its tokenizer classes, `tokenizer_config.json` and the class's own defaults override `tokenizer.json`: BERT's case
folding, Llama's bos/eos template, the prefix space, special tokens. What each class does is in `classes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.tokens import pieces, templates
from exporter.checkpoint.tokens.classes import CLASSES, TokenizerClass
from exporter.checkpoint.tokens.model_types import class_of_model_type
from exporter.checkpoint.tokens.special import ADDITIONAL_TOKENS, add_tokens, str_of, token_of
from exporter.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    import tokenizers

_MAX_SENTINELS = 10_000  # T5 and its kin have 100
_SETTINGS = "tokenizer_config.json"


def class_name(settings: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The class that AutoTokenizer takes, without `Fast`: `tokenizer_class` in either file, else the class of the model
    type, else "".
    """
    name = settings.get("tokenizer_class") or config.get("tokenizer_class")
    if not isinstance(name, str):
        name = class_of_model_type(str(config.get("model_type")))
    return name.removesuffix("Fast")


def tokenizer_class(name: str) -> TokenizerClass:
    """The rules of the class `name` (without `Fast`). An unknown class has no rules."""
    return CLASSES.get(name, TokenizerClass({}))


def is_known(name: str) -> bool:
    """Whether `tokenizer_class` has rules for the class `name`."""
    return name in CLASSES


def apply(
    backend: tokenizers.Tokenizer, name: str, settings: Mapping[str, Any], *, converted: bool = False
) -> dict[str, Any]:
    """Changes `backend` in place as the class `name` (without `Fast`) does. Returns the special tokens as chat
    templates see them.

    converted: whether `backend` was converted from older files, and so has the spacing that the settings ask for.
    Raises `UnsupportedError` for a class whose text can't be cut from a `tokenizer.json` alone, `InputError` for
    settings that the class refuses.
    """
    kind = tokenizer_class(name)
    _require_usable(name, kind, settings)
    # The padding section of tokenizer.json names the padding token where no setting and no class does.
    padding = {} if backend.padding is None else {"pad_token": backend.padding["pad_token"]}
    settings = {**settings, **_additional(kind, settings)}
    tokens = add_tokens(backend, settings, {**padding, **kind.tokens}, kind.flags)
    if not (converted and kind.rebuilds):
        pieces.prefix_space(backend, kind, settings)
    if kind.normalizer is not None:
        pieces.normalize(backend, {key: settings.get(key, value) for key, value in kind.normalizer.items()})
    if kind.language is not None:
        templates.put_language(backend, settings, tokens, kind.language)
    elif kind.template is not None and not _template_is_stored(settings):
        templates.put_ends(backend, settings, tokens, kind.template)
    return tokens


def _require_usable(name: str, kind: TokenizerClass, settings: Mapping[str, Any]) -> None:
    if kind.unusable:
        message = f"a {name} can't be exported: {kind.unusable}"
        raise UnsupportedError.of("checkpoint.tokenizer", message, where=_SETTINGS)
    if settings.get("split_special_tokens"):
        raise UnsupportedError.of(
            "checkpoint.tokenizer",
            "split_special_tokens is set: special tokens in texts are cut like words, which no tokenizer.json can say",
            where=_SETTINGS,
            hint="remove split_special_tokens from the file; special tokens in texts are then recognized",
        )


def _template_is_stored(settings: Mapping[str, Any]) -> bool:
    """Whether tokenizer.json's template is kept. transformers 5, which writes `backend`, replaces it on request."""
    return "backend" in settings and all(settings.get(key) is None for key in ("add_bos_token", "add_eos_token"))


def _additional(kind: TokenizerClass, settings: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The additional special tokens where the class adds some to the stated ones; else empty."""
    if kind.extra_ids:
        return {ADDITIONAL_TOKENS: _with_sentinels(settings)}
    stated = settings.get(ADDITIONAL_TOKENS)
    tokens = list(stated) if isinstance(stated, list) else []
    if kind.named:
        tokens += [settings.get(key, text) for key, text in kind.named.items()]
    elif kind.additional and not (kind.stated_additional and isinstance(stated, list)):
        tokens += [text for text in kind.additional if text not in tokens]
    else:
        return {}
    return {ADDITIONAL_TOKENS: [token for token in tokens if token is not None]}


def _with_sentinels(settings: Mapping[str, Any]) -> list[Any]:
    """The stated additional special tokens, with T5's `<extra_id_0>` and so on unless such tokens are among them."""
    stated, count = settings.get(ADDITIONAL_TOKENS), settings.get("extra_ids", 100)
    tokens = list(stated) if isinstance(stated, list) else []
    if type(count) is not int or not 0 <= count <= _MAX_SENTINELS:
        raise InputError.of("checkpoint.tokenizer", f"extra_ids is {str(count)[:40]!r}", where=_SETTINGS)
    texts = [str_of(token) for entry in tokens if (token := token_of(entry, ADDITIONAL_TOKENS)) is not None]
    if not any("<extra_id_" in text for text in texts):
        tokens += [f"<extra_id_{i}>" for i in range(count)]
    return tokens
