"""Builds a `tokenizers` tokenizer that gives the ids of a sentencepiece model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.tokens.convert.sentencepiece_file import SPACE, Kind, Piece, SentencePieceModel
from exporter.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    import tokenizers


@dataclass(frozen=True)
class Layout:
    """How a tokenizer class numbers a model's pieces, and the special tokens that it puts around a text.

    leading: pieces that replace the model's first three, for fairseq's old numbering; empty for none.
    trailing: pieces after the model's. before, after: the special tokens around a text; between: those between two.
    type_of_pair: the token type of a second text.
    """

    leading: tuple[str, ...] = ()
    trailing: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    type_of_pair: int = 0

    def new_id(self, old: int) -> int:
        """The final id of the model's piece `old`. With `leading`, not defined for the first three pieces."""
        return old + max(0, len(self.leading) - 3)


@dataclass(frozen=True)
class Spacing:
    """Changes of a text before it is cut.

    prefix: a space is put before the text and, where `everywhere`, before each part after a special token.
    lowercase: the text is made lower case first.
    """

    prefix: bool
    everywhere: bool = True
    lowercase: bool = False


def build(
    model: SentencePieceModel, layout: Layout, spacing: Spacing, renamed: Mapping[int, str]
) -> tokenizers.Tokenizer:
    """The tokenizer. renamed: id → the text that replaces a placeholder piece.

    Raises `UnsupportedError` where a piece has a character without its own piece, and `InputError` where a special
    token of `layout` is missing.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, processors
    from tokenizers.models import BPE, Unigram

    pieces = lay_out(model, layout, renamed)
    unknown = next(i for i, piece in enumerate(pieces) if piece.kind is Kind.UNKNOWN)
    if model.algorithm == "bpe":
        pieces = _with_plain_characters(pieces)
        core: Any = BPE(
            {piece.text: i for i, piece in enumerate(pieces)},
            merges(pieces),
            unk_token=pieces[unknown].text,
            fuse_unk=True,
            byte_fallback=model.byte_fallback,
        )
    else:
        core = Unigram([(piece.text, piece.score) for piece in pieces], unknown, model.byte_fallback)
    backend = Tokenizer(core)
    backend.add_tokens(
        [
            AddedToken(piece.text, normalized=False, special=piece.kind is Kind.CONTROL)
            for piece in pieces
            if piece.kind in (Kind.CONTROL, Kind.USER_DEFINED)
        ]
    )
    _set_spacing(backend, model, spacing)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if spacing.prefix else steps)
    if layout.before or layout.after:
        lost = sorted({*layout.before, *layout.after, *layout.between} - {piece.text for piece in pieces})
        if lost:
            raise InputError.of("checkpoint.tokenizer", f"the sentencepiece model has no piece {lost[0]!r}")
        second = f":{layout.type_of_pair}"
        single = [*(f"{t}:0" for t in layout.before), "$A:0", *(f"{t}:0" for t in layout.after)]
        pair = [*single, *(f"{t}:0" for t in layout.between), f"$B{second}", *(t + second for t in layout.after)]
        used = sorted({*layout.before, *layout.after, *layout.between})
        backend.post_processor = processors.TemplateProcessing(
            single=single, pair=pair, special_tokens=[(token, backend.token_to_id(token)) for token in used]
        )
    return backend


def lay_out(model: SentencePieceModel, layout: Layout, renamed: Mapping[int, str]) -> list[Piece]:
    """The pieces in the order of their final ids."""
    pieces = list(model.pieces)
    if layout.leading:
        kinds = {"<unk>": Kind.UNKNOWN}
        pieces[:3] = [Piece(text, 0.0, kinds.get(text, Kind.CONTROL)) for text in layout.leading]
    pieces += [Piece(text, 0.0, Kind.CONTROL) for text in layout.trailing]
    for index, text in renamed.items():
        pieces[index] = Piece(text, pieces[index].score, Kind.CONTROL)
    return pieces


def merges(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """All pairs of pieces whose concatenation is a piece, best score first.

    Sentencepiece merges the two neighbours that make the piece with the best score. `tokenizers` needs a rule for each
    way to split a piece; among the rules for one piece, the one with the longest left part comes first.
    """
    usable = {piece.text: i for i, piece in enumerate(pieces) if piece.kind in (Kind.NORMAL, Kind.USER_DEFINED)}
    rules = []
    for text in usable:
        pairs = [(text[:i], text[i:]) for i in range(1, len(text)) if text[:i] in usable and text[i:] in usable]
        score = pieces[usable[text]].score
        rules += [(-score, -len(left), -len(right), left, right) for left, right in pairs]
    rules.sort(key=lambda rule: rule[:3])
    return [(left, right) for *_, left, right in rules]


def _with_plain_characters(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces, with a piece for each character of another piece, as merging starts from characters. Where the model
    has only the byte piece (Gemma's first tab), that piece becomes the character and keeps its id.
    """
    texts = {piece.text for piece in pieces}
    needed = {c for p in pieces if p.kind is Kind.NORMAL and len(p.text) > 1 for c in p.text} - texts
    bytes_ = {f"<0x{ord(character):02X}>": character for character in needed if ord(character) < 128}
    lost = sorted(needed - {character for byte, character in bytes_.items() if byte in texts})
    if lost:
        raise UnsupportedError.of(
            "checkpoint.tokenizer",
            f"the sentencepiece model has pieces whose characters are not pieces themselves: {lost[:5]}",
            hint="put a tokenizer.json from the authors or from transformers beside it",
        )
    plain = {byte: character for byte, character in bytes_.items() if character in needed}
    return [
        Piece(plain[p.text], p.score, Kind.NORMAL) if p.kind is Kind.BYTE and p.text in plain else p for p in pieces
    ]


def _set_spacing(backend: tokenizers.Tokenizer, model: SentencePieceModel, spacing: Spacing) -> None:
    from tokenizers import Regex, normalizers, pre_tokenizers

    steps: list[Any] = [normalizers.Lowercase()] if spacing.lowercase else []
    if model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    by_normalizer = model.algorithm == "bpe" and spacing.everywhere
    if model.collapse:
        # Metaspace uses a remaining space at the start as the prefix; Prepend would add a second one.
        ends = " +$" if spacing.prefix and not by_normalizer else "^ +| +$"
        steps += [normalizers.Replace(Regex(ends), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if by_normalizer:
        steps += [normalizers.Prepend(SPACE)] if spacing.prefix else []
        steps.append(normalizers.Replace(" ", SPACE))
    else:
        # If pieces hold a space only at their start, text can be split into words first, which is much faster.
        words = model.algorithm == "unigram" and not any(SPACE in piece.text[1:] for piece in model.pieces)
        scheme = ("always" if spacing.everywhere else "first") if spacing.prefix else "never"
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=words)
    if steps:
        backend.normalizer = normalizers.Sequence(steps)
