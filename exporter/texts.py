"""Reads files of texts, one on each line, on which models are compared and calibrated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.errors import Diagnostic, InputError

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer

T = TypeVar("T")
Message = Mapping[str, str]
Item = TypeVar("Item")

PAIRED = ("question-answering", "text-ranking")  # tasks that need two texts
MASKED_EVERY = 7  # for fill-mask, one of seven tokens is masked, as in BERT's training
_MAX_FILE_BYTES = 64 * 2**20  # a file is read as a whole; usual ones have kilobytes
_MAX_PROBLEMS = 20  # so many bad lines of a file are reported


def one_line(text: str, most: int) -> str:
    """The text in one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


@dataclass(frozen=True)
class Prompt:
    """A text, a pair of texts, or, if `messages` isn't empty, a conversation. where: its file and line, or ""."""

    text: str
    messages: tuple[Message, ...] = ()
    second: str | None = None
    where: str = field(default="", compare=False)

    @property
    def shown(self) -> str:
        """The text in one line of at most 80 characters, for reports."""
        text = f"{self.text} | {self.second}" if self.second is not None else self.text
        return one_line(self.messages[-1]["content"] if self.messages else text, 80)

    def tokens(self, tokenizer: Tokenizer, *, chat: bool) -> NDArray[np.int64]:
        """Token ids, int64 `[n]`. chat: apply the chat template, if there is one, to a text as the user's turn."""
        if chat and tokenizer.chat_template is not None:
            ids = tokenizer.encode_chat(self.messages or [{"role": "user", "content": self.text}])
        else:
            ids = tokenizer.encode("\n".join(m["content"] for m in self.messages) or self.text)
        return np.asarray(ids, np.int64)


@dataclass(frozen=True)
class PromptFile:
    """A file of prompts, or an `.npz` of inputs. Prompts are read when they are first asked for, and then kept."""

    path: Path

    @property
    def holds_text(self) -> bool:
        """Whether it is a file of prompts."""
        return self.path.suffix != ".npz"

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        """Raises as `read_prompts`."""
        return read_prompts(self.path)


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """Reads a `.txt` file with a prompt on each line, or a `.jsonl` file with an object on each line, which has "text",
    "prompt" or "messages", and optionally "second", the other text of a pair.

    Raises InputError with the first 20 bad lines, or if the file can't be read or has no prompts.
    """
    if path.suffix == ".jsonl":
        prompts = parse_json_lines(path, prompt_of)
    else:
        lines = enumerate(_read_text(path).split("\n"), start=1)
        prompts = tuple(Prompt(line.strip(), where=f"{path.name}:{number}") for number, line in lines if line.strip())
    if not prompts:
        raise InputError.of("prompts.empty", "the file has no prompts", where=path.name)
    return prompts


def parse_json_lines(path: Path, parse: Callable[[dict[str, Any], str], T | Diagnostic]) -> tuple[T, ...]:
    """`parse(object, "file:line")` of every line. Raises InputError with the first 20 bad lines."""
    parsed: list[T] = []
    problems: list[Diagnostic] = []
    for where, value in _read_json_lines(path):
        item = value if isinstance(value, Diagnostic) else parse(value, where)
        if isinstance(item, Diagnostic):
            problems.append(item)
        else:
            parsed.append(item)
    InputError.raise_all(problems[:_MAX_PROBLEMS])
    return tuple(parsed)


def _read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any] | Diagnostic]]:
    """(`file:line`, object) for each line that isn't blank; a Diagnostic instead of the object if it is no object."""
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        where = f"{path.name}:{number}"
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            yield where, Diagnostic("prompts.json", "not valid Unicode: half a surrogate pair", where)
            continue
        except (ValueError, RecursionError) as error:
            yield where, Diagnostic("prompts.json", f"not JSON: {error}", where)
            continue
        if isinstance(value, dict):
            yield where, value
        else:
            yield where, Diagnostic("prompts.json", f"must be a JSON object, not a {type(value).__name__}", where)


def prompt_of(value: Mapping[str, Any], where: str) -> Prompt | Diagnostic:
    """The prompt in a JSON object, or the problem with it."""
    if "messages" in value:
        messages = value["messages"]
        if not isinstance(messages, list) or not messages or not all(_is_message(m) for m in messages):
            hint = '{"messages": [{"role": "user", "content": "…"}]}'
            return Diagnostic(
                "prompts.messages", '"messages" must be a list of objects with "role" and "content"', where, hint
            )
        return Prompt("", tuple({"role": m["role"], "content": m["content"]} for m in messages), where=where)
    text = value.get("text", value.get("prompt"))
    if not isinstance(text, str) or not text:
        return Diagnostic("prompts.text", 'has no "text", "prompt" or "messages"', where, '{"text": "…"}')
    second = value.get("second")
    if second is not None and (not isinstance(second, str) or not second):
        return Diagnostic("prompts.second", '"second" must be a text', where, '{"text": "…", "second": "…"}')
    return Prompt(text, second=second, where=where)


def mask_id(tokenizer: Tokenizer) -> int | None:
    """The id of the mask token, None if the tokenizer has none."""
    token = tokenizer.tokens.get("mask_token")
    return tokenizer.token_to_id(token) if isinstance(token, str) else None


def choose(items: Sequence[Item], count: int) -> tuple[Item, ...]:
    """At most `count` items, chosen evenly and in order."""
    if len(items) <= count:
        return tuple(items)
    return tuple(items[i * len(items) // count] for i in range(count))


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise InputError.of("prompts.size", f"larger than {_MAX_FILE_BYTES // 2**20} MiB", where=path.name)
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError.of("prompts.encoding", f"not UTF-8: byte {error.start}", where=path.name) from error
    except OSError as error:
        raise InputError.of("prompts.read", f"can't be read: {error.strerror}", where=path.name) from error
