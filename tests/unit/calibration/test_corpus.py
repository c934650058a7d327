"""Calibration texts: which ones a model gets, how many, and what a user's file may hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import tiny_llama
from support.encoder_checkpoints import tiny_encoder

from exporter.calibration import corpus
from exporter.calibration.corpus import (
    DECODER_TEXT_TOKENS,
    MAX_ANSWER_TOKENS,
    MAX_SEQUENCE_TOKENS,
    TEXTS_FOLDER,
    Reader,
    Sequences,
)
from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.tokens.tokenizer import Tokenizer, load_tokenizer
from exporter.errors import InputError
from exporter.graph.model import CacheSpec, DecoderSpec, EncoderSpec
from exporter.parity.prompts import builtin_prompts
from exporter.texts import Prompt, read_prompts

DECODER = DecoderSpec(vocab_size=331, hidden_size=32, heads=(4,), context=4096, cache=CacheSpec((2,), 12))
ENCODER = EncoderSpec(vocab_size=211, hidden_size=36, context=512)
FILES = ("prose", "chats", "short", "pairs")


@pytest.fixture(scope="module")
def chatting(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(open_checkpoint(tiny_llama(tmp_path_factory.mktemp("llama"))))


@pytest.fixture(scope="module")
def base(chatting: Tokenizer) -> Tokenizer:
    return replace(chatting, chat_template=None)


@pytest.fixture(scope="module")
def masking(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(open_checkpoint(tiny_encoder(tmp_path_factory.mktemp("bert"), "bert", "ForMaskedLM")))


def builtin(name: str) -> tuple[Prompt, ...]:
    return read_prompts(TEXTS_FOLDER / f"{name}.jsonl")


def size(found: Sequences) -> int:
    return sum(map(len, found.ids))


def texts_of(prompts: tuple[Prompt, ...]) -> set[str]:
    found = {prompt.text for prompt in prompts} | {prompt.second for prompt in prompts if prompt.second}
    return (found | {message["content"] for prompt in prompts for message in prompt.messages}) - {""}


def test_the_built_in_texts_are_what_the_module_says() -> None:
    sizes = {name: len(builtin(name)) for name in FILES}
    assert min(sizes.values()) >= 50
    assert all(prompt.messages for prompt in builtin("chats"))
    assert all(prompt.second for prompt in builtin("pairs"))
    for name in ("prose", "short"):
        assert all(prompt.text and not prompt.messages and prompt.second is None for prompt in builtin(name))
    for conversation in builtin("chats"):  # as every chat template takes them
        assert [m["role"] for m in conversation.messages] == ["user", "assistant"] * (len(conversation.messages) // 2)


def test_no_built_in_text_is_judged_on() -> None:
    """Neither whole nor as a part of one, of 20 characters or more."""
    ours = set().union(*(texts_of(builtin(name)) for name in FILES))
    judged = set().union(
        *(texts_of(builtin_prompts(task)) for task in ("text-generation", "fill-mask", "question-answering"))
    )
    assert len(judged) > 150
    assert not ours & judged
    everything = "\n".join(sorted(ours)).casefold()
    assert not [text for text in judged if len(text) >= 20 and text.casefold() in everything]
    others = "\n".join(sorted(judged)).casefold()
    assert not [text for text in ours if len(text) >= 20 and text.casefold() in others]


def test_a_base_model_gets_prose_and_what_was_said(base: Tokenizer) -> None:
    """Tokens of each text in order, cut where they are longer than a sequence; none is to be answered."""
    found = Reader(DECODER, base).read()
    assert found.types is None
    assert not any(found.awaits_answer)
    assert 0.8 * DECODER_TEXT_TOKENS < size(found) < 1.2 * DECODER_TEXT_TOKENS
    assert max(map(len, found.ids)) == MAX_SEQUENCE_TOKENS
    known = []
    for prompt in (*builtin("prose"), *builtin("chats")):
        text = prompt.text or "\n".join(message["content"] for message in prompt.messages)
        ids = base.encode(text)
        known += [ids[i : i + MAX_SEQUENCE_TOKENS] for i in range(0, len(ids), MAX_SEQUENCE_TOKENS)]
    places = [known.index(ids.tolist()) for ids in found.ids]
    assert places == sorted(set(places))
    assert np.diff(places).max() <= 2 * np.diff(places).mean() + 2  # evenly spread


def test_a_chat_model_gets_conversations_up_to_its_turn(chatting: Tokenizer) -> None:
    found = Reader(DECODER, chatting).read()
    turn = chatting.encode("<|assistant|>", special_tokens=False)
    answered = [ids.tolist() for ids, open_ in zip(found.ids, found.awaits_answer, strict=True) if open_]
    others = [ids for ids, open_ in zip(found.ids, found.awaits_answer, strict=True) if not open_]
    assert all(ids[-len(turn) :] == turn for ids in answered)
    assert all(ids[: len(turn)] != turn for ids in answered)
    for tokens in (sum(map(len, answered)), sum(map(len, others))):
        assert 0.3 * DECODER_TEXT_TOKENS < tokens < 0.65 * DECODER_TEXT_TOKENS
    first = builtin("chats")[0].messages[:1]
    assert chatting.encode_chat(first) in answered


def test_a_conversation_that_is_cut_is_not_to_be_answered(chatting: Tokenizer, tmp_path: Path) -> None:
    """It ends amid what the user says. One that leaves no room in the context isn't, either."""
    path = tmp_path / "long.txt"
    path.write_text("word " * 400 + "\nshort\n" + "middling " * 20 + "\n")
    found = Reader(DECODER, chatting, path).read()
    lengths = [len(ids) for ids in found.ids]
    assert lengths[0] == MAX_SEQUENCE_TOKENS
    assert found.awaits_answer == (False, True, True)
    assert max(lengths[1:]) + MAX_ANSWER_TOKENS <= MAX_SEQUENCE_TOKENS
    tight = replace(DECODER, context=lengths[1] + MAX_ANSWER_TOKENS)
    assert Reader(tight, chatting, path).read().awaits_answer == (False, True, False)


