"""The special tokens that a tokenizer class puts around a text, whatever tokenizer.json says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from exporter.errors import InputError

if TYPE_CHECKING:
    import tokenizers

    from exporter.checkpoint.tokens.classes import Language

_SETTINGS = "tokenizer_config.json"


def put_ends(
    backend: tokenizers.Tokenizer,
    settings: Mapping[str, Any],
    tokens: Mapping[str, Any],
    default: tuple[bool, bool],
) -> None:
    """Puts the beginning and the end token around each text, as `add_bos_token` and `add_eos_token` say.

    default: both settings where they aren't stated. Raises `InputError` where such a token doesn't exist.
    """
    from tokenizers import processors

    around: dict[str, list[str]] = {}
    used = []
    for key, add_default in (("bos_token", default[0]), ("eos_token", default[1])):
        around[key] = []
        if settings.get(f"add_{key}", add_default):
            text, index = _known(backend, tokens, key)
            around[key].append(text)
            used.append((text, index))
    single, pair = (
        [*(f"{t}:{i}" for t in around["bos_token"]), f"${name}:{i}", *(f"{t}:{i}" for t in around["eos_token"])]
        for i, name in enumerate("AB")
    )
    backend.post_processor = processors.TemplateProcessing(single=single, pair=[*single, *pair], special_tokens=used)


def put_language(
    backend: tokenizers.Tokenizer,
    settings: Mapping[str, Any],
    tokens: Mapping[str, Any],
    default: tuple[str, Language],
) -> None:
    """Puts the source language's code and the end token around a text, as translation models expect them.

    default: the language where `src_lang` isn't stated, and the side of its code, which `legacy_behaviour` changes for
    NLLB.
    """
    from tokenizers import processors

    code, side = settings.get("src_lang") or default[0], default[1]
    if default[0].startswith("__") and isinstance(code, str) and "__" not in code:
        code = f"__{code}__"  # SeamlessM4T's spelling
    legacy = bool(settings.get("legacy_behaviour"))
    first = side == "language first" or (side == "language first unless legacy" and not legacy)
    index = backend.token_to_id(code) if isinstance(code, str) else None
    if index is None:
        message = f"the source language {str(code)[:40]!r} is not a token"
        raise InputError.of("checkpoint.tokenizer", message, where=f"{_SETTINGS}: src_lang")
    end, end_id = _known(backend, tokens, "eos_token")
    before, after = ([code], [end]) if first else ([], [end, code])
    backend.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, "$A", "$B", *after],
        special_tokens=[(code, index), (end, end_id)],
    )


def _known(backend: tokenizers.Tokenizer, tokens: Mapping[str, Any], key: str) -> tuple[str, int]:
    text = tokens.get(key)
    index = None if text is None else backend.token_to_id(text)
    if text is None or index is None:
        raise InputError.of("checkpoint.tokenizer", f"add_{key} is set, but there is no {key}", where=_SETTINGS)
    return text, index
