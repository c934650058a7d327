"""Errors of the tokenizers library as kogata's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from exporter.checkpoint.tokens.files import TOKENIZER
from exporter.errors import InputError


@contextmanager
def rust_errors(what: str, where: str = TOKENIZER) -> Iterator[None]:
    """The tokenizers library raises bare `Exception`, `ValueError` and `TypeError` for what it can't use, and
    PanicException, a `BaseException`, for what it doesn't expect: all of them become `InputError`.
    """
    try:
        yield
    except BaseException as error:
        if type(error) not in (Exception, ValueError, TypeError) and type(error).__name__ != "PanicException":
            raise
        reason = str(error).partition("\n")[0][:200]
        raise InputError.of("checkpoint.tokenizer", f"{what}: {reason}", where=where) from None
