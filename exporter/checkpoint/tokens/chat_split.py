"""Cuts a chat template's texts into the pieces before and after each role's content."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from exporter.checkpoint.tokens.chat import Rendered
from exporter.checkpoint.tokens.chat_pieces import ChatPieces, Conversation, NotReducible, SystemInUser, Turn
from exporter.checkpoint.tokens.chat_texts import ASSISTANTS, SYSTEM, USERS

Render = Callable[[Sequence[tuple[Conversation, bool]]], list[Rendered]]

_SYSTEM, _FIRST, _ANSWER, _SECOND = (
    ("system", SYSTEM), ("user", USERS[0]), ("assistant", ASSISTANTS[0]), ("user", USERS[1])
)  # fmt: skip
_PROBES: tuple[tuple[Conversation, bool], ...] = (
    ((_FIRST,), True),
    ((_FIRST, _ANSWER, _SECOND), True),
    ((_FIRST,), False),
    ((_FIRST, _ANSWER), False),
    ((_SYSTEM, _FIRST), True),
    ((_SYSTEM, _FIRST, _ANSWER, _SECOND), True),
)
_WHOLE = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,30}\]")  # never cut in two


@dataclass(frozen=True)
class _Cutter:
    """Finds common beginnings and ends of texts without cutting a special token or a tag in two."""

    special: tuple[str, ...]

    def prefix(self, *texts: str) -> str:
        """The longest common beginning."""
        count = min(map(len, texts))
        while any(text[:count] != texts[0][:count] for text in texts):
            count -= 1
        spans = sorted({span for text in texts for span in self._spans(text)}, reverse=True)
        for start, end in spans:
            count = start if start < count < end else count
        return texts[0][:count]

    def suffix(self, *texts: str) -> str:
        """The longest common end."""
        count = min(map(len, texts))
        while count and any(text[-count:] != texts[0][-count:] for text in texts):
            count -= 1
        for text in texts:
            for start, end in self._spans(text):
                if start < len(text) - count < end:
                    count = len(text) - end
        return texts[0][len(texts[0]) - count :]

    def _spans(self, text: str) -> Iterable[tuple[int, int]]:
        yield from (match.span() for match in _WHOLE.finditer(text))
        for token in self.special:
            start = text.find(token)
            while start >= 0:
                yield start, start + len(token)
                start = text.find(token, start + 1)


@dataclass(frozen=True)
class _Gaps:
    """The texts around the contents of one user turn (2), and of user, assistant and user (4); what ends a user's and
    an assistant's turn where no answer is awaited, None where the template refuses that.
    """

    one: list[str]
    three: list[str]
    user_end: str | None
    assistant_end: str | None


def split(render: Render, special: Sequence[str], start_token: str) -> ChatPieces | NotReducible:
    """The pieces as plain contents show them; `trim` and more are left at their defaults.

    special: texts that aren't cut in two. start_token: the text of bos_token, or "".
    """
    one, three, user_closed, both_closed, with_system, long_system = render(_PROBES)
    for what, answer in (("a user's message", one), ("a second question", three)):
        if answer.text is None:
            return NotReducible(f"it refuses {what}: {answer.error}")
    gaps_one = _around(one.text, USERS[:1])
    gaps_three = _around(three.text, (USERS[0], ASSISTANTS[0], USERS[1]))
    if gaps_one is None or gaps_three is None:
        return NotReducible("it doesn't write every message once, in order, as it stands")
    user_end, both_end = _around(user_closed.text, USERS[:1]), _around(both_closed.text, (USERS[0], ASSISTANTS[0]))
    gaps = _Gaps(gaps_one, gaps_three, user_end[-1] if user_end else None, both_end[-1] if both_end else None)
    cutter = _Cutter(tuple(text for text in special if text))
    system = _around(with_system.text, (SYSTEM, USERS[0]))
    if system is None:
        if with_system.text is not None and SYSTEM in with_system.text:
            return NotReducible("it doesn't write a system text once, before the first question, as it stands")
        turns, head = _turns(gaps, cutter, None)
        return ChatPieces(head, turns, gaps.three[3][len(turns["user"].suffix) :])
    turns, head = _turns(gaps, cutter, system)
    prompt = gaps.three[3][len(turns["user"].suffix) :]
    in_last = long_system.text is not None and long_system.text.find(SYSTEM) > long_system.text.find(ASSISTANTS[0])
    return _with_system(ChatPieces(head, turns, prompt), system, "last" if in_last else "first", start_token)


def _turns(gaps: _Gaps, cutter: _Cutter, system: list[str] | None) -> tuple[dict[str, Turn], str]:
    """User and assistant, and what stands before the first user turn. system: the gaps around a system text."""
    first, between, again, last = gaps.three
    user_suffix = cutter.prefix(*(text for text in (between, last, gaps.user_end) if text is not None))
    ends = (again,) if gaps.assistant_end is None else (again, gaps.assistant_end)
    suffix = cutter.prefix(*ends) if len(ends) > 1 else again[: len(again) - len(cutter.suffix(first, again))]
    prefix = again[len(suffix) :]
    inside = system is not None and not system[1].endswith(prefix) and prefix in system[0]
    if not first.endswith(prefix) and not inside:
        prefix = cutter.suffix(first, again)
        suffix = again[: len(again) - len(prefix)]
    head = first[: len(first) - len(prefix)] if first.endswith(prefix) else first
    user, assistant = Turn(prefix, user_suffix), Turn(between[len(user_suffix) :], suffix)
    return {"assistant": assistant, "user": user}, head


def _with_system(
    pieces: ChatPieces, gaps: list[str], turn: Literal["first", "last"], start_token: str
) -> ChatPieces | NotReducible:
    """The pieces with a system text. pieces: those without; their `start` is all that stands before a first question.

    gaps: around the system text and the user's content. start_token: see `split`.
    """
    before, between, head, prefix = gaps[0], gaps[1], pieces.start, pieces.roles["user"].prefix
    if not between.endswith(prefix):
        return _inside(pieces, before, between, turn)
    suffix = between[: len(between) - len(prefix)]
    if before.startswith(head):  # nothing stands in a system text's place
        return _replaced(pieces, head, before[len(head) :], suffix, None)
    if not head.startswith(before) or not head.endswith(suffix) or len(head) < len(before) + len(suffix):
        return NotReducible("with a system text, it writes the beginning in another way than without")
    default = head[len(before) : len(head) - len(suffix)]
    start = start_token if start_token and before.startswith(start_token) else ""
    return _replaced(pieces, start, before[len(start) :], suffix, default)


def _replaced(pieces: ChatPieces, start: str, prefix: str, suffix: str, default: str | None) -> ChatPieces:
    roles = {**pieces.roles, "system": Turn(prefix, suffix)}
    return ChatPieces(start, roles, pieces.generation_prompt, default_system=default)


def _inside(pieces: ChatPieces, before: str, between: str, turn: Literal["first", "last"]) -> ChatPieces | NotReducible:
    """A system text that stands inside a user turn. before, between: the texts around it."""
    prefix, head = pieces.roles["user"].prefix, pieces.start
    if before.startswith(head + prefix):
        start, default = head, None
    elif prefix in before and head.startswith(before) and head.endswith(between):
        start, default = before[: before.index(prefix)], head[len(before) : len(head) - len(between)]
    else:
        return NotReducible("with a system text, it writes the beginning in another way than without")
    inside = SystemInUser(before[len(start) + len(prefix) :], between, turn=turn)
    return ChatPieces(start, pieces.roles, pieces.generation_prompt, inside, default)


def _around(text: str | None, contents: Sequence[str]) -> list[str] | None:
    """The texts before, between and after `contents`; None where they don't stand in `text` once each, in order."""
    if text is None or any(text.count(content) != 1 for content in contents):
        return None
    gaps = []
    for content in contents:
        gap, found, text = text.partition(content)
        if not found:
            return None
        gaps.append(gap)
    return [*gaps, text]
