"""Special and added tokens, collected from a tokenizer's files as transformers does it.

The rules are those of transformers 4.57: `PreTrainedTokenizerBase._from_pretrained` and
`PreTrainedTokenizerFast.__init__`. A token is text, or text with flags (`tokenizers.AddedToken`: whether it takes
spaces beside it, matches inside words, matches normalized text). The flags change where text is split, and so its ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from exporter.errors import InputError

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

SPECIAL_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
ADDITIONAL_TOKENS = "additional_special_tokens"
EXTRA_TOKENS = "extra_special_tokens"  # further named tokens: {"image_token": "<image>"}
TOKEN_LIST = "added_tokens_decoder"
_MAX_DIGITS = 10  # of an id
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")

Flags = Mapping[str, bool]


def add_tokens(
    backend: Tokenizer, settings: Mapping[str, Any], defaults: Mapping[str, str | None], flags: Mapping[str, Flags]
) -> dict[str, Any]:
    """Adds every token of `settings` (tokenizer_config.json) to `backend`, which then splits text at it.

    defaults: special tokens where the settings state none. flags: the flags that the tokenizer's class gives to a
    special token that is stated as text alone. Returns `bos_token` … `mask_token` → text and
    `additional_special_tokens` → list of texts, as chat templates see them. `InputError` for an entry that is
    not a token.
    """
    listed = [token for _, token in listed_tokens(settings)]
    known = {token.content: token for token in (listed or backend.get_added_tokens_decoder().values())}
    special: dict[str, Any] = {}
    for key in SPECIAL_KEYS:
        token = token_of(settings[key], key) if key in settings else defaults.get(key)
        if token is not None and key in settings:
            token = known.get(str_of(token), token)  # flags in the list of added tokens win over those stated here
        if isinstance(token, str) and key in flags:
            token = _added(token, flags[key])
        if token is not None:
            special[key] = token
    additional = settings.get(ADDITIONAL_TOKENS)
    if isinstance(additional, list) and additional:
        special[ADDITIONAL_TOKENS] = [
            token for entry in additional if (token := token_of(entry, ADDITIONAL_TOKENS)) is not None
        ]
    extra = settings.get(EXTRA_TOKENS)
    for key, entry in extra.items() if isinstance(extra, dict) else ():
        if (token := token_of(entry, key)) is not None:
            special.setdefault(key, token)
    _extend(backend, listed, special)
    return {
        key: [str_of(t) for t in value] if key == ADDITIONAL_TOKENS else str_of(value) for key, value in special.items()
    }


def str_of(token: str | AddedToken) -> str:
    """The token's text."""
    return token if isinstance(token, str) else str(token.content)


def _extend(backend: Tokenizer, listed: Sequence[AddedToken], special: Mapping[str, Any]) -> None:
    every: dict[str, str | AddedToken] = {}
    for value in special.values():
        for token in value if isinstance(value, list) else [value]:
            every.setdefault(str_of(token), token)
    present = list(backend.get_added_tokens_decoder().values())
    same = {repr(token) for token in present}
    # A token that is listed as ordinary and named as special is special.
    changed = [t for t in (listed or present) if repr(t) not in same or (t.content in every and not t.special)]
    new: list[str | AddedToken] = [*changed]
    texts = {token.content for token in present} | {str_of(token) for token in new}
    # A special token with flags is added again even if its text is known: its flags override the earlier ones.
    new += [token for token in every.values() if not (token in texts if isinstance(token, str) else token in new)]
    added = []
    for token in new:
        is_special = str_of(token) in every or (not isinstance(token, str) and bool(token.special))
        if isinstance(token, str):
            added.append(_added(token, {"special": is_special}))
        else:
            token.special = is_special
            added.append(token)
    if added:
        backend.add_tokens(added)


def stated_tokens(settings: Mapping[str, Any]) -> dict[int, str]:
    """Id → text of the tokens that `added_tokens_decoder` lists. `InputError` for anything else."""
    return {index: str_of(token) for index, token in listed_tokens(settings)}


def listed_tokens(settings: Mapping[str, Any]) -> list[tuple[int, AddedToken]]:
    """Id and token of each entry of `added_tokens_decoder`, by id. `InputError` where it isn't such a map."""
    entries = settings.get(TOKEN_LIST)
    if entries is None:
        return []
    if not isinstance(entries, dict) or not all(
        key.isascii() and key.isdecimal() and len(key) <= _MAX_DIGITS and isinstance(entry, dict)
        for key, entry in entries.items()
    ):
        raise InputError.of(
            "checkpoint.tokenizer", f"{TOKEN_LIST} is not a map from ids to tokens", where="tokenizer_config.json"
        )
    tokens = [
        (int(key), token_of(entry, TOKEN_LIST)) for key, entry in sorted(entries.items(), key=lambda e: int(e[0]))
    ]
    return [(index, token) for index, token in tokens if token is not None and not isinstance(token, str)]


def token_of(value: Any, where: str) -> str | AddedToken | None:
    """A token from a file: text, or an object with `content` and flags. None stays None; else `InputError`."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(text := value.get("content"), str):
        return _added(text, {flag: bool(value[flag]) for flag in FLAGS if flag in value})
    raise InputError.of("checkpoint.tokenizer", f"{where} is {str(value)[:80]!r}, not a token", where=where)


def _added(text: str, flags: Flags) -> AddedToken:
    from tokenizers import AddedToken

    return AddedToken(text, **flags)
