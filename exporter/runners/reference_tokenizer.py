"""The reference for token ids: the tokenizer that transformers' own AutoTokenizer makes of a folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.checkpoint.tokens.chat import Message, render_as_transformers
from exporter.checkpoint.tokens.files import TOKENIZER
from exporter.checkpoint.tokens.special import SPECIAL_KEYS
from exporter.errors import InputError
from exporter.runners.reference import quiet


@dataclass(frozen=True)
class ReferenceTokens:
    """The tokens of one text or pair: n ids and, where the class states them, n types and n marks of special tokens."""

    ids: tuple[int, ...]
    types: tuple[int, ...] | None
    special: tuple[bool, ...] | None


class ReferenceTokenizer:
    """transformers' tokenizer of a folder: local files only, no code of the checkpoint.

    A folder with older files alone has two references, since transformers' fast class converts those files and gives
    other ids than the original code for some of them: that class, and the one in Python, which runs the original code.
    """

    def __init__(self, folder: Path) -> None:
        """Raises InputError with the reason where transformers can't load it."""
        import transformers

        forms = (True,) if (folder / TOKENIZER).exists() else (True, False)
        self._tokenizers: list[Any] = []
        problem: InputError | None = None
        for fast in forms:
            try:
                tokenizer = _load(folder, fast)
            except InputError as error:
                problem = problem or error
                continue
            if type(tokenizer) not in map(type, self._tokenizers):
                self._tokenizers.append(tokenizer)
        if not self._tokenizers:
            assert problem is not None
            raise problem
        names = " or ".join(type(tokenizer).__name__ for tokenizer in self._tokenizers)
        self.name = f"{names}, transformers {transformers.__version__}"

    @property
    def named(self) -> dict[str, int | None]:
        """`bos_token` … `mask_token` → id, None where there is no such token."""
        return {key: getattr(self._tokenizers[0], f"{key}_id") for key in SPECIAL_KEYS}

    def encode(self, text: str, second: str | None = None) -> tuple[ReferenceTokens, ...]:
        """The tokens of a text or of a pair, with the special tokens around them, of each reference.

        Raises InputError where one fails.
        """
        return tuple(_encode(tokenizer, text, second) for tokenizer in self._tokenizers)

    def encode_chat(self, messages: Sequence[Message], template: str) -> tuple[tuple[int, ...], ...]:
        """The ids of a conversation that awaits an answer, on the day that `clock_of(template)` states, of each
        reference. Raises InputError where the template refuses it.
        """
        return tuple(_encode_chat(tokenizer, messages, template) for tokenizer in self._tokenizers)


def _load(folder: Path, fast: bool) -> Any:
    import transformers

    with quiet(transformers):
        return _attempt(
            "transformers can't load the tokenizer",
            lambda: transformers.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, use_fast=fast
            ),
        )


def _encode(tokenizer: Any, text: str, second: str | None) -> ReferenceTokens:
    import transformers

    with quiet(transformers):
        made = _attempt(
            "transformers' tokenizer can't take the text",
            lambda: tokenizer(text, second, padding=False, return_special_tokens_mask=tokenizer.is_fast),
        )
    types, special = made.get("token_type_ids"), made.get("special_tokens_mask")
    return ReferenceTokens(
        tuple(made["input_ids"]),
        None if types is None else tuple(types),
        None if special is None else tuple(map(bool, special)),
    )


def _encode_chat(tokenizer: Any, messages: Sequence[Message], template: str) -> tuple[int, ...]:
    """What `apply_chat_template` does, with its rendering in a child process that has limits."""
    import transformers

    text = render_as_transformers(template, messages, tokenizer.special_tokens_map)
    with quiet(transformers):
        made = _attempt(
            "transformers' tokenizer can't take the chat",
            lambda: tokenizer(text, padding=False, truncation=False, add_special_tokens=False),
        )
    return tuple(made["input_ids"])


def _attempt(what: str, action: Callable[[], Any]) -> Any:
    """The action's result. Whatever it raises becomes an InputError: tokenizers and templates raise errors of any kind,
    plain `Exception` and Rust's panics among them.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return action()
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:200]
        raise InputError.of("parity.tokenizer", f"{what}: {type(error).__name__}: {reason}") from error
