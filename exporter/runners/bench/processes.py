"""Starts the process that times a model, and reads its answer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import IO, Any, Literal

from exporter.errors import Diagnostic, InputError, RuntimeMissingError

Engine = Literal["onnxruntime", "genai", "coreml"]
TITLES: Mapping[Engine, str] = {"onnxruntime": "onnxruntime", "genai": "onnxruntime-genai", "coreml": "Core ML"}
PROBE_SECONDS = 120.0  # for imports alone
_GRACE = 5.0  # seconds after which a worker is killed that should have ended itself
_SHOWN = 400  # characters of a library's error
_OF_THIS_PYTHON = ("PYTHONHOME", "PYTHONPATH")


@dataclass(frozen=True)
class WorkerCall:
    """One model to time.

    model: the ONNX file, the genai folder or the .mlpackage. seconds: the worker is stopped after so long. python: its
    interpreter, None for this one. facts: what else `worker.py` reads in a request.
    """

    engine: Engine
    model: Path
    seconds: float = PROBE_SECONDS
    python: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def measure(call: WorkerCall) -> dict[str, Any]:
    """Runs one worker. The answer is that of `worker.measured`.

    Raises RuntimeMissingError where the engine isn't installed, InputError where the model doesn't load or run, where
    it takes longer than `seconds`, and where the worker is killed.
    """
    return _ask(call, call.facts)


def runner_name(call: WorkerCall) -> str:
    """The engine's name and version; no model is loaded. Raises as `measure` does."""
    return str(_ask(call, {"probe": True})["runner"])


def _ask(call: WorkerCall, facts: Mapping[str, Any]) -> dict[str, Any]:
    request = {**facts, "engine": call.engine, "model": os.path.abspath(call.model), "seconds": call.seconds}
    begun = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = _start(call, log)
        overdue = Timer(call.seconds + _GRACE, process.kill)
        overdue.start()
        try:
            told = _answer(_exchange(process, json.dumps(request).encode() + b"\n"))
            code = process.wait()  # the worker ends after its answer; else it is overdue, and killed
        finally:
            overdue.cancel()
            process.kill()
        last = _last_line(log)
    if told is None and last.startswith("ModuleNotFoundError"):  # numpy, which the worker needs first
        raise _missing(call, last)
    if told is None:
        raise _ended(call, code, time.monotonic() - begun, last)
    if "error" not in told:
        return told
    if told.get("missing"):
        raise _missing(call, str(told["error"]))
    message = f"{TITLES[call.engine]} can't run the model: {str(told['error'])[:_SHOWN]}"
    raise InputError.of("bench.run", message, where=str(call.model))


def _start(call: WorkerCall, log: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    if call.python is not None:
        environment = {name: value for name, value in environment.items() if name not in _OF_THIS_PYTHON}
    command = [str(call.python or sys.executable), str(Path(__file__).with_name("worker.py"))]
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment)
    except OSError as error:
        message = f"this interpreter can't be started: {error.strerror}"
        raise InputError.of("bench.python", message, where=str(call.python or sys.executable)) from None


def _exchange(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    """The worker's answer. stdin stays open meanwhile, because the worker ends when it closes."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the worker has no pipes")
    with process.stdout:
        try:
            process.stdin.write(line)
            process.stdin.flush()
            return process.stdout.readline()
        except OSError:  # it ended before it read the request
            return b""
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()


def _answer(raw: bytes) -> dict[str, Any] | None:
    """None where the worker ended without one."""
    try:
        told = json.loads(raw)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _missing(call: WorkerCall, reason: str) -> RuntimeMissingError:
    name = TITLES[call.engine]
    hint = f"install it there (`pip install {name}`)"
    if call.engine == "genai":
        hint += ", or name the python of an environment that has it with --genai-python"
    where = str(call.python or "this environment")
    return RuntimeMissingError(Diagnostic("bench.runtime", f"{name} can't be imported: {reason}", where, hint))


def _ended(call: WorkerCall, code: int, seconds: float, last: str) -> InputError:
    """The error of a worker without an answer. code: its exit code; last: its last line on stderr."""
    where, name = str(call.model), TITLES[call.engine]
    if code in (-signal.SIGALRM, -signal.SIGKILL) and seconds >= call.seconds:
        message = f"{name} took longer than {call.seconds:g} seconds and was stopped"
        hint = "give it more with --timeout, or ask for shorter contexts, smaller batches or fewer tokens"
        return InputError(Diagnostic("bench.timeout", message, where, hint))
    if code < 0:
        cause = ": perhaps the machine ran out of memory" if code == -signal.SIGKILL else ""
        message = f"{name} was ended by {signal.Signals(-code).name}{cause}"
        return InputError(Diagnostic("bench.killed", message, where))
    if call.python is not None:
        hint = "name the python of an environment with onnxruntime-genai, such as venv/bin/python"
        message = f"the interpreter gave no answer (exit code {code}){': ' if last else ''}{last}"
        return InputError(Diagnostic("bench.python", message, str(call.python), hint))
    return InputError(Diagnostic("bench.run", f"{name} ended with exit code {code}{': ' if last else ''}{last}", where))


def _last_line(log: IO[bytes]) -> str:
    """Of what the worker wrote to stderr."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - (1 << 14)))
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:_SHOWN] if lines else ""
