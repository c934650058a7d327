"""Reads a sentencepiece model: its pieces with their scores, and how text is normalized before it is cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, cast

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens.convert.sentencepiece_proto import DamagedModelError, parse_model
from exporter.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    import sentencepiece

MAX_BYTES = 32 << 20  # the largest in use, mT5's and Gemma's, have less than 5 MB
_MAX_PIECES = 1 << 20  # the largest in use has 262,144
_MAX_PIECE = 512  # characters; sentencepiece trains at most 16 unless told otherwise, Gemma has runs of 31 spaces
_MAX_CHARSMAP = 8 << 20  # bytes; sentencepiece's own nmt_nfkc has 0.24 MB
_MAX_SAMPLES, _MAX_SAMPLE = 100, 1000  # how many of the trainer's samples are compared, and the bytes of one
SPACE = "▁"  # U+2581: what sentencepiece writes for a space


class Kind(IntEnum):
    """The type of a piece."""

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
    """A model file whose fields were checked.

    algorithm: how text is cut. byte_fallback: unknown characters become byte pieces. prefix: a space is put before
    the text. collapse: runs of spaces become one space, and spaces at both ends are removed.
    charsmap: the compiled character replacements, empty for none.
    samples: texts with the pieces that the trainer got for them.
    data: the file's content without the samples, for the sentencepiece package.
    """

    pieces: tuple[Piece, ...]
    algorithm: Literal["unigram", "bpe"]
    byte_fallback: bool = False
    prefix: bool = True
    collapse: bool = True
    charsmap: bytes = field(default=b"", repr=False)
    samples: tuple[tuple[str, tuple[str, ...]], ...] = ()
    data: bytes = field(default=b"", repr=False)

    @property
    def unknown_id(self) -> int:
        """The id of the only UNKNOWN piece."""
        return next(i for i, piece in enumerate(self.pieces) if piece.kind is Kind.UNKNOWN)

    def with_prefix(self, prefix: bool) -> SentencePieceModel:
        """The same model that puts a space before the text, or doesn't."""
        message = parse_model(self.data)
        message.normalizer_spec.add_dummy_prefix = prefix
        return replace(self, prefix=prefix, data=message.SerializeToString())

    def processor(self, where: str) -> sentencepiece.SentencePieceProcessor:
        """The sentencepiece package's own reader of this model. `InputError` where it refuses the model.

        The package is C++: `read_sentencepiece` has bounded what it gets. It checks the character map itself, since
        version 0.2.2; older ones crash over a damaged one.
        """
        import sentencepiece

        try:
            return sentencepiece.SentencePieceProcessor(model_proto=self.data)
        except (RuntimeError, ValueError) as error:
            reason = str(error).removeprefix("INTERNAL: ")[:200]
            message = f"{where} is not a sentencepiece model: {reason}"
            raise InputError.of("checkpoint.tokenizer", message, where=where) from None


def read_sentencepiece(folder: Folder, name: str) -> SentencePieceModel:
    """The model in the file `name`, which exists.

    Raises `InputError` for a damaged or hostile file, `UnsupportedError` for a model that `tokenizers` can't express.
    """
    data = folder.read_bytes(name, MAX_BYTES)
    if data is None:
        raise InputError.of("checkpoint.tokenizer", f"there is no {name}", where=name)
    try:
        return _model(data)
    except (DamagedModelError, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, DamagedModelError) else "it holds text that is not UTF-8"
        raise InputError.of(
            "checkpoint.tokenizer", f"{name} is not a sentencepiece model: {reason}", where=name
        ) from None
    except _UnsupportedModelError as error:
        raise UnsupportedError.of(
            "checkpoint.tokenizer",
            f"{name} can't be converted to a tokenizer.json: {error}",
            where=name,
            hint="put a tokenizer.json from the authors or from transformers beside it",
        ) from None


class _UnsupportedModelError(ValueError):
    pass


def _model(data: bytes) -> SentencePieceModel:
    # The byte 0x0A begins each piece and the text in it; scores and lengths hold it by chance. Counting it keeps
    # protobuf from making millions of empty pieces.
    if data.count(b"\n") > 4 * _MAX_PIECES or len((message := parse_model(data)).pieces) > _MAX_PIECES:
        raise DamagedModelError(f"it has more than {_MAX_PIECES} pieces")
    pieces = tuple(_piece(piece) for piece in message.pieces)
    _check(pieces)
    trainer, normalizer = message.trainer_spec, message.normalizer_spec
    algorithm = {1: "unigram", 2: "bpe"}.get(trainer.model_type)
    if len(normalizer.precompiled_charsmap) > _MAX_CHARSMAP:
        raise DamagedModelError(f"its character map has {len(normalizer.precompiled_charsmap)} bytes")
    for unsupported, what in (
        (algorithm is None, "it was trained as neither unigram nor BPE"),
        (trainer.treat_whitespace_as_suffix, "it writes spaces behind words (treat_whitespace_as_suffix)"),
        (not normalizer.escape_whitespaces, "it keeps spaces as they are (escape_whitespaces)"),
        (message.denormalizer_spec.precompiled_charsmap, "it changes the text again when it decodes (denormalizer)"),
        (any(piece.kind is Kind.UNUSED for piece in pieces), "it has pieces that are marked as unused"),
    ):
        if unsupported:
            raise _UnsupportedModelError(what)
    samples = _samples(message.self_test_data.samples)
    message.ClearField("self_test_data")
    return SentencePieceModel(
        pieces=pieces,
        algorithm=cast("Literal['unigram', 'bpe']", algorithm),
        byte_fallback=trainer.byte_fallback,
        prefix=normalizer.add_dummy_prefix,
        collapse=normalizer.remove_extra_whitespaces,
        charsmap=normalizer.precompiled_charsmap,
        samples=samples,
        data=message.SerializeToString(),
    )


def _piece(message: Any) -> Piece:
    text, score, kind = message.piece.decode(), message.score, message.type
    if not math.isfinite(score):
        raise DamagedModelError(f"the score of a piece is {score!r}")
    if not 1 <= kind <= 6:
        raise DamagedModelError(f"a piece has type {kind}")
    if "\0" in text:
        raise DamagedModelError("a piece holds a NUL")
    if not 0 < len(text) <= _MAX_PIECE:
        raise DamagedModelError(f"a piece has {len(text)} characters")
    return Piece(text, score, Kind(kind))


def _check(pieces: Sequence[Piece]) -> None:
    if not pieces:
        raise DamagedModelError("it has no pieces")
    if len({piece.text for piece in pieces}) != len(pieces):
        raise DamagedModelError("two pieces have the same text")
    unknown = sum(piece.kind is Kind.UNKNOWN for piece in pieces)
    if unknown != 1:
        raise DamagedModelError(f"it has {unknown} unknown pieces instead of one")


def _samples(messages: Sequence[Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    samples = [message for message in messages[:_MAX_SAMPLES] if message.ByteSize() <= _MAX_SAMPLE]
    pairs = [(sample.input.decode(), sample.expected.decode()) for sample in samples]
    return tuple((text, tuple(pieces.split(" ")) if pieces else ()) for text, pieces in pairs)
