"""The conversations on which the pieces of a chat template are proven."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence

from exporter.checkpoint.tokens.chat_pieces import Conversation

# Sentinels: texts that no template looks for, which stay the same after trimming.
SYSTEM, USERS, ASSISTANTS = "Qv0sysXk", ("Qv1useXk", "Qv3useXk", "Qv5useXk"), ("Qv2assXk", "Qv4assXk")

# Contents that templates are known to treat in ways of their own: spaces, empty texts, marks of other templates.
_CONTENTS = (
    "", " ", "\n", " \t\n ", " leading", "trailing ", "  two  spaces  inside  ", "\nline\n", "\n\n\nlines\n\n\n",
    "a\r\nb\r\n", "a\n\nb", "\u3000全角\u3000", "\u00a0no-break\u00a0", "\u200bzero width\u200b",
    "\ufeffmark\ufeff", "\x1cseparator\x1f", "\x85next\u2028line\u2029", "0", "1", "None", "none", "false",
    "true", "null", "[]", "{}", "{", "}", '{"a": 1}', "[1, 2]", "{{ messages }}", "{% if x %}", "{# no #}",
    "<b>&amp;</b>", "a < b > c", "'single' \"double\" \\ back\\n", "CAPS and Small", "Größe naïve a\u0301 ﬁ",
    "明日の朝7時に起こして", "🙂👩‍👩‍👧🇯🇵", "مرحبا بالعالم", "<s>x</s>", "<|im_end|>", "<|im_start|>user\nx",
    "<think>a</think>b", "<think>\na\n</think>\n\nb", "</think>", "a</think>", "</think>b", "<think>",
    "<think></think>", "</think> b ", "a</think>b</think>c", "<tool_call>x</tool_call>", "/think", "/no_think",
    "x /no_think", "user", "assistant", "system", "[INST] x [/INST]", "<<SYS>>x<</SYS>>",
    "<tool_response>x</tool_response>", "### Response:", "USER: x", "https://example.com/?a=b#c", "long " * 5000,
    "x" * 3000,
)  # fmt: skip
_TAG = re.compile(r"<[^<>\s'\"]{1,40}>|\[/?[A-Z_]{2,30}\]|</?[a-z_]{2,30}>")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.){1,200})'|\"((?:[^\"\\]|\\.){1,200})\"")
_CLOSELY = 48  # marks that are tried in four forms, the rest in two; Qwen3 has 40
_MAX_PAIRED = 24  # marks that are tried two by two
_MAX_SPECIAL = 12  # special tokens of the tokenizer that are tried: Llama 3 has 256 of one kind
_MAX_TURNS = 101
_ALTERNATING = ("user", "assistant")


def marks_of(template: str, special: Sequence[str]) -> tuple[str, ...]:
    """Texts that the template, or the tokenizer, may treat in a way of their own: tags and short strings of the
    template's source, and special tokens, each once. What a template does with a content can hang on no others, unless
    it looks at characters, lengths or counts.
    """
    tags = [match.group() for match in _TAG.finditer(template)]
    quoted = [_unescaped(a or b).strip() for a, b in _QUOTED.findall(template)]
    wanted = [text for text in quoted if text and not text.isidentifier()]
    named = [text for text in quoted if text.isidentifier()]
    found = dict.fromkeys([*tags, *wanted, *named])
    return tuple(dict.fromkeys([*found, *special[:_MAX_SPECIAL]]))


def is_markup(mark: str) -> bool:
    """Whether a person rarely writes this text by chance."""
    return len(mark) >= 3 and any(character in "<>[]{}|#/" for character in mark)


def contents_of(marks: Sequence[str]) -> list[str]:
    """The contents to try: the known ones, and each mark alone, inside, at the beginning and at the end."""
    made = []
    for index, mark in enumerate(marks):
        made += [mark, f"{mark} b {mark}"]
        made += [f"a {mark} b", f"{mark}\n\nb", f"a\n{mark}"] if index < _CLOSELY else []
    return list(dict.fromkeys([*_CONTENTS, *made, *_paired(marks)]))


def structures(system: bool) -> Iterator[Conversation]:
    """Every order of up to four user and assistant turns, and longer alternating ones, with plain contents."""
    shapes: list[tuple[str, ...]] = [
        roles for count in range(1, 5) for roles in itertools.product(_ALTERNATING, repeat=count)
    ]
    shapes += [tuple(_ALTERNATING[index % 2] for index in range(count)) for count in (5, 7, 9, 11, _MAX_TURNS)]
    for shape in shapes:
        turns = tuple((role, f"Qv{index}{role[:3]}Xk") for index, role in enumerate(shape))
        yield turns
        if system:
            yield (("system", SYSTEM), *turns)


def conversations(contents: Sequence[str], marks: Sequence[str], system: bool) -> Iterator[Conversation]:
    """Alternating conversations with every content in every role, alone and together, and pairs of marks in two turns.
    Seeded: the same for the same template.
    """
    first, second = USERS[:2]
    answer = ASSISTANTS[0]
    for content in contents:
        yield (("user", content),)
        yield (("user", first), ("assistant", content), ("user", second))
        yield (("user", first), ("assistant", answer), ("user", content))
        if system:
            yield (("system", content), ("user", first))
            yield (("system", content), ("user", content), ("assistant", content), ("user", content))
    tagged = [*_paired(marks), *(mark for mark in marks if is_markup(mark))][:_MAX_PAIRED]
    for one, other in itertools.product(tagged, tagged):
        yield (("user", first), ("assistant", f"{one}b"), ("user", other))
    rng = random.Random(17)
    for turns in (3, 3, 5, 5, 7, 9, 11) * 6:
        head = (("system", rng.choice(contents)),) if system and rng.random() < 0.5 else ()
        yield (*head, *((_ALTERNATING[index % 2], rng.choice(contents)) for index in range(turns)))


def unordered(contents: Sequence[str]) -> Iterator[Conversation]:
    """Conversations in which user and assistant don't take turns, with every content."""
    for content in contents:
        yield (("assistant", content), ("user", USERS[0]))
        yield (("user", content), ("user", content))
        yield (("user", USERS[0]), ("assistant", content))
        yield (("user", USERS[0]), ("assistant", content), ("assistant", content), ("user", content))


def takes_turns(conversation: Conversation) -> bool:
    """Whether user and assistant alternate and the user is first and last."""
    roles = [role for role, _ in conversation if role != "system"]
    return len(roles) % 2 == 1 and all(role == _ALTERNATING[index % 2] for index, role in enumerate(roles))


def _paired(marks: Sequence[str]) -> list[str]:
    """`<x>a</x>` for each pair of tags."""
    return [f"{mark}a</{mark[1:]}" for mark in marks if mark.startswith("<") and f"</{mark[1:]}" in marks]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t", "r": "\r"}.get(match[1], match[1]), text)
