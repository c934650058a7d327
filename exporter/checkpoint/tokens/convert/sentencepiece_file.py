"""Reads a sentencepiece model: pieces with their scores, and how text is normalized before it is cut.

The format is sentencepiece's `sentencepiece_model.proto`; field numbers and defaults are from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, cast

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens.convert import wire
from exporter.errors import InputError, UnsupportedError

MAX_BYTES = 32 << 20  # the largest in use, mT5's and Gemma's, have less than 5 MB
_MAX_PIECES = 1 << 20  # the largest in use has 262,144
_MAX_PIECE = 512  # characters; sentencepiece trains at most 16 unless told otherwise, Gemma has runs of 31 spaces
_MAX_CHARSMAP = 8 << 20  # bytes; sentencepiece's own nmt_nfkc has 0.24 MB
_MAX_SAMPLES, _MAX_SAMPLE = 100, 1000  # of the self-test, as many as are looked at, and bytes of one
SPACE = "▁"  # U+2581: what sentencepiece writes for a space


class Kind(IntEnum):
    """What a piece is."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """An entry of the vocabulary; its id is its place."""

    text: str
    score: float
    kind: Kind


@dataclass(frozen=True)
class SentencePieceModel:
    """A model file, checked.

    algorithm: how text is cut. byte_fallback: unknown characters become byte pieces. prefix: a space is put before
    the text. collapse: runs of spaces become one, and those at the ends go. escape: spaces become `▁`.
    charsmap: the compiled character replacements, empty for none.
    samples: text → the pieces that it must be cut into, as the trainer wrote them down.
    """

    pieces: tuple[Piece, ...]
    algorithm: Literal["unigram", "bpe"]
    byte_fallback: bool = False
    prefix: bool = True
    collapse: bool = True
    escape: bool = True
    charsmap: bytes = field(default=b"", repr=False)
    samples: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def unknown_id(self) -> int:
        """The id of the only UNKNOWN piece."""
        return next(i for i, piece in enumerate(self.pieces) if piece.kind is Kind.UNKNOWN)


def read_sentencepiece(folder: Folder, name: str) -> SentencePieceModel:
    """The model in the file `name`, which exists.

    Raises `InputError` for a damaged or hostile file, `UnsupportedError` for a model that `tokenizers` can't express.
    """
    data = folder.read_bytes(name, MAX_BYTES)
    if data is None:
        raise InputError.of("checkpoint.tokenizer", f"there is no {name}", where=name)
    try:
        return _model(data)
    except (wire.WireError, UnicodeDecodeError) as error:
        raise InputError.of(
            "checkpoint.tokenizer", f"{name} is not a sentencepiece model: {_reason(error)}", where=name
        ) from None
    except _UnsupportedModelError as error:
        raise UnsupportedError.of(
            "checkpoint.tokenizer",
            f"{name} can't be converted to a tokenizer.json: {error}",
            where=name,
            hint="put a tokenizer.json that its authors or transformers made beside it",
        ) from None


class _UnsupportedModelError(ValueError):
    pass


def _reason(error: ValueError) -> str:
    return f"text that is not UTF-8 (byte {error.start})" if isinstance(error, UnicodeDecodeError) else str(error)


def _model(data: bytes) -> SentencePieceModel:
    pieces: list[Piece] = []
    repeated: dict[int, list[bytes]] = {number: [] for number in (2, 3, 4, 5)}
    for number, value in wire.fields(data):
        if number == 1:
            if len(pieces) == _MAX_PIECES:
                raise wire.WireError(f"more than {_MAX_PIECES} pieces")
            pieces.append(_piece(_bytes(value)))
        elif number in repeated:
            repeated[number].append(_bytes(value))
    parts = {number: b"".join(messages) for number, messages in repeated.items()}  # protobuf merges repeated messages
    trainer, normalizer = _numbers(parts[2]), _numbers(parts[3])
    charsmap = _charsmap(parts[3])
    algorithm = {1: "unigram", 2: "bpe"}.get(trainer.get(3, 1))
    _check(pieces)
    for unsupported, what in (
        (algorithm is None, "it was trained as neither unigram nor BPE"),
        (bool(trainer.get(24)), "it writes spaces behind words (treat_whitespace_as_suffix)"),
        (bool(_charsmap(parts[5])), "it changes the text again when it decodes (denormalizer)"),
        (any(piece.kind is Kind.UNUSED for piece in pieces), "it has pieces that are marked as unused"),
    ):
        if unsupported:
            raise _UnsupportedModelError(what)
    return SentencePieceModel(
        pieces=tuple(pieces),
        algorithm=cast("Literal['unigram', 'bpe']", algorithm),
        byte_fallback=bool(trainer.get(35, 0)),
        prefix=bool(normalizer.get(3, 1)),
        collapse=bool(normalizer.get(4, 1)),
        escape=bool(normalizer.get(5, 1)),
        charsmap=charsmap,
        samples=_samples(parts[4]),
    )


def _piece(message: bytes) -> Piece:
    text, score, kind = "", 0.0, 1
    for number, value in wire.fields(message):
        if number == 1:
            text = _bytes(value).decode("utf-8")
        elif number == 2:
            if not isinstance(value, float) or not math.isfinite(value):
                raise wire.WireError(f"the score of a piece is {value!r}")
            score = value
        elif number == 3:
            kind = _int(value)
    if not 1 <= kind <= 6:
        raise wire.WireError(f"a piece has type {kind}")
    if not text or len(text) > _MAX_PIECE or "\0" in text:
        raise wire.WireError(f"a piece has {len(text)} characters" if "\0" not in text else "a piece holds a NUL")
    return Piece(text, score, Kind(kind))


def _check(pieces: Sequence[Piece]) -> None:
    if not pieces:
        raise wire.WireError("it has no pieces")
    if len({piece.text for piece in pieces}) != len(pieces):
        raise wire.WireError("two pieces have the same text")
    unknown = sum(piece.kind is Kind.UNKNOWN for piece in pieces)
    if unknown != 1:
        raise wire.WireError(f"it has {unknown} unknown pieces instead of one")


def _numbers(message: bytes) -> dict[int, int]:
    """Field number → the last integer under it."""
    return {number: wire.int32(value) for number, value in wire.fields(message) if isinstance(value, int)}


def _charsmap(message: bytes) -> bytes:
    found = b""
    for number, value in wire.fields(message):
        if number == 2:
            found = _bytes(value)
    if len(found) > _MAX_CHARSMAP:
        raise wire.WireError(f"a character map of {len(found)} bytes")
    return found


def _samples(message: bytes) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: list[tuple[str, tuple[str, ...]]] = []
    for number, value in wire.fields(message):
        if number == 1 and len(found) < _MAX_SAMPLES and len(_bytes(value)) <= _MAX_SAMPLE:
            sample = {key: _bytes(text).decode("utf-8") for key, text in wire.fields(_bytes(value)) if key in (1, 2)}
            found.append((sample.get(1, ""), tuple(sample.get(2, "").split(" ")) if sample.get(2) else ()))
    return tuple(found)


def _bytes(value: wire.Value) -> bytes:
    if not isinstance(value, bytes):
        raise wire.WireError("a number where text or a message belongs")
    return value


def _int(value: wire.Value) -> int:
    if not isinstance(value, int):
        raise wire.WireError("no integer where one belongs")
    return wire.int32(value)
