"""Finds a checkpoint's chat template and renders it as transformers does, in a sandbox."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.folder import Folder
from exporter.errors import InputError

if TYPE_CHECKING:
    import jinja2

TEMPLATE_FILE = "chat_template.jinja"
_TEMPLATE_JSON = "chat_template.json"  # written by older transformers for processors
_MAX_TEMPLATE_BYTES = 1 << 20  # the longest in use (Cohere's) has some 20 kB
_MAX_BITS = 4096  # of an integer that a template computes
_MAX_REPEATED = 1 << 20  # characters or items that `text * n` in a template may make

_ASKS_FOR_CLOCK = re.compile(r"strftime_now\s+is\s+(not\s+)?(un)?defined")
_DAY = date(2024, 7, 26)  # the date that Llama 3.2's template uses by default

Message = Mapping[str, Any]


def find_template(folder: Folder, tokenizer_config: Mapping[str, Any]) -> str | None:
    """The default chat template: `chat_template.jinja`, else the one in `tokenizer_config.json` (a string, or a list
    of named ones), else `chat_template.json`. `InputError` where there are several and no one is named "default".
    """
    text = folder.read_text(TEMPLATE_FILE, _MAX_TEMPLATE_BYTES)
    if text is not None:
        return text
    stated, where = tokenizer_config.get("chat_template"), "tokenizer_config.json"
    if stated is None:
        stated, where = (folder.read_object(_TEMPLATE_JSON) or {}).get("chat_template"), _TEMPLATE_JSON
    if isinstance(stated, list) and all(isinstance(entry, dict) for entry in stated):
        stated = {entry.get("name"): entry.get("template") for entry in stated}
    if isinstance(stated, dict):
        if "default" not in stated:
            raise InputError.of(
                "checkpoint.chat_template",
                f"the chat templates {sorted(map(str, stated))} have no default",
                where=where,
                hint=f"write the one to use into {TEMPLATE_FILE}",
            )
        stated = stated["default"]
    if stated is not None and not isinstance(stated, str):
        raise InputError.of("checkpoint.chat_template", "the chat template is not text", where=where)
    return stated


def clock_of(template: str) -> Callable[[str], str] | None:
    """`strftime_now` for a template: None for one that tests whether it is defined, else that of a fixed day."""
    return None if _ASKS_FOR_CLOCK.search(template) else _DAY.strftime


def render(template: str, messages: Sequence[Message], tokens: Mapping[str, Any], add_generation_prompt: bool) -> str:
    """`messages` as one prompt. tokens: bos_token, eos_token … under the names that templates use.

    A prompt never depends on the current date. For a template that tests whether `strftime_now` is defined
    (Llama 3.2) it isn't, and the template uses its own date; a template that calls it without a test (SmolLM3) gets a
    fixed date. Raises `InputError` for every error of the template.
    """
    import jinja2

    try:
        return _compile(template).render(
            messages=[dict(message) for message in messages],
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **tokens,
        )
    except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
    except RecursionError:
        reason = "it recurses too deeply"
    except MemoryError:
        reason = "it needs too much memory"
    raise InputError.of("checkpoint.chat_template", f"the chat template fails: {reason}", where="chat template")


@lru_cache(maxsize=8)
def _compile(template: str) -> jinja2.Template:
    """Compiled with the settings of transformers' `_compile_jinja_template` in Jinja's sandbox: a template has no
    access to files and Python. The size of one expression's result is bounded; the running time of loops is not.
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
    if (clock := clock_of(template)) is not None:
        environment.globals["strftime_now"] = clock
    return environment.from_string(template)


def _check_size(operator: str, left: Any, right: Any) -> None:
    for repeated, count in ((left, right), (right, left)):
        if (
            isinstance(count, int)
            and isinstance(repeated, (str, list, tuple))
            and len(repeated) * count > _MAX_REPEATED
        ):
            raise OverflowError("a template may not repeat text that often")
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        if bits > _MAX_BITS:
            raise OverflowError("a template may not compute numbers that large")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """transformers' filter; Jinja's own escapes HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
