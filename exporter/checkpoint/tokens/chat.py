"""Finds a checkpoint's chat template and renders it as transformers does, in a child process with limits."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens.template_worker import CPU_SECONDS, MEMORY_BYTES
from exporter.errors import InputError, KogataError

TEMPLATE_FILE = "chat_template.jinja"
_TEMPLATE_JSON = "chat_template.json"  # written by older transformers for processors
_MAX_TEMPLATE_BYTES = 1 << 20  # the longest in use (Cohere's) has some 20 kB
WALL_SECONDS = 30.0  # on a busy machine; the worker's processor time ends a template that hangs much earlier
_OUT_OF_TIME = {-getattr(signal, name) for name in ("SIGXCPU", "SIGKILL") if hasattr(signal, name)}
_TOO_LONG = f"it runs for longer than {CPU_SECONDS} seconds"
_TOO_LARGE = f"it needs more than {MEMORY_BYTES >> 20} MiB of memory"

_WITHOUT_TORCH = {"USE_TORCH": "0", "USE_TF": "0", "USE_FLAX": "0"}  # transformers renders without it: faster to start

Message = Mapping[str, Any]


class BoundError(InputError):
    """A template asks for more time, memory or length than it may have."""


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


def render(template: str, messages: Sequence[Message], tokens: Mapping[str, Any], add_generation_prompt: bool) -> str:
    """`messages` as one prompt. tokens: bos_token, eos_token … under the names that templates use.

    A prompt never depends on the current date. For a template that tests whether `strftime_now` is defined
    (Llama 3.2) it isn't, and the template uses its own date; a template that calls it without a test (SmolLM3) gets a
    fixed date. Raises `InputError` for every error of the template, and for one that takes more time or memory than
    `template_worker` allows.
    """
    return _rendered(_RENDERER, template, messages, tokens, add_generation_prompt)


def render_as_transformers(template: str, messages: Sequence[Message], tokens: Mapping[str, Any]) -> str:
    """A prompt that awaits an answer, by transformers' own code, within the same limits and on the same date.

    tokens: the `special_tokens_map` of transformers' tokenizer. Raises as `render` does.
    """
    return _rendered(_REFERENCE, template, messages, tokens, True)


def _rendered(
    renderer: _Renderer,
    template: str,
    messages: Sequence[Message],
    tokens: Mapping[str, Any],
    add_generation_prompt: bool,
) -> str:
    (rendered,) = _all(renderer, template, [(messages, add_generation_prompt)], tokens)
    if rendered.text is None:
        raise _failure(rendered.error, rendered.bound)
    return rendered.text


@dataclass(frozen=True)
class Rendered:
    """A conversation's text; None where the template refuses the conversation, with the reason in `error`.

    bound: whether the template asked for too much.
    """

    text: str | None
    error: str = ""
    bound: bool = False


def render_all(
    template: str,
    conversations: Sequence[tuple[Sequence[Message], bool]],
    tokens: Mapping[str, Any],
    day: str | None = None,
) -> list[Rendered]:
    """Each conversation as `render` gives it, all in one exchange with the child process.

    conversations: the messages of each, and whether the generation prompt follows. day: of the clock that the template
    gets, such as 2024-07-26; None: see `render`. Raises `InputError` where all of them together take too long or too
    much memory.
    """
    return _all(_RENDERER, template, conversations, tokens, day)


def _all(
    renderer: _Renderer,
    template: str,
    conversations: Sequence[tuple[Sequence[Message], bool]],
    tokens: Mapping[str, Any],
    day: str | None = None,
) -> list[Rendered]:
    request = {
        "template": template,
        "tokens": dict(tokens),
        "day": day,
        "conversations": [
            {"messages": [dict(message) for message in messages], "add_generation_prompt": prompt}
            for messages, prompt in conversations
        ],
    }
    answer = renderer.ask(request)
    if "answers" not in answer:
        raise _failure(str(answer["error"]), bool(answer.get("bound")))
    return [
        Rendered(entry.get("text"), entry.get("error", ""), bool(entry.get("bound"))) for entry in answer["answers"]
    ]


def _failure(reason: str, bound: bool) -> KogataError:
    hint = f"the template is {TEMPLATE_FILE} or chat_template in tokenizer_config.json; render it with transformers"
    return (BoundError if bound else InputError).of(
        "checkpoint.chat_template", f"the chat template fails: {reason}", where="chat template", hint=hint
    )


class _Renderer:
    """A child process that renders: started when the first template is, and again after one broke a limit.

    A template is a program of the checkpoint's author: loops nest, and one expression can ask for 10 GB.
    """

    def __init__(self, *arguments: str) -> None:
        """arguments: of the worker."""
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The worker's answer: "answers", or "error" with the reason where the worker ended."""
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = self._start()
            answer = self._exchange(self._process, line)
            if answer is None:
                code = self._end()
                return {"error": _TOO_LONG if code in _OUT_OF_TIME else _TOO_LARGE, "bound": True}
            return answer

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: the modules beside the worker don't hide those of the standard library.
        command = [sys.executable, "-P", str(Path(__file__).with_name("template_worker.py")), *self._arguments]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_WITHOUT_TORCH},
        )
        atexit.register(process.kill)
        return process

    def _exchange(self, process: subprocess.Popen[bytes], line: bytes) -> dict[str, Any] | None:
        """The answer; None where the process ended or took too long."""
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        watch = threading.Timer(WALL_SECONDS, process.kill)  # where the system limits no processor time
        watch.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            return None
        finally:
            watch.cancel()
        return dict(json.loads(answer)) if answer.endswith(b"\n") else None

    def _end(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code


_RENDERER, _REFERENCE = _Renderer(), _Renderer("transformers")
