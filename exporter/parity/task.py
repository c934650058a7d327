"""The task gate: does a decoder still give the expected answers?

A task file is JSON lines of `{"prompt": …, "expected": …}`, or `"messages"` instead of the prompt; `"group"` or
`"language"` yields numbers per group. The score is exact match of the whole answer under greedy decoding.

It is fast and exact: prompt, expected answer and end token are fed in one go. Where the argmax agrees at every position
of the answer, greedy decoding yields exactly that answer, by induction over its tokens (cached decoding equals one go:
another row checks that). Where it doesn't, the answer is generated from the first differing token on, and its text is
compared, for the same text can be spelled with other tokens; it stops once its text can't become the expected one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import Diagnostic, InputError
from exporter.progress import NoProgress, Progress
from exporter.texts import Prompt, parse_json_lines, prompt_of

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer
    from exporter.graph.model import Task
    from exporter.runners.base import DecoderRunner

_SLACK = 16  # tokens beyond twice the expected answer after which a generation is wrong in any case
_UNSETTLED = 8  # characters: half a UTF-8 sequence, or a space that goes before punctuation
_EXAMPLES = 5  # wrong answers kept for the report
_PROBLEMS = 20  # as many lines of a bad file are named


@dataclass(frozen=True)
class TaskItem:
    """A question and the only right answer to it. group: "" where the file names none."""

    prompt: Prompt
    expected: str
    group: str = ""


@dataclass(frozen=True)
class EncodedItem:
    """A task item as token ids: `prompt` int64 `[n]`; `answer` int64 `[m]`, without the end token."""

    item: TaskItem
    prompt: NDArray[np.int64]
    answer: NDArray[np.int64]


@dataclass(frozen=True)
class Answer:
    """A runner's answer to one item. `generated` is the expected text where `correct`."""

    item: TaskItem
    correct: bool
    generated: str


@dataclass(frozen=True)
class Answers:
    """One runner's answers to a task file."""

    answers: tuple[Answer, ...]

    @property
    def correct(self) -> int:
        """Number of exact matches."""
        return sum(answer.correct for answer in self.answers)

    @property
    def groups(self) -> dict[str, tuple[int, int]]:
        """group → (correct, total), of the items that name a group."""
        total = Counter(a.item.group for a in self.answers if a.item.group)
        correct = Counter(a.item.group for a in self.answers if a.item.group and a.correct)
        return {group: (correct[group], total[group]) for group in sorted(total)}

    @property
    def wrong(self) -> tuple[tuple[str, str, str], ...]:
        """The first few `(prompt, expected, generated)` that don't match."""
        wrong = [a for a in self.answers if not a.correct][:_EXAMPLES]
        return tuple((a.item.prompt.shown, a.item.expected, a.generated) for a in wrong)


@dataclass(frozen=True)
class TaskFile:
    """A file of tasks, read when its items are first asked for, and then kept."""

    path: Path

    @cached_property
    def items(self) -> tuple[TaskItem, ...]:
        """Raises as `read_tasks`."""
        return read_tasks(self.path)


def read_tasks(path: Path) -> tuple[TaskItem, ...]:
    """Raises InputError naming every bad line (the first 20)."""
    items = parse_json_lines(path, _item)
    if not items:
        raise InputError.of("task.empty", "the file holds no tasks", where=path.name)
    return items


def require_generation(task: Task, path: Path) -> None:
    """Raises InputError for a model that doesn't generate text."""
    if task != "text-generation":
        message = f"a task file needs a model that generates text; this model is for {task}"
        raise InputError.of("task.model", message, where=path.name, hint="leave out --task")