@pytest.mark.parametrize("context", [8, 64, 100])
def test_a_short_context_is_kept_to(context: int, chatting: Tokenizer, base: Tokenizer, masking: Tokenizer) -> None:
    specs = [(replace(DECODER, context=context), chatting), (replace(DECODER, context=context), base)]
    for spec, tokenizer in (*specs, (replace(ENCODER, context=context), masking)):
        found = Reader(spec, tokenizer).read()
        assert max(map(len, found.ids)) == context
        most = DECODER_TEXT_TOKENS if spec.task == "text-generation" else 2 * DECODER_TEXT_TOKENS
        assert 0.7 * min(DECODER_TEXT_TOKENS, 390 * context) < size(found) < 1.2 * most  # 390 texts for an encoder
        answers = [len(ids) for ids, answered in zip(found.ids, found.awaits_answer, strict=False) if answered]
        assert all(length + MAX_ANSWER_TOKENS <= context for length in answers)


def test_an_encoder_gets_sentences_and_prose(masking: Tokenizer) -> None:
    found = Reader(ENCODER, masking).read()
    assert found.types is not None
    assert [len(types) for types in found.types] == [len(ids) for ids in found.ids]
    assert not any(types.any() for types in found.types)
    assert not found.awaits_answer
    assert 1.4 * DECODER_TEXT_TOKENS < size(found) < 2.2 * DECODER_TEXT_TOKENS  # nothing is added that it wrote itself
    known = [
        masking.encode_text(p.text, max_length=MAX_SEQUENCE_TOKENS).ids.tolist()
        for p in (*builtin("short"), *builtin("prose"))
    ]
    places = [known.index(ids.tolist()) for ids in found.ids]
    assert places[0] < len(builtin("short")) <= places[-1]


@pytest.mark.parametrize(
    ("task", "pairs", "two"),
    [
        ("question-answering", True, True),
        ("text-ranking", True, True),
        ("text-classification", True, True),
        ("text-classification", False, False),
        ("token-classification", False, False),
        ("feature-extraction", False, False),
    ],
)
def test_tasks_of_two_texts_get_two(task: str, pairs: bool, two: bool, masking: Tokenizer) -> None:
    found = Reader(replace(ENCODER, task=task, pairs=pairs), masking).read()
    assert found.types is not None
    assert all(types.any() == two for types in found.types)


def test_one_token_in_seven_is_masked(masking: Tokenizer) -> None:
    """For fill-mask only, and never a special token."""
    mask = masking.token_to_id("[MASK]")
    plain = Reader(ENCODER, masking).read()
    masked = Reader(replace(ENCODER, task="fill-mask"), masking).read()
    assert not any((ids == mask).any() for ids in plain.ids)
    special = {masking.token_to_id(token) for token in ("[CLS]", "[SEP]", "[PAD]")}
    hidden = 0
    for before, after in zip(plain.ids, masked.ids, strict=True):
        changed = before != after
        assert set(after[changed]) <= {mask}
        assert not set(before[changed]) & special
        hidden += changed.sum()
    assert hidden == pytest.approx(size(plain) / 7, rel=0.15)


