"""Converts errors of the tokenizers library, which is written in Rust."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from exporter.checkpoint.tokens.files import TOKENIZER
from exporter.errors import InputError


@contextmanager
def rust_errors(what: str, where: str = TOKENIZER) -> Iterator[None]:
    """Raises `InputError` for an error of the tokenizers library; `what` begins the message.

    The library raises plain `Exception`, `ValueError` and `TypeError` for input that it can't use, and PanicException,
    a `BaseException`, for input that it doesn't expect.
    """
    try:
        yield
    except BaseException as error:
        if type(error) not in (Exception, ValueError, TypeError) and type(error).__name__ != "PanicException":
            raise
        reason = str(error).partition("\n")[0][:200]
        raise InputError.of("checkpoint.tokenizer", f"{what}: {reason}", where=where) from None
