"""Values from transformers for the tests of the Swift package.

`PYTHONPATH=tests python -m support.swift_values` writes them again. A unit test compares them with the files.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.utils.chat_template_utils import render_jinja_template

from exporter.checkpoint.tokens.chat_pieces import ChatPieces
from exporter.checkpoint.tokens.chat_reduction import reduce_chat
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from support.chat_json import join
from support.paths import ROOT, TESTS
from support.tokenizer_fixtures import write_tokenizer

SWIFT = ROOT / "ios-demo" / "KogataKit" / "Tests"
FILTERS = SWIFT / "KogataSamplerTests" / "Resources" / "filters.json"
CONVERSATIONS = SWIFT / "KogataChatTests" / "Resources" / "conversations.json"

OPTIONS: tuple[dict[str, float], ...] = (
    {},
    {"temperature": 0.7},
    {"temperature": 1.8, "top_k": 5},
    {"top_k": 1},
    {"top_p": 0.9},
    {"top_p": 0.0},
    {"top_p": 0.35, "temperature": 1.3},
    {"min_p": 0.1},
    {"min_p": 1.0},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8, "temperature": 0.5, "top_k": 12, "top_p": 0.8, "min_p": 0.05},
    {"repetition_penalty": 2.0, "temperature": 1.1, "top_k": 20, "top_p": 0.95, "min_p": 0.02},
    {"top_k": 500, "top_p": 1.0, "min_p": 0.0},
)


def filter_cases() -> list[dict[str, Any]]:
    """Logits, history and options, with the probabilities that transformers' own processors leave.

    The order is that of `GenerationMixin._get_logits_processor`. "probabilities": id → probability, zeros left out.
    """
    random = np.random.default_rng(17)
    cases = []
    for number, options in enumerate(OPTIONS):
        logits = np.round(random.normal(0, 2.5, 40), 3).astype(np.float32)
        if number % 3 == 1:
            logits[[3, 9]] = -np.inf  # tokens that are excluded
            logits[[5, 6, 7]] = logits.max()  # equals
        history = [int(token) for token in random.integers(0, 40, 12)]
        scores = _processors(options)(torch.tensor([history]), torch.from_numpy(logits)[None].double())
        probabilities = torch.softmax(scores[0], -1).tolist()
        cases.append(
            {
                "options": options,
                "logits": [None if np.isinf(logit) else round(float(logit), 3) for logit in logits],  # null: -infinity
                "history": history,
                "probabilities": {str(i): float(f"{p:.9g}") for i, p in enumerate(probabilities) if p > 0},
            }
        )
    return cases


def _processors(options: dict[str, float]) -> LogitsProcessorList:
    made = LogitsProcessorList()
    if "repetition_penalty" in options:
        made.append(RepetitionPenaltyLogitsProcessor(options["repetition_penalty"]))
    if "temperature" in options:
        made.append(TemperatureLogitsWarper(options["temperature"]))
    if "top_k" in options:
        made.append(TopKLogitsWarper(int(options["top_k"])))
    if options.get("top_p", 1.0) < 1:
        made.append(TopPLogitsWarper(options["top_p"]))
    if "min_p" in options:
        made.append(MinPLogitsWarper(options["min_p"]))
    return made


def _turn(prefix: str, suffix: str, trim: bool = False) -> dict[str, Any]:
    return {"prefix": prefix, "suffix": suffix, "trim": trim}


CHATML = (
    "{% for m in messages %}"
    "{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "<bos>{% if messages[0].role == 'system' %}{% set first = messages[0].content | trim + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}"
    "{% endif %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{% if loop.first %}{{ first }}{% endif %}{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)

_COMMON: dict[str, Any] = {
    "schema_version": 1,
    "reducible": True,
    "forbidden": [],
    "stop_ids": [2],
    "stop_texts": [],
    "skip_empty_system": False,
}
TEMPLATES: dict[str, tuple[str, dict[str, Any]]] = {
    "chatml": (
        CHATML,
        _COMMON
        | {
            "start": "",
            "roles": {role: _turn(f"<|im_start|>{role}\n", "<|im_end|>\n") for role in ("system", "user", "assistant")},
            "system_in_user": None,
            "default_system": "Be brief.",
            "generation_prompt": "<|im_start|>assistant\n",
            "alternates": False,
        },
    ),
    "gemma": (
        GEMMA,
        _COMMON
        | {
            "start": "<bos>",
            "roles": {
                "user": _turn("<start_of_turn>user\n", "<end_of_turn>\n", trim=True),
                "assistant": _turn("<start_of_turn>model\n", "<end_of_turn>\n", trim=True),
            },
            "system_in_user": {
                "prefix": "",
                "suffix": "\n\n",
                "trim": True,
                "turn": "first",
                "trim_joined": False,
            },
            "default_system": None,
            "generation_prompt": "<start_of_turn>model\n",
            "alternates": True,
        },
    ),
}

PUBLISHED = ("deepseek-r1-distill", "gemma-2", "gemma-3", "llama-2", "mistral-v0.3", "phi-3.5", "qwen2.5", "qwen3")
TALKS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("user", "Turn on the lamp"),),
    (("system", "You are a house."), ("user", "hello")),
    (("user", "1"), ("assistant", "2"), ("user", "3")),
    (("system", " \n spaces \t"), ("user", "  both ends \u3000\u00a0"), ("assistant", "\x1cctrl\x1f"), ("user", "")),
    (("user", "\u0301 combining first"), ("assistant", "👩‍👩‍👧 と 改行\r\n"), ("user", "\u200b zero width \u2028")),
    (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")),
    (("user", "a"), ("assistant", "<think>why</think>\n\n so </think> \nb"), ("user", "c")),
    (("system", " "), ("user", "empty system")),
    (("system", "s"), ("user", " a "), ("assistant", " b "), ("user", " c ")),
    (("user", "a"), ("user", "b")),
)


def conversation_cases() -> dict[str, Any]:
    """By template: the pieces (by hand, or reduced from a published template), and conversations with the text that
    Jinja makes of them; null where the template or the description in docs/bundle-format.md refuses the conversation.
    """
    templates = dict(TEMPLATES)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
        made = write_tokenizer(Path(folder), "byte level", settings, {"model_type": "llama", "eos_token_id": 2})
        tokenizer = load_tokenizer(made)
        for name in PUBLISHED:
            jinja = (TESTS / "published" / "chat_templates" / f"{name}.jinja").read_text("utf-8")
            pieces = reduce_chat(replace(tokenizer, chat_template=jinja))
            assert isinstance(pieces, ChatPieces), name
            templates[name] = (jinja, pieces.as_json())
    return {
        name: {"chat": chat, "conversations": [_conversation(jinja, chat, talk) for talk in TALKS]}
        for name, (jinja, chat) in templates.items()
    }


def _conversation(jinja: str, chat: dict[str, Any], talk: Sequence[tuple[str, str]]) -> dict[str, Any]:
    messages = [{"role": role, "content": content} for role, content in talk]
    try:
        join(chat, messages)
        texts, _ = render_jinja_template(
            [messages], chat_template=jinja, add_generation_prompt=True, bos_token="<s>", eos_token="</s>"
        )
    except (ValueError, TemplateError):
        return {"messages": messages, "text": None}
    return {"messages": messages, "text": texts[0]}


def as_json(data: Any) -> str:
    """The text of the file with `data`."""
    return json.dumps(data, indent=None, sort_keys=True) + "\n"


if __name__ == "__main__":
    for path, data in ((FILTERS, filter_cases()), (CONVERSATIONS, conversation_cases())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_json(data), encoding="utf-8")