def test_a_user_s_file_in_place_of_all(base: Tokenizer, chatting: Tokenizer, tmp_path: Path) -> None:
    plain = tmp_path / "mine.txt"
    plain.write_text("Dim the lamp.\n\n  Wake me up.  \n")
    reader = Reader(DECODER, base, plain)
    assert reader.source == "mine.txt"
    assert Reader(DECODER, base).source == "the built-in texts"
    found = reader.read()
    assert [ids.tolist() for ids in found.ids] == [base.encode(text) for text in ("Dim the lamp.", "Wake me up.")]
    told = Reader(DECODER, chatting, plain).read()
    asked = [{"role": "user", "content": "Dim the lamp."}]
    assert told.ids[0].tolist() == chatting.encode_chat(asked)
    assert told.awaits_answer == (True, True)
    lines = tmp_path / "mine.jsonl"
    talk = [*asked, {"role": "assistant", "content": "Done."}]
    lines.write_text("\n".join(map(json.dumps, ({"text": "Hm."}, {"messages": talk}, {"prompt": "Ah."}))))
    mixed = Reader(DECODER, chatting, lines).read()
    assert mixed.ids[1].tolist() == chatting.encode_chat(asked)
    assert len(mixed.ids) == 3
    spoken = Reader(DECODER, base, lines).read()
    assert spoken.ids[1].tolist() == base.encode("Dim the lamp.\nDone.")


def test_a_large_file_is_read_evenly(base: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("".join(f"{i} is the number of this line, and it is one of many.\n" for i in range(3000)))
    found = Reader(DECODER, base, path).read()
    assert 0.9 * DECODER_TEXT_TOKENS < size(found) < 1.1 * DECODER_TEXT_TOKENS
    numbers = [int(base.decode(ids.tolist()).split()[0]) for ids in found.ids]
    assert numbers == sorted(numbers)
    assert numbers[0] < 30
    assert numbers[-1] > 2900


def test_one_tiny_line_is_enough(base: Tokenizer, masking: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tiny.txt"
    path.write_text("a")
    assert [len(ids) for ids in Reader(DECODER, base, path).read().ids] == [2]
    assert [len(ids) for ids in Reader(ENCODER, masking, path).read().ids] == [3]


def test_texts_without_tokens(base: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One token predicts nothing: a decoder needs two."""
    path = tmp_path / "tiny.txt"
    path.write_text("a")
    monkeypatch.setattr(Tokenizer, "encode", lambda *_, **__: [5])
    with pytest.raises(InputError, match="no tokens") as caught:
        Reader(DECODER, base, path).read()
    assert caught.value.diagnostics[0].where == "tiny.txt"


@pytest.mark.parametrize("text", ["", "\n \n\t\n"])
@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_a_file_of_blank_lines(text: str, suffix: str, base: Tokenizer, masking: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / f"blank{suffix}"
    path.write_text(text)
    for spec, tokenizer in ((DECODER, base), (ENCODER, masking)):
        with pytest.raises(InputError, match="has no prompts"):
            Reader(spec, tokenizer, path).read()


def test_bad_lines_are_named(base: Tokenizer, masking: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "good"}\nnot json\n{"text": ""}\n[1]\n{"messages": [{"role": 1}]}\n')
    for spec, tokenizer in ((DECODER, base), (ENCODER, masking)):
        with pytest.raises(InputError) as caught:
            Reader(spec, tokenizer, path).read()
        assert [d.where for d in caught.value.diagnostics] == [f"bad.jsonl:{line}" for line in (2, 3, 4, 5)]
    binary = tmp_path / "bad.txt"
    binary.write_bytes(b"ab\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8: byte 2"):
        Reader(DECODER, base, binary).read()


@pytest.mark.parametrize("tokens", [600, 3000])
def test_the_budget_is_in_tokens(
    tokens: int, base: Tokenizer, chatting: Tokenizer, masking: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within two sequences, as whole texts are taken."""
    monkeypatch.setattr(corpus, "DECODER_TEXT_TOKENS", tokens)
    for spec, tokenizer, wanted in (
        (DECODER, base, tokens),
        (DECODER, chatting, tokens),
        (ENCODER, masking, 2 * tokens),
    ):
        assert abs(size(Reader(spec, tokenizer).read()) - wanted) < 2 * MAX_SEQUENCE_TOKENS
