"""Renders chat templates in a process of its own, with bounds on time, memory and length.

Run as a script: a JSON object per line on stdin (template, tokens, conversations, and a day where the template gets a
clock), one per line on stdout ("answers": for each conversation "text", or "error" with the reason, and "bound" where
it is one of the bounds). It must import nothing of Kogata: it starts in a tenth of a second. With the argument
`transformers`, transformers' own code renders: the reference.
"""

from __future__ import annotations

import json
import math
import re
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

CPU_SECONDS = 2  # for up to PER_LIMIT conversations; the longest in use (Cohere's, with tools) takes some milliseconds
PER_LIMIT = 200
MEMORY_BYTES = 512 << 20  # of address space beyond what the process has after its imports
MAX_LENGTH = 16 << 20  # characters of a prompt: some 4 million tokens
_MAX_BITS = 4096  # of an integer that a template computes
_MAX_REPEATED = 1 << 20  # characters or items that `text * n` in a template may make

_ASKS_FOR_CLOCK = re.compile(r"strftime_now\s+is\s+(not\s+)?(un)?defined")
_DAY = date(2024, 7, 26)  # the date that Llama 3.2's template uses by default


class BoundError(Exception):
    """The template asks for more than is allowed."""


Draw = Callable[[Mapping[str, Any], Mapping[str, Any]], str]


def answers(request: Mapping[str, Any], draw: Draw | None = None) -> list[dict[str, Any]]:
    """For each of `conversations` (messages, add_generation_prompt): `text`, or `error` with the reason in words, and
    `bound` where the template asks for too much.

    All texts together are at most as long as one may be. draw: renders one conversation of the request; by default
    with this module's environment.
    """
    made, room = [], MAX_LENGTH
    for conversation in request["conversations"]:
        made.append(_answer(request, conversation, room, draw or _draw))
        room -= len(made[-1].get("text", ""))
    return made


def _answer(request: Mapping[str, Any], conversation: Mapping[str, Any], room: int, draw: Draw) -> dict[str, Any]:
    try:
        text = draw(request, conversation)
        if len(text) > room:
            raise BoundError(f"it makes a prompt of more than {MAX_LENGTH:,} characters")
    except RecursionError:
        return {"error": "it recurses too deeply"}
    except MemoryError:
        return {"error": f"it needs more than {MEMORY_BYTES >> 20} MiB of memory", "bound": True}
    except Exception as error:  # whatever is raised here, the template's text is the cause
        reason = str(error).partition("\n")[0] or type(error).__name__
        return {"error": reason, "bound": isinstance(error, BoundError)}
    return {"text": text}


def _draw(request: Mapping[str, Any], conversation: Mapping[str, Any]) -> str:
    return _compile(request["template"], request.get("day")).render(
        messages=conversation["messages"],
        tools=None,
        documents=None,
        add_generation_prompt=conversation["add_generation_prompt"],
        **request["tokens"],
    )


def _transformers() -> Draw:
    """transformers' own rendering, as its `apply_chat_template` calls it, on the day that `_clock` states."""
    import jinja2
    from transformers.utils.chat_template_utils import render_jinja_template  # needs no torch

    def draw(request: Mapping[str, Any], conversation: Mapping[str, Any]) -> str:
        clock = _clock(request["template"], request.get("day"))
        made, _ = render_jinja_template(
            conversations=[conversation["messages"]],
            chat_template=request["template"],
            add_generation_prompt=conversation["add_generation_prompt"],
            **{**request["tokens"], "strftime_now": clock or jinja2.Undefined()},
        )
        return str(made[0])

    return draw


@lru_cache(maxsize=8)
def _compile(template: str, day: str | None = None) -> jinja2.Template:
    """Compiled with the settings of transformers' `_compile_jinja_template` in Jinja's sandbox: a template has no
    access to files and Python. day: of the template's clock, as 2024-07-26; None: see `clock_of`.
    """
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks the assistant's text for training; its content is kept unchanged."""

        tags = {"generation"}  # noqa: RUF012 (the base class declares it so)

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(["*", "**"])

        def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
            _check_size(operator, left, right)
            return super().call_binop(context, operator, left, right)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = Environment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = raise_exception
    clock = _clock(template, day)
    if clock is not None:
        environment.globals["strftime_now"] = clock
    return environment.from_string(template)


def clock_of(template: str) -> Callable[[str], str] | None:
    """`strftime_now` for a template: None for one that tests whether it is defined, else that of a fixed day."""
    return None if _ASKS_FOR_CLOCK.search(template) else _DAY.strftime


def _clock(template: str, day: str | None) -> Callable[[str], str] | None:
    return clock_of(template) if day is None else date.fromisoformat(day).strftime


def _check_size(operator: str, left: Any, right: Any) -> None:
    for repeated, count in ((left, right), (right, left)):
        if (
            isinstance(count, int)
            and isinstance(repeated, (str, list, tuple))
            and len(repeated) * count > _MAX_REPEATED
        ):
            raise BoundError("a template may not repeat text that often")
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        if bits > _MAX_BITS:
            raise BoundError("a template may not compute numbers that large")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """transformers' filter; Jinja's own escapes HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _limit_memory() -> None:
    """Bound the address space, where the system can: Linux does; macOS accepts no such limit."""
    try:
        import resource
        from pathlib import Path

        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        most = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core file when time has run out
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, OSError, ValueError):
        pass


def _limit_time(conversations: int) -> None:
    """The system ends this process when the next conversations have used their processor time."""
    try:
        import resource

        used, allowed = resource.getrusage(resource.RUSAGE_SELF), CPU_SECONDS * math.ceil(conversations / PER_LIMIT)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + allowed, hard))
    except (ImportError, OSError, ValueError):
        pass


def main() -> None:
    """Answer until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    _compile("{{ 1 }}")  # imports jinja2, before memory is limited
    draw = _transformers() if sys.argv[1:] == ["transformers"] else _draw
    _limit_memory()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit_time(len(request["conversations"]))
        sys.stdout.write(json.dumps({"answers": answers(request, draw)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
