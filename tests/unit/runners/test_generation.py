"""The loop around a decoder: what ends an answer, what is shown of it, and what the KV cache is used for again."""

from __future__ import annotations

import numpy as np
import pytest
from support.tokenizer_fixtures import write_tokenizer

from exporter.checkpoint.tokens.tokenizer import Tokenizer, load_tokenizer
from exporter.runners.generation import CachedDecoder, GenerationSettings, generate

END = 0


class Script:
    """A decoder that answers with `ids`, one after the other, whatever the prompt is. fed: what each session got."""

    name = "script"

    def __init__(self, ids: list[int], prompt: int, vocabulary: int) -> None:
        self._ids, self._prompt, self._vocabulary = ids, prompt, vocabulary
        self.fed: list[list[list[int]]] = []

    def session(self) -> Script:
        self.fed.append([])
        return self

    def feed(self, ids: np.ndarray) -> np.ndarray:
        self.fed[-1].append(ids.tolist())
        past = sum(map(len, self.fed[-1]))
        logits = np.zeros((len(ids), self._vocabulary), np.float32)
        logits[-1, self._ids[min(max(past - self._prompt, 0), len(self._ids) - 1)]] = 1
        return logits


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    return load_tokenizer(write_tokenizer(folder, "byte level", {"tokenizer_class": "PreTrainedTokenizerFast"}))


def answer(
    tokenizer: Tokenizer, text: str, *, most: int = 100, context: int = 1000, stops: tuple[str, ...] = ()
) -> tuple[str, str, str]:
    """The reason of the end, the text, and what was shown."""
    ids = [*tokenizer.encode(text, special_tokens=False), END]
    shown: list[str] = []
    settings = GenerationSettings(most, context, frozenset({END}), stops)
    decoder = CachedDecoder(Script(ids, 3, tokenizer.vocab_size))
    made = generate(decoder, tokenizer, [5, 6, 7], settings, shown.append)
    assert all(shown)
    return made.reason, made.text, "".join(shown)


def test_an_end_token_is_no_part_of_the_answer(tokenizer: Tokenizer) -> None:
    assert answer(tokenizer, "naïve 明日 🙂") == ("end token", "naïve 明日 🙂", "naïve 明日 🙂")


def test_a_stop_text_is_no_part_of_the_answer(tokenizer: Tokenizer) -> None:
    assert answer(tokenizer, "Hello <turn> you", stops=("<turn>",)) == ("stop text", "Hello ", "Hello ")
    assert answer(tokenizer, "Hello <tur", stops=("<turn>",)) == ("end token", "Hello <tur", "Hello <tur")


def test_length_and_context_bound_an_answer(tokenizer: Tokenizer) -> None:
    """The last token isn't run, so that a context of 8 has room for 6 tokens after a prompt of 3."""
    text = "xylophone quartz jukebox"
    ids = tokenizer.encode(text, special_tokens=False)
    assert len(ids) > 6
    for most, context, reason, count in ((4, 1000, "length", 4), (100, 8, "context full", 6), (6, 8, "length", 6)):
        expected = tokenizer.decode(ids[:count])
        assert answer(tokenizer, text, most=most, context=context) == (reason, expected, expected)


def test_a_prompt_that_begins_as_the_last_one_only_runs_the_rest(tokenizer: Tokenizer) -> None:
    script = Script([8, 9, END], 3, tokenizer.vocab_size)
    decoder, settings = CachedDecoder(script), GenerationSettings(10, 100, frozenset({END}))
    assert generate(decoder, tokenizer, [5, 6, 7], settings, print).reused == 0
    made = generate(decoder, tokenizer, [5, 6, 7, 8, 9, END, 11, 12], settings, print)
    assert made.reused == 5
    assert script.fed[0][:4] == [[5, 6, 7], [8], [9], [END, 11, 12]]
    assert generate(decoder, tokenizer, [5, 6, 7], settings, print).reused == 0  # it needs the logits of its last token
    assert generate(decoder, tokenizer, [5, 9, 7, 7, 7, 7, 7], settings, print).reused == 0
    assert len(script.fed) == 3
