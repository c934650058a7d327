"""Chat templates as pieces: the ids that transformers' own `apply_chat_template` gives, on conversations that the proof
itself doesn't use; and templates that must not reduce.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.chat_json import join
from support.paths import ROOT, TESTS
from support.tokenizer_fixtures import write_tokenizer
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from exporter.checkpoint.tokens.chat_pieces import ChatPieces
from exporter.checkpoint.tokens.chat_reduction import reduce_chat
from exporter.checkpoint.tokens.tokenizer import Tokenizer, load_tokenizer
from exporter.runners.reference_tokenizer import ReferenceTokenizer

PUBLISHED = TESTS / "published" / "chat_templates"
HOME_INTENTS = ROOT / "samples" / "home_intents" / "checkpoint"
REDUCIBLE = sorted(path.stem for path in PUBLISHED.glob("*.jinja") if path.stem != "smollm3")
# What tells each family from plain ChatML.
FACTS: dict[str, dict[str, Any]] = {
    "deepseek-r1-distill": {"generation_prompt": "<｜Assistant｜><think>\n", "start": "<s>", "alternates": False},
    "gemma-2": {"system_in_user": None, "alternates": True},
    "gemma-3": {
        "system_in_user": {"prefix": "", "suffix": "\n\n", "trim": False, "turn": "first", "trim_joined": False},
        "alternates": True,
    },
    "llama-2": {
        "system_in_user": {
            "prefix": "<<SYS>>\n", "suffix": "\n<</SYS>>\n\n", "trim": False, "turn": "first", "trim_joined": True,
        },
        "start": "",
        "generation_prompt": "",
    },
    "llama-3": {"start": "<s>", "default_system": None, "alternates": False},
    "llama-3.1": {"default_system": "", "start": "<s>"},
    "llama-3.2": {"default_system": "", "date": {"text": "26 Jul 2024", "format": "%d %b %Y"}},
    "minicpm": {"generation_prompt": "", "stop_texts": []},
    "mistral-v0.3": {
        "system_in_user": {"prefix": "", "suffix": "\n\n", "trim": False, "turn": "last", "trim_joined": False}
    },
    "phi-3.5": {"skip_empty_system": True},
    "qwen2": {"default_system": "You are a helpful assistant."},
    "qwen2.5": {"default_system": "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
    "qwen3": {"forbidden": ["<tool_response>"], "alternates": True, "default_system": None},
    "smollm2": {"default_system": "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
    "zephyr": {"generation_prompt": "<|assistant|>\n", "stop_texts": []},
}  # fmt: skip
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + CONTENT + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WORDS = (
    "lamp", " ", "\n", "  ", "\t", "", "照明", "🙂", "é", "</think>", "<think>", "<|im_end|>", "<s>", "[INST]",
    "{{ x }}", "{%", "\u3000", "\u200b", "<end_of_turn>", "<|eot_id|>", "'", '"', "\\n", "<<SYS>>", "None", "0",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    made = tmp_path_factory.mktemp("tokenizer")
    return write_tokenizer(made, "byte level", settings, {"model_type": "llama", "eos_token_id": [4, 2]})


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return load_tokenizer(folder)


def _reduced(tokenizer: Tokenizer, template: str) -> dict[str, Any]:
    made = reduce_chat(replace(tokenizer, chat_template=template))
    assert made is not None
    return made.as_json()


def _template(name: str) -> str:
    return (PUBLISHED / f"{name}.jinja").read_text("utf-8")


def _chats(seed: int, count: int = 40) -> Iterator[list[dict[str, str]]]:
    """Random conversations of one to six questions, with and without a system text."""
    rng = random.Random(seed)
    for _ in range(count):
        texts = ["".join(rng.choice(WORDS) for _ in range(rng.randrange(5))) for _ in range(12)]
        chat = [{"role": ("user", "assistant")[n % 2], "content": texts[n]} for n in range(2 * rng.randrange(6) + 1)]
        yield chat
        yield [{"role": "system", "content": texts[-1]}, *chat]


def _taken(chat: dict[str, Any], messages: list[dict[str, str]]) -> bool:
    system = chat["system_in_user"] or chat["roles"].get("system")
    allowed = not any(text in message["content"] for text in chat["forbidden"] for message in messages)
    return allowed and (system is not None or messages[0]["role"] != "system")


@pytest.mark.parametrize("name", REDUCIBLE)
def test_a_published_template_gives_the_ids_of_transformers(name: str, folder: Path, tokenizer: Tokenizer) -> None:
    template = _template(name)
    chat, reference = _reduced(tokenizer, template), ReferenceTokenizer(folder)
    assert chat["reducible"], chat
    assert {key: chat.get(key) for key in FACTS.get(name, {})} == FACTS.get(name, {})
    compared = 0
    for messages in _chats(len(name)):
        if not _taken(chat, messages):
            continue
        (ids,) = reference.encode_chat(messages, template)
        assert tokenizer.encode(join(chat, messages), special_tokens=False) == list(ids), messages
        compared += 1
    assert compared >= 30


def test_home_intents_reduces_to_its_own_markers() -> None:
    chat = reduce_chat(load_tokenizer(HOME_INTENTS))
    assert isinstance(chat, ChatPieces)
    data, theirs = chat.as_json(), AutoTokenizer.from_pretrained(HOME_INTENTS)
    assert (data["generation_prompt"], data["stop_ids"], data["stop_texts"]) == ("<|assistant|>", [3], [])
    for messages in _chats(5):
        ids = theirs.apply_chat_template(messages, add_generation_prompt=True)
        assert theirs.encode(join(data, messages), add_special_tokens=False) == ids


@pytest.mark.parametrize("name", ["gemma-2", "mistral-v0.1"])
def test_a_system_text_that_the_template_refuses_has_no_role(name: str, tokenizer: Tokenizer) -> None:
    chat = _reduced(tokenizer, _template(name))
    assert sorted(chat["roles"]) == ["assistant", "user"]
    assert chat["system_in_user"] is None


def test_reasoning_is_cut_from_earlier_answers_as_the_template_does(tokenizer: Tokenizer) -> None:
    for name, then in (("qwen3", "lstrip_newlines"), ("deepseek-r1-distill", "keep")):
        assistant = _reduced(tokenizer, _template(name))["roles"]["assistant"]
        assert assistant["keep_after"] == {"text": "</think>", "then": then}
    # Without that rule, the text is forbidden: here the template changes every content that has it.
    template = CHATML.replace(
        "CONTENT", "(m.content | replace('</think>', '') if m.role == 'assistant' else m.content)"
    )
    chat = _reduced(tokenizer, template)
    assert chat["forbidden"] == ["</think>"]


def test_another_date_takes_the_place_of_the_templates_own(tokenizer: Tokenizer) -> None:
    """transformers' clock gives today's date, whatever day it is."""
    chat = _reduced(tokenizer, _template("llama-3.2"))
    messages = [{"role": "user", "content": "hi"}]
    (today,), _ = render_jinja_template(
        [messages], chat_template=_template("llama-3.2"), add_generation_prompt=True, bos_token="<s>"
    )
    date = chat["date"]
    assert join(chat, messages).replace(date["text"], datetime.now().strftime(date["format"])) == today


NOT_REDUCIBLE = {
    "date": ("{{ strftime_now('%Y') }}" + CHATML.replace("CONTENT", "m.content"), "it writes today's date"),
    "date, counted": (
        "{% if strftime_now is defined %}{{ strftime_now('%d') | int + 1 }}{% endif %}"
        + CHATML.replace("CONTENT", "m.content"),
        "it writes today's date",
    ),
    "capitals": (CHATML.replace("CONTENT", "m.content | upper"), "as it stands"),
    "twice": (CHATML.replace("CONTENT", "m.content + m.content"), "as it stands"),
    "no line ends": (CHATML.replace("CONTENT", "m.content | replace('\n', ' ')"), "changes the content of user turn 1"),
    "only the right end trimmed": (
        CHATML.replace("CONTENT", "m.content.rstrip()"),
        "changes the content of user turn 1",
    ),
    "cut": (CHATML.replace("CONTENT", "m.content[:9000]"), "changes the content of user turn 1"),
    "html": (CHATML.replace("CONTENT", "m.content | e"), "changes the content of user turn 1"),
    "a word": (
        CHATML.replace("CONTENT", "m.content + (' (it rains)' if 'what is the weather like' in m.content else '')"),
        "differently than in other conversations",
    ),
    "a window": (CHATML.replace("in messages", "in messages[-20:]").replace("CONTENT", "m.content"), "of 51 questions"),
    "turns counted": (CHATML.replace("CONTENT", "loop.index | string + m.content"), "in another way than without"),
    "system text twice": (
        CHATML.replace("CONTENT", "m.content")
        + "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}",
        "a system text once",
    ),
    "another beginning": (
        "{{ 'A' if messages[0].role == 'system' else 'B' }}" + CHATML.replace("CONTENT", "m.content"),
        "in another way than without",
    ),
    "empty": (CHATML.replace("CONTENT", "(m.content or '(nothing)')"), "differently than in other conversations"),
    "by chance": (CHATML.replace("CONTENT", "m.content + ['a', 'b', 'c'] | random"), ""),
    "refused": ("{{ raise_exception('not today') }}", "not today"),
    "one question": (
        "{% if messages | length > 2 %}{{ raise_exception('one question') }}{% endif %}"
        + CHATML.replace("CONTENT", "m.content"),
        "it refuses a second question: one question",
    ),
    "no Jinja": ("{% if %}", "it refuses a user's message"),
}


@pytest.mark.parametrize("case", NOT_REDUCIBLE)
def test_a_template_that_does_more_is_not_reduced(case: str, tokenizer: Tokenizer) -> None:
    template, reason = NOT_REDUCIBLE[case]
    chat = _reduced(tokenizer, template)
    assert chat["reducible"] is False
    assert reason in chat["reason"]


@pytest.mark.slow  # the processor time that a template may take
def test_a_template_that_never_ends_is_not_reduced(tokenizer: Tokenizer) -> None:
    template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    assert "runs for longer" in _reduced(tokenizer, template)["reason"]


def test_smollm3_writes_the_date(tokenizer: Tokenizer) -> None:
    assert _reduced(tokenizer, _template("smollm3"))["reason"] == "it writes today's date"


def test_a_clock_that_changes_nothing_is_no_obstacle(tokenizer: Tokenizer) -> None:
    template = "{% if tools %}{{ strftime_now('%Y') }}{% endif %}" + CHATML.replace("CONTENT", "m.content")
    chat = _reduced(tokenizer, template)
    assert chat["reducible"] is True
    assert "date" not in chat


def test_answers_end_where_the_model_and_the_template_say(tokenizer: Tokenizer) -> None:
    """The configuration's ids come first; the template's own end is a token, or else a text."""
    assert tokenizer.eos_ids == (4, 2)
    ends = _reduced(tokenizer, CHATML.replace("CONTENT", "m.content").replace("<|im_end|>", "<eos>"))
    assert (ends["stop_ids"], ends["stop_texts"]) == ([4, 2, tokenizer.token_to_id("<eos>")], [])
    ends = _reduced(tokenizer, CHATML.replace("CONTENT", "m.content"))
    assert (ends["stop_ids"], ends["stop_texts"]) == ([4, 2], ["<|im_end|>"])
    known = replace(tokenizer, eos_ids=(4, tokenizer.token_to_id("<eos>") or 0))
    ends = _reduced(known, CHATML.replace("CONTENT", "m.content").replace("<|im_end|>", "<eos>"))
    assert ends["stop_ids"] == list(known.eos_ids)


def test_without_a_template_there_are_no_pieces(tokenizer: Tokenizer) -> None:
    assert reduce_chat(tokenizer) is None
