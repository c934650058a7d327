"""Builds a `tokenizers` tokenizer that cuts text as a sentencepiece model does."""

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
    """How a tokenizer class lays its ids over a model's pieces, and what it puts around a text.

    leading: pieces that take the place of the model's first three, for fairseq's old numbering; empty for none.
    trailing: pieces behind the model's. before, after: the special tokens around a text, and between two texts.
    type_of_pair: the token type of a second text.
    """

    leading: tuple[str, ...] = ()
    trailing: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    type_of_pair: int = 0

    def new_id(self, old: int) -> int:
        """The id of the model's piece `old`; of the first three only for layouts without `leading`."""
        return old + max(0, len(self.leading) - 3)


@dataclass(frozen=True)
class Spacing:
    """prefix: a space goes before the text, or, where `everywhere`, before every part between special tokens too.
    lowercase: the text is turned into lower case first.
    """

    prefix: bool
    everywhere: bool = True
    lowercase: bool = False


def build(
    model: SentencePieceModel, layout: Layout, spacing: Spacing, renamed: Mapping[int, str]
) -> tokenizers.Tokenizer:
    """The tokenizer. renamed: id → the text that takes the place of a placeholder piece.

    `UnsupportedError` where a piece can't be made of the others by merging two at a time.
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
    """The pieces by their final ids."""
    pieces = list(model.pieces)
    if layout.leading:
        kinds = {"<unk>": Kind.UNKNOWN}
        pieces[:3] = [Piece(text, 0.0, kinds.get(text, Kind.CONTROL)) for text in layout.leading]
    pieces += [Piece(text, 0.0, Kind.CONTROL) for text in layout.trailing]
    for index, text in renamed.items():
        pieces[index] = Piece(text, pieces[index].score, Kind.CONTROL)
    return pieces


def merges(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """Every pair of pieces whose union is one, best score first.

    Sentencepiece merges whichever neighbours make the best-scored piece, in whatever way that is put together; here
    each way is a rule of its own, and among rules for one piece the longest left part goes first.
    """
    usable = {piece.text: i for i, piece in enumerate(pieces) if piece.kind in (Kind.NORMAL, Kind.USER_DEFINED)}
    found = []
    for text in usable:
        pairs = [(text[:i], text[i:]) for i in range(1, len(text)) if text[:i] in usable and text[i:] in usable]
        score = pieces[usable[text]].score
        found += [(-score, -len(left), -len(right), left, right) for left, right in pairs]
    found.sort(key=lambda rule: rule[:3])
    return [(left, right) for *_, left, right in found]


def _with_plain_characters(pieces: Sequence[Piece]) -> list[Piece]:
    """Merging starts from characters, so each character of a piece needs a piece of its own. Where the model has only
    the byte (Gemma's first tab), the byte's piece becomes the character: the id is the same.
    """
    texts = {piece.text for piece in pieces}
    needed = {c for p in pieces if p.kind is Kind.NORMAL and len(p.text) > 1 for c in p.text} - texts
    bytes_ = {f"<0x{ord(character):02X}>": character for character in needed if ord(character) < 128}
    lost = sorted(needed - {character for byte, character in bytes_.items() if byte in texts})
    if lost:
        raise UnsupportedError.of(
            "checkpoint.tokenizer",
            f"the sentencepiece model has pieces with characters that have no piece of their own: {lost[:5]}",
            hint="put a tokenizer.json that its authors or transformers made beside it",
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
        # Metaspace takes a space that is left at the start for the prefix; Prepend would make it two.
        ends = " +$" if spacing.prefix and not by_normalizer else "^ +| +$"
        steps += [normalizers.Replace(Regex(ends), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if by_normalizer:
        steps += [normalizers.Prepend(SPACE)] if spacing.prefix else []
        steps.append(normalizers.Replace(" ", SPACE))
    else:
        # Where no piece holds a space but at its start, words can be cut apart first, which is much faster.
        words = model.algorithm == "unigram" and not any(SPACE in piece.text[1:] for piece in model.pieces)
        scheme = ("always" if spacing.everywhere else "first") if spacing.prefix else "never"
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=words)
    if steps:
        backend.normalizer = normalizers.Sequence(steps)
