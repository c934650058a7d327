"""A chat template as pieces: text before and after each role's content, which an app joins without Jinja."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

CHAT_PIECES = "chat.json"
SCHEMA_VERSION = 1

Conversation = tuple[tuple[str, str], ...]  # role and content of each message
Then = Literal["keep", "lstrip_newlines", "trim"]


@dataclass(frozen=True)
class KeepAfter:
    """Only the part of a content after the last `text` is written; `then` says what else is removed from that part.

    Templates drop a model's reasoning from earlier answers so: Qwen3 keeps what follows `</think>`.
    """

    text: str
    then: Then = "keep"

    def apply(self, content: str) -> str:
        """The part that is written; all of a content without the text."""
        if self.text not in content:
            return content
        kept = content.rsplit(self.text, maxsplit=1)[-1]
        return kept.lstrip("\n") if self.then == "lstrip_newlines" else kept.strip() if self.then == "trim" else kept


@dataclass(frozen=True)
class Turn:
    """A message of one role is written as prefix + content + suffix. trim: the content without spaces around it."""

    prefix: str
    suffix: str
    trim: bool = False
    keep_after: KeepAfter | None = None

    def content(self, text: str) -> str:
        """`text` as it is written."""
        kept = text if self.keep_after is None else self.keep_after.apply(text)
        return kept.strip() if self.trim else kept

    def as_json(self) -> dict[str, Any]:
        """The entry under `roles`."""
        data: dict[str, Any] = {"prefix": self.prefix, "suffix": self.suffix, "trim": self.trim}
        if self.keep_after is not None:
            data["keep_after"] = asdict(self.keep_after)
        return data


@dataclass(frozen=True)
class SystemInUser:
    """The system text stands inside a user turn, before that turn's content: prefix + text + suffix + content.

    trim: of the system text. turn: the user turn that gets it. trim_joined: the user's `trim` applies to these four
    together instead of to the content alone.
    """

    prefix: str
    suffix: str
    trim: bool = False
    turn: Literal["first", "last"] = "first"
    trim_joined: bool = False


@dataclass(frozen=True)
class TemplateDate:
    """A date in the pieces: `text`, where the template would write today's as strftime's `format`, had it a clock."""

    text: str
    format: str


@dataclass(frozen=True)
class ChatPieces:
    """A chat template that reduces to pieces. docs/bundle-format.md states how an app joins them.

    roles: "user", "assistant", and "system" where the template writes a system text as a turn of its own.
    default_system: of a conversation without a system text. skip_empty_system: an empty system text (after trim) is as
    good as none. forbidden: contents with one of these texts are written in another way. alternates: the pieces hold
    only where user and assistant take turns, the user first and last. stop_ids, stop_texts: what ends an answer.
    """

    start: str
    roles: Mapping[str, Turn]
    generation_prompt: str
    system_in_user: SystemInUser | None = None
    default_system: str | None = None
    skip_empty_system: bool = False
    forbidden: tuple[str, ...] = ()
    alternates: bool = False
    date: TemplateDate | None = None
    stop_ids: tuple[int, ...] = ()
    stop_texts: tuple[str, ...] = ()

    @property
    def takes_system(self) -> bool:
        """Whether a conversation may begin with a system text."""
        return "system" in self.roles or self.system_in_user is not None

    def render(self, conversation: Conversation) -> str:
        """The text of a conversation that awaits an answer: an optional system text, then user and assistant turns."""
        return "".join(text for _, text in self.segments(conversation))

    def segments(self, conversation: Conversation) -> list[tuple[str, str]]:
        """The text in parts, each with words for what it is."""
        system, turns = self._system(conversation), [turn for turn in conversation if turn[0] != "system"]
        parts = [("the beginning", self.start)]
        if system is not None and self.system_in_user is None:
            parts += _turn_parts("the system turn", self.roles["system"], system)
        users = [index for index, (role, _) in enumerate(turns) if role == "user"]
        last = self.system_in_user is not None and self.system_in_user.turn == "last"
        holder = users[-1 if last else 0] if system is not None and self.system_in_user is not None and users else None
        counts = {"user": 0, "assistant": 0}
        for index, (role, content) in enumerate(turns):
            counts[role] += 1
            name = f"{role} turn {counts[role]}"
            if system is not None and index == holder:
                parts += self._joined(name, content, system)
            else:
                parts += _turn_parts(name, self.roles[role], content)
        return [*parts, ("the generation prompt", self.generation_prompt)]

    def _system(self, conversation: Conversation) -> str | None:
        """The system text as it is written; None where nothing is."""
        stated = conversation[0][1] if conversation and conversation[0][0] == "system" else None
        stated = None if stated is None else self._trimmed(stated)
        if stated is None or (self.skip_empty_system and not stated):
            stated = None if self.default_system is None else self._trimmed(self.default_system)
        return stated

    def _trimmed(self, text: str) -> str:
        inside = self.system_in_user
        trim = inside.trim if inside is not None else self.roles["system"].trim
        return text.strip() if trim else text

    def _joined(self, name: str, content: str, system: str) -> list[tuple[str, str]]:
        inside, turn = self.system_in_user, self.roles["user"]
        assert inside is not None
        head = inside.prefix + system + inside.suffix
        text = (head + content).strip() if inside.trim_joined and turn.trim else head + turn.content(content)
        return [
            (f"the text before {name}", turn.prefix),
            (f"the content of {name}, with the system text in it,", text),
            (f"the text after {name}", turn.suffix),
        ]

    def as_json(self) -> dict[str, Any]:
        """chat.json."""
        data: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "reducible": True,
            "start": self.start,
            "roles": {role: turn.as_json() for role, turn in self.roles.items()},
            "system_in_user": None if self.system_in_user is None else asdict(self.system_in_user),
            "default_system": self.default_system,
            "skip_empty_system": self.skip_empty_system,
            "generation_prompt": self.generation_prompt,
            "forbidden": list(self.forbidden),
            "alternates": self.alternates,
            "stop_ids": list(self.stop_ids),
            "stop_texts": list(self.stop_texts),
        }
        if self.date is not None:
            data["date"] = asdict(self.date)
        return data


@dataclass(frozen=True)
class NotReducible:
    """A template that pieces can't stand for. reason: a sentence about the template, without its subject."""

    reason: str

    def as_json(self) -> dict[str, Any]:
        """chat.json."""
        return {"schema_version": SCHEMA_VERSION, "reducible": False, "reason": self.reason}


def _turn_parts(name: str, turn: Turn, content: str) -> Sequence[tuple[str, str]]:
    return (
        (f"the text before {name}", turn.prefix),
        (f"the content of {name}", turn.content(content)),
        (f"the text after {name}", turn.suffix),
    )
