"""Text from ids as they come, against the tokenizers package's decoding of all of them at once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from support.tokenizer_fixtures import BUILDS, TEXTS, write_tokenizer

from exporter.checkpoint.tokens.stream import StopTexts, TextStream
from exporter.checkpoint.tokens.tokenizer import Tokenizer, load_tokenizer

LONG = "".join(TEXTS) * 3  # far more tokens than a window of the stream


def tokenizer_of(folder: Path, build: str, **settings: Any) -> Tokenizer:
    return load_tokenizer(write_tokenizer(folder, build, {"tokenizer_class": "PreTrainedTokenizerFast", **settings}))


def streamed(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    stream = TextStream(tokenizer)
    return [*(stream.append(token) for token in ids), stream.finish()]


@pytest.mark.parametrize("cleans", [False, True])
@pytest.mark.parametrize("build", BUILDS)
def test_texts_come_as_they_are_decoded(build: str, cleans: bool, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, build, clean_up_tokenization_spaces=cleans)
    for text in (*TEXTS, LONG):
        ids = tokenizer.encode(text)
        pieces = streamed(tokenizer, ids)
        assert "".join(pieces) == tokenizer.decode(ids)
        if "byte" in build:  # they lose no letter, so that a replacement would be half a character
            assert not any("\ufffd" in piece for piece in pieces)
    assert sum(map(bool, pieces)) > len(ids) / 3  # it does come in pieces


@pytest.mark.parametrize("build", BUILDS)
def test_any_ids_come_as_they_are_decoded(build: str, tmp_path: Path) -> None:
    """Such as a model that was badly trained gives: bytes that are no characters, special tokens, unknown ids."""
    tokenizer = tokenizer_of(tmp_path, build)
    draw = random.Random(7)
    for _ in range(30):
        ids = [draw.randrange(tokenizer.vocab_size + 3) for _ in range(draw.choice((3, 40, 150)))]
        if build == "byte fallback":  # its runs of bytes have a test of their own
            ids = [
                token for token in ids if not tokenizer.decode([token], skip_special_tokens=False).startswith("\ufffd")
            ]
        assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("run", "shown"),
    [
        ("E6 97 A5", ["日"]),
        ("E6 97 A5 E6 9C AC", ["日", "本"]),
        ("F0 9F 99 82", ["🙂"]),
        ("E6 97", ["\ufffd\ufffd"]),  # at the end of the answer
        ("E6 97 A5 FF", ["日", "\ufffd"]),  # `decode` gives four replacements, after 日 was shown
    ],
)
def test_bytes_wait_for_their_character(run: str, shown: list[str], tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, "byte fallback")
    ids = [tokenizer.token_to_id(f"<0x{byte}>") for byte in run.split()]
    assert None not in ids
    assert [piece for piece in streamed(tokenizer, [i for i in ids if i is not None]) if piece] == shown


def test_spaces_that_are_cleaned_up_are_never_shown(tmp_path: Path) -> None:
    """transformers' `clean_up_tokenization` makes these of the tokens' own text."""
    tokenizer = tokenizer_of(tmp_path, "byte level", clean_up_tokenization_spaces=True)
    ids = tokenizer.encode("I do n't know . We 've a lamp , you 're here ! It 's ' so '", special_tokens=False)
    pieces = streamed(tokenizer, ids)
    assert "".join(pieces) == "I don't know. We've a lamp, you're here! It's'so '" == tokenizer.decode(ids)


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_stop_texts_end_a_text_however_it_is_cut(size: int) -> None:
    text, stops = "one <| two <|e <|end|> three", ("<|end|>", "</s>", "")
    stop, shown = StopTexts(stops), ""
    for start in range(0, len(text), size):
        piece, found = stop.append(text[start : start + size])
        shown += piece
        if found:
            break
    assert found
    assert shown == "one <| two <|e "


def test_what_only_looked_like_a_stop_text_is_shown_at_the_end() -> None:
    stop = StopTexts(("<|end|>",))
    assert stop.append("a <|en") == ("a ", False)
    assert stop.finish() == "<|en"
    assert StopTexts(()).append("all of it") == ("all of it", False)
