"""Compares a converted tokenizer with the files that it was converted from, before anything is exported with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from exporter.checkpoint.tokens.convert.sentencepiece_backend import Layout, Spacing
from exporter.checkpoint.tokens.convert.sentencepiece_file import SPACE, Kind, SentencePieceModel
from exporter.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    import tokenizers
    from sentencepiece import SentencePieceProcessor

# Ordinary text of many kinds. Special tokens and `▁` are left out, as a tokenizer.json recognizes them in typed text;
# half-width kana and stacked accents, as `tokenizers` normalizes them by grapheme (docs/tokenizers.md).
TEXTS = (
    "Hello, World! It's 9:30 — don't be late.",
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind; 1234567890 times.",
    "i'm sure we'll see they've done what you'd do. WE'LL SEE, THEY'VE SAID.",
    "two  spaces,   three,    four, and a tab\tbetween",
    "line one\nline two\n\nline four\r\nline five\n\n\n\nthe end",
    "def f(x):\n    if x > 0:\n        return {'a': [x ** 2, -1.5e-3]}  # 100 %\n\treturn None\n",
    '<p class="a">5 < 6 && 7 > 2</p> https://example.org/a_b?c=d#e user@example.com C:\\dir\\file.txt',
    "$1,234.56 + €7.89 = ¥1,000? 3×4÷2 ≈ 6; x² ≤ ∞, π≠½",
    "aaaaaaaaaaaaaaaa bbbbbbbb ababababab ------------ ........ ======== !!!!!",
    "supercalifragilisticexpialidocious antidisestablishmentarianism Donaudampfschifffahrtsgesellschaft",
    "Größe, Straße, Übermut; naïve façade, garçon, œuvre, señor, ação, Łódź, žluťoučký kůň, İstanbul, ætt",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Ґанок, ђак, ѐ.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία, καλημέρα κόσμε",
    "明日の朝7時に起こしてください。部屋の電気を30%にして、東京タワーへ行きたい。",
    "吾輩は猫である。名前はまだ無い。カタカナとひらがな、漢字！",
    "今天天气很好，我们去公园散步吧。人工智能正在改变世界。",
    "繁體中文：龍、鳳、麒麟與龜。",
    "안녕하세요, 세계! 오늘 날씨가 좋네요.",
    "مرحبا بالعالم، كيف حالك اليوم؟",
    "שלום עולם, מה שלומך היום?",
    "नमस्ते दुनिया, आप कैसे हैं?",
    "สวัสดีชาวโลก วันนี้อากาศดี",
    "xin chào thế giới, hôm nay trời đẹp quá",
    "🙂🚀🎉 emoji, 👍🏽 and 日本🇯🇵",
    "x",
    " leading space",
    "trailing space ",
    "  both, twice  ",
    "\n",
    "ⅷ ㎏ ﬁ ① Ａｂｃ１２３",
)


def check_ids(backend: tokenizers.Tokenizer, expected: Mapping[int, str], where: str) -> None:
    """Raises `UnsupportedError` for a token whose id isn't the expected one. expected: id → text."""
    ids = {text: backend.token_to_id(text) for text in expected.values()}
    wrong = [(index, text) for index, text in sorted(expected.items()) if ids[text] != index]
    if wrong:
        index, text = wrong[0]
        got = "none" if ids[text] is None else str(ids[text])
        raise UnsupportedError.of(
            "checkpoint.tokenizer",
            f"{len(wrong)} tokens can't keep their ids: {text!r} is {index}, and would be {got}",
            where=where,
            hint="ids of added tokens must follow the vocabulary without a gap",
        )


