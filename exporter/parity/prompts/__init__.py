"""The texts that parity is measured on: a built-in multilingual set, or a user's file.

The built-in sets lie beside this file: `encoder.jsonl` (100 sentences: short and long, questions, numbers, code,
emoji, 24 languages), `pairs.jsonl` (40 questions with a passage that does or doesn't answer them, 10 languages) and
`decoder.jsonl` (24 prompts, 11 of them chats).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.errors import InputError
from exporter.texts import PAIRED, Prompt, read_prompts

if TYPE_CHECKING:
    from exporter.graph.model import Task

_SETS: Mapping[str, tuple[str, ...]] = {
    "text-generation": ("decoder",),
    "text-classification": ("encoder", "pairs"),  # of one text, or of two
    **dict.fromkeys(PAIRED, ("pairs",)),
}


def builtin_prompts(task: Task) -> tuple[Prompt, ...]:
    """The set that comes with the package."""
    sets = _SETS.get(task, ("encoder",))
    return tuple(prompt for name in sets for prompt in read_prompts(Path(__file__).parent / f"{name}.jsonl"))


@cache
def every_prompt() -> tuple[Prompt, ...]:
    """All prompts that come with the package, of every set."""
    sets = ("encoder", "pairs", "decoder")
    return tuple(prompt for name in sets for prompt in read_prompts(Path(__file__).parent / f"{name}.jsonl"))


def require_pairs(task: Task, prompts: Sequence[Prompt], source: str) -> None:
    """Raises InputError where the task takes two texts and a prompt has one. source: what to call the prompts."""
    lone = next((prompt for prompt in prompts if prompt.second is None), None) if task in PAIRED else None
    if lone is not None:
        message = f"{task} takes two texts, and a prompt has only one: {lone.shown!r}"
        raise InputError.of("prompts.pairs", message, where=source, hint='{"text": "…", "second": "…"}')