def encode_tasks(items: Sequence[TaskItem], tokenizer: Tokenizer, context: int) -> tuple[EncodedItem, ...]:
    """Token ids of all items. Raises InputError for items beyond `context`, or a tokenizer without end token."""
    if not tokenizer.eos_ids:
        raise InputError.of("task.eos", "the checkpoint names no end token; without one, an answer never ends")
    encoded, problems = [], []
    for number, item in enumerate(items, start=1):
        prompt = item.prompt.tokens(tokenizer, chat=True)
        answer = np.asarray(tokenizer.encode(item.expected, special_tokens=False), np.int64)
        if len(prompt) + len(answer) + 1 > context or not len(prompt):
            message = f"the prompt has {len(prompt)} tokens and the answer {len(answer)}; the context holds {context}"
            problems.append(Diagnostic("task.length", message, where=f"item {number}: {item.prompt.shown}"))
        encoded.append(EncodedItem(item, prompt, answer))
    InputError.raise_all(problems[:_PROBLEMS])
    return tuple(encoded)


def answer_tasks(
    runner: DecoderRunner,
    items: Sequence[EncodedItem],
    tokenizer: Tokenizer,
    context: int,
    progress: Progress | None = None,
    keep: Callable[[int, NDArray[np.float32]], None] | None = None,
) -> Answers:
    """Every item under greedy decoding. keep: gets each item's index and logits `[m + 1, vocab]`, from the position
    that predicts the first of its answer's m tokens on.
    """
    progress = progress or NoProgress()
    answers = []
    for index, item in enumerate(items):
        logits = runner.session().feed(np.concatenate([item.prompt, item.answer]))[len(item.prompt) - 1 :]
        if keep is not None:
            keep(index, logits)
        answers.append(_answer(runner, item, logits, tokenizer, context))
        progress.advance(item.item.prompt.shown)
    return Answers(tuple(answers))


def _answer(
    runner: DecoderRunner, item: EncodedItem, logits: NDArray[np.float32], tokenizer: Tokenizer, context: int
) -> Answer:
    chosen = logits.argmax(-1)  # [m + 1]: the choice for each answer token, then for the end
    differs = np.flatnonzero(chosen[:-1] != item.answer)
    if not differs.size and int(chosen[-1]) in tokenizer.eos_ids:
        return Answer(item.item, True, item.item.expected)
    agreed = int(differs[0]) if differs.size else len(item.answer)
    prefix = [*map(int, item.answer[:agreed]), int(chosen[agreed])]
    generated = _generate(runner, item, prefix, tokenizer, context)
    text = tokenizer.decode(generated.tokens)
    correct = generated.ended and text == item.item.expected
    return Answer(item.item, correct, text if generated.ended else text + "…")


@dataclass(frozen=True)
class _Generated:
    tokens: list[int]  # without the end token
    ended: bool  # False: stopped because it can't become the expected answer any more


def _generate(
    runner: DecoderRunner, item: EncodedItem, prefix: list[int], tokenizer: Tokenizer, context: int
) -> _Generated:
    """Greedy decoding that begins with `prefix`, which greedy decoding is known to yield."""
    tokens = list(prefix)
    session = runner.session()
    ids = np.concatenate([item.prompt, np.asarray(tokens, np.int64)])
    most = min(2 * len(item.answer) + _SLACK, context - len(item.prompt))
    while tokens[-1] not in tokenizer.eos_ids:
        if len(tokens) >= most or _parted(tokenizer.decode(tokens), item.item.expected):
            return _Generated(tokens, False)
        tokens.append(int(session.feed(ids)[-1].argmax()))
        ids = np.asarray(tokens[-1:], np.int64)
    return _Generated(tokens[:-1], True)


def _parted(text: str, expected: str) -> bool:
    """Whether a text that begins with `text` can't become `expected`. More tokens may change its last characters."""
    settled = text[: max(len(text) - _UNSETTLED, 0)]
    return not expected.startswith(settled)


def _item(value: dict[str, Any], where: str) -> TaskItem | Diagnostic:
    prompt = prompt_of(value, where)
    if isinstance(prompt, Diagnostic):
        return prompt
    expected = value.get("expected")
    if not isinstance(expected, str):
        return Diagnostic("task.expected", 'no "expected" text', where, '{"prompt": "…", "expected": "…"}')
    group = value.get("group", value.get("language", ""))
    return TaskItem(prompt, expected, group if isinstance(group, str) else str(group))