def check_against_model(
    backend: tokenizers.Tokenizer, model: SentencePieceModel, layout: Layout, spacing: Spacing, where: str
) -> str:
    """Compares ids with those that the sentencepiece package gives, and decoded text where nothing is lost: on `TEXTS`
    and on the trainer's samples. Returns what was compared, in words.

    Raises `UnsupportedError` at the first difference, `InputError` where the package refuses the model.
    """
    reference = model.processor(where)
    unknown = layout.leading.index("<unk>") if layout.leading else model.unknown_id
    lossless = model.byte_fallback and not model.collapse and not model.charsmap and not spacing.lowercase
    texts = [text for text in TEXTS if spacing.everywhere or not text.startswith(" ")]
    texts = [text.lower() for text in texts] if spacing.lowercase else texts
    try:
        texts += () if spacing.lowercase else _samples(model, reference, where)
        expected = [reference.encode(text) for text in texts]
    except (RuntimeError, ValueError) as error:
        message = f"the sentencepiece package can't use {where}: {str(error)[:200]}"
        raise InputError.of("checkpoint.tokenizer", message, where=where) from None
    for text, old in zip(texts, expected, strict=True):
        wanted = [unknown if index == model.unknown_id else layout.new_id(index) for index in old]
        got = list(backend.encode(text, add_special_tokens=False).ids)
        if got != wanted:
            raise _differs(where, text, backend, wanted, got)
        if lossless and backend.decode(got, skip_special_tokens=False) != text:
            message = f"{text[:60]!r} is not the same text after encoding and decoding"
            raise UnsupportedError.of("checkpoint.tokenizer", message, where=where)
    return f"ids equal on {len(expected)} texts"


def check_byte_level(backend: tokenizers.Tokenizer, *, composes: bool, where: str) -> str:
    """Each of `TEXTS` must be unchanged after encoding and decoding (in NFC where the tokenizer `composes`).

    Returns what was checked, in words. Raises `UnsupportedError`.
    """
    import unicodedata

    for text in TEXTS:
        wanted = unicodedata.normalize("NFC", text) if composes else text
        decoded = backend.decode(backend.encode(text, add_special_tokens=False).ids, skip_special_tokens=False)
        if decoded.removeprefix(" ") != wanted.removeprefix(" "):  # a prefix space may have been added
            raise UnsupportedError.of(
                "checkpoint.tokenizer",
                f"the vocabulary can't write every text: {wanted[:60]!r} becomes {decoded[:60]!r}",
                where=where,
                hint="a byte-level vocabulary must hold all 256 bytes",
            )
    return f"{len(TEXTS)} texts come back as they were"


def check_words(backend: tokenizers.Tokenizer, vocabulary: Mapping[str, int], where: str) -> str:
    """Each token of lower-case ASCII letters must be encoded to its own id alone.

    Returns what was checked, in words. Raises `UnsupportedError`.
    """
    words = [text for text in vocabulary if text.isascii() and text.isalpha() and text.islower() and len(text) <= 100]
    for text, encoding in zip(words, backend.encode_batch(words, add_special_tokens=False), strict=True):
        if list(encoding.ids) != [vocabulary[text]]:
            raise UnsupportedError.of(
                "checkpoint.tokenizer", f"the word {text!r} is not cut into its own token", where=where
            )
    return f"{len(words)} words are cut into their own tokens"


def _samples(model: SentencePieceModel, reference: SentencePieceProcessor, where: str) -> list[str]:
    """The trainer's samples that hold no special token, after `reference` gave the pieces that are stored with them."""
    ids = {piece.text: index for index, piece in enumerate(model.pieces)}
    for text, pieces in model.samples:
        if reference.encode(text) != [ids.get(piece, model.unknown_id) for piece in pieces]:
            message = f"{where} contradicts its own samples: {text[:60]!r} is not cut into the pieces that it states"
            raise UnsupportedError.of("checkpoint.tokenizer", message, where=where)
    kinds = (Kind.CONTROL, Kind.UNKNOWN, Kind.USER_DEFINED)
    special = [SPACE, *(piece.text for piece in model.pieces if piece.kind in kinds)]
    return [text for text, _ in model.samples if not any(mark in text for mark in special)]


def _differs(
    where: str, text: str, backend: tokenizers.Tokenizer, wanted: list[int], got: list[int]
) -> UnsupportedError:
    at = next((i for i, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b), min(len(wanted), len(got)))
    one, other = ([backend.id_to_token(index) for index in ids[at : at + 4]] for ids in (wanted, got))
    error = UnsupportedError.of(
        "checkpoint.tokenizer",
        f"{where} can't be converted to a tokenizer.json that cuts text the same way: "
        f"in {text[:60]!r}, {other} stands in place of {one}",
        where=where,
        hint="put a tokenizer.json from the authors or from transformers beside it",
    )
    assert isinstance(error, UnsupportedError)
    return error
