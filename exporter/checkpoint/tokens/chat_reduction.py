"""Reduces a chat template to pieces and proves them: the same text on every conversation tried, or no pieces at all."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.tokens.chat import Rendered, render_all
from exporter.checkpoint.tokens.chat_pieces import (
    ChatPieces,
    Conversation,
    KeepAfter,
    NotReducible,
    TemplateDate,
    Then,
    Turn,
)
from exporter.checkpoint.tokens.chat_split import split
from exporter.checkpoint.tokens.chat_texts import (
    ASSISTANTS,
    SYSTEM,
    USERS,
    contents_of,
    conversations,
    is_markup,
    marks_of,
    structures,
    takes_turns,
    unordered,
)
from exporter.checkpoint.tokens.template_worker import clock_of
from exporter.errors import InputError

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer

_SPLITS = re.compile(r"split\(\s*(['\"])(.{2,40}?)\1\s*\)")
_CLOCK = re.compile(r"strftime_now\(\s*(['\"])(.{2,40}?)\1\s*\)")
_DAYS = ("2031-01-17", "2032-10-28")  # all parts of the dates differ
_THENS: tuple[Then, ...] = ("keep", "lstrip_newlines", "trim")
_MAX_FORBIDDEN = 8
_DATED = "it writes today's date"

Texts = Mapping[Conversation, Rendered]


def reduce_chat(tokenizer: Tokenizer) -> ChatPieces | NotReducible | None:
    """The pieces of the tokenizer's chat template, with what ends an answer; None without a template.

    Answers end with the ids that the model's configuration names, and with the token that ends each of the assistant's
    turns in the template. Where that end is text but no token, it becomes a stop text.
    """
    template = tokenizer.chat_template
    if template is None:
        return None
    try:
        reduced = _Reduction(template, tokenizer.tokens, tokenizer.special_texts).run()
    except InputError as error:
        return NotReducible(error.diagnostics[0].message.removeprefix("the chat template fails: "))
    return reduced if isinstance(reduced, NotReducible) else _with_ends(reduced, tokenizer)


def _with_ends(pieces: ChatPieces, tokenizer: Tokenizer) -> ChatPieces:
    end = pieces.roles["assistant"].suffix.strip()
    token = max((text for text in tokenizer.special_texts if text and end.startswith(text)), key=len, default="")
    index = tokenizer.token_to_id(token) if token else None
    ids = tokenizer.eos_ids if index is None else (*tokenizer.eos_ids, index)
    texts = (end,) if end and index is None else ()
    return replace(pieces, stop_ids=tuple(dict.fromkeys(ids)), stop_texts=texts)


@dataclass(frozen=True)
class _Reduction:
    """tokens: special tokens by the names that templates use. special: texts of the tokenizer's special tokens."""

    template: str
    tokens: Mapping[str, Any]
    special: tuple[str, ...]

    def run(self) -> ChatPieces | NotReducible:
        """Raises InputError where the template runs too long."""
        dated = self._date()
        if isinstance(dated, NotReducible):
            return dated
        marks = marks_of(self.template, self.special)
        pieces = split(self._render, self.special, self._start_token)
        if isinstance(pieces, NotReducible):
            return pieces
        contents = contents_of(marks)
        system = pieces.takes_system
        wanted = [*structures(system), *conversations(contents, marks, system)]
        if not system:
            wanted.append((("system", SYSTEM), ("user", USERS[0])))
        texts = self._texts(wanted)
        pieces = replace(pieces, date=dated)
        proven = [_proven(candidate, texts, marks) for candidate in _candidates(pieces, contents, texts, self.template)]
        found = next((one for one in proven if isinstance(one, ChatPieces)), proven[0])
        return found if isinstance(found, NotReducible) else self._ordered(found, contents, texts)

    def _ordered(self, pieces: ChatPieces, contents: Sequence[str], texts: Texts) -> ChatPieces | NotReducible:
        """The pieces with `alternates` set where other orders of turns are refused or written in another way."""
        loose = {chat: text for chat, text in texts.items() if not takes_turns(chat) and _may_be(chat, pieces)}
        alternates = _differing(pieces, loose) or _differing(pieces, self._texts(list(unordered(contents))))
        return replace(pieces, alternates=bool(alternates))

    @property
    def _start_token(self) -> str:
        return str(self.tokens.get("bos_token") or "")

    def _render(self, wanted: Sequence[tuple[Conversation, bool]], day: str | None = None) -> list[Rendered]:
        chats = [([{"role": role, "content": text} for role, text in chat], prompt) for chat, prompt in wanted]
        return render_all(self.template, chats, self.tokens, day)

    def _texts(self, wanted: Sequence[Conversation]) -> Texts:
        chats = list(dict.fromkeys(wanted))
        return dict(zip(chats, self._render([(chat, True) for chat in chats]), strict=True))

    def _date(self) -> TemplateDate | NotReducible | None:
        """The date that the template writes, in the text that it has where there is no clock; None where it writes
        none.
        """
        if "strftime_now" not in self.template:
            return None
        turns: Conversation = (("user", USERS[0]), ("assistant", ASSISTANTS[0]), ("user", USERS[1]))
        wanted = [(chat, True) for chat in (turns[:1], turns, (("system", SYSTEM), *turns))]
        bare = self._render(wanted)
        on_days = {day: self._render(wanted, day) for day in _DAYS}
        if all(texts == bare for texts in on_days.values()):
            return None
        forms = _CLOCK.findall(self.template)
        if clock_of(self.template) is not None or len({form for _, form in forms}) != 1:
            return NotReducible(_DATED)
        form = forms[0][1]
        stated = _stated_date(bare[0].text, on_days[_DAYS[0]][0].text, date.fromisoformat(_DAYS[0]).strftime(form))
        if not stated:
            return NotReducible(_DATED)
        for day, texts in on_days.items():
            written = date.fromisoformat(day).strftime(form)
            if any((a.text or "").replace(stated, written) != (b.text or "") for a, b in zip(bare, texts, strict=True)):
                return NotReducible(_DATED)
        return TemplateDate(stated, form)


def _stated_date(bare: str | None, dated: str | None, written: str) -> str:
    """What stands in `bare` in the place of `written` in `dated`; "" where the two differ elsewhere, too."""
    before, found, after = (dated or "").partition(written)
    text = bare or ""
    fits = found and text.startswith(before) and text.endswith(after) and len(text) > len(before) + len(after)
    return text[len(before) : len(text) - len(after)] if fits else ""


def _candidates(pieces: ChatPieces, contents: Sequence[str], texts: Texts, template: str) -> Iterator[ChatPieces]:
    """The pieces with every treatment of contents that templates are known for, the likeliest first."""
    turns = {role: _likeliest(pieces, role, contents, texts, template) for role in pieces.roles}
    plain = {role: _likeliest(pieces, role, contents, texts, "") for role in pieces.roles}
    inside = pieces.system_in_user
    for roles, skip in itertools.product((turns, plain), (False, True) if pieces.takes_system else (False,)):
        made = replace(pieces, roles=roles, skip_empty_system=skip)
        if inside is None:
            yield made
            continue
        for trim, joined in itertools.product((False, True), (False, True) if roles["user"].trim else (False,)):
            yield replace(made, system_in_user=replace(inside, trim=trim, trim_joined=joined))


def _likeliest(pieces: ChatPieces, role: str, contents: Sequence[str], texts: Texts, template: str) -> Turn:
    """The role's turn with the treatment of contents that gives the right text for most. template: "" for no cuts."""
    cuts: list[KeepAfter | None] = [None]
    if role == "assistant":
        marks = dict.fromkeys(mark for _, mark in _SPLITS.findall(template))
        cuts += [KeepAfter(mark, then) for mark in marks for then in _THENS]
    tried = [replace(pieces.roles[role], trim=trim, keep_after=cut) for cut in cuts for trim in (False, True)]
    before: Conversation = (("user", USERS[0]),) if role == "assistant" else ()
    after: Conversation = {"assistant": (("user", USERS[1]),), "system": (("user", USERS[0]),)}.get(role, ())
    chats: list[Conversation] = [(*before, (role, content), *after) for content in contents]

    def wrong(turn: Turn) -> int:
        made = replace(pieces, roles={**pieces.roles, role: turn})
        return sum(made.render(chat) != texts[chat].text for chat in chats)

    return min(tried, key=wrong)


def _proven(pieces: ChatPieces, texts: Texts, marks: Sequence[str]) -> ChatPieces | NotReducible:
    """The pieces, with texts that they forbid, where they give the right text on all other conversations."""
    wrong = _differing(pieces, {chat: text for chat, text in texts.items() if takes_turns(chat)})
    forbidden: list[str] = []
    keep = pieces.roles["assistant"].keep_after
    open_marks = [mark for mark in marks if is_markup(mark) and (keep is None or mark != keep.text)]
    while wrong and len(forbidden) < _MAX_FORBIDDEN:
        counts = {mark: sum(_holds(chat, mark) for chat in wrong) for mark in open_marks}
        mark = max(counts, key=lambda text: counts[text], default="")
        if not mark or not counts[mark]:
            break
        forbidden.append(mark)
        wrong = [chat for chat in wrong if not _holds(chat, mark)]
    if wrong:
        return NotReducible(_reason(pieces, wrong[0], texts[wrong[0]]))
    return replace(pieces, forbidden=tuple(forbidden))


def _may_be(chat: Conversation, pieces: ChatPieces) -> bool:
    return pieces.takes_system or chat[0][0] != "system"


def _differing(pieces: ChatPieces, texts: Texts) -> list[Conversation]:
    """The conversations whose text isn't what the pieces give; those that the pieces forbid or refuse left out."""
    return [
        chat
        for chat, rendered in texts.items()
        if _may_be(chat, pieces)
        and not any(_holds(chat, mark) for mark in pieces.forbidden)
        and pieces.render(chat) != rendered.text
    ]


def _holds(chat: Conversation, mark: str) -> bool:
    return any(mark in content for _, content in chat)


def _reason(pieces: ChatPieces, chat: Conversation, rendered: Rendered) -> str:
    """Where the template's text leaves that of the pieces."""
    users = sum(role == "user" for role, _ in chat)
    kind = f"in a conversation of {users} question{'s' if users > 1 else ''}"
    kind += " with a system text" if chat[0][0] == "system" else ""
    if rendered.text is None:
        return f"{kind}, it fails: {rendered.error}"
    place, text = "the end", rendered.text
    for name, part in pieces.segments(chat):
        if not text.startswith(part):
            place = name
            break
        text = text[len(part) :]
    contents = [content for _, content in chat if content not in (SYSTEM, *USERS, *ASSISTANTS) and "Xk" not in content]
    shown = f" (a message was {contents[0][:40]!r})" if contents else ""
    if place.startswith("the content of"):
        return f"{kind}, it changes {place}{shown}"
    return f"{kind}, it writes {place} differently than in other conversations{shown}"
