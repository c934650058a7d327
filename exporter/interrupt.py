"""Ctrl-C and SIGTERM end the command within two seconds, whatever it is doing.

A Python handler can't promise that: it runs only between two bytecodes of the main thread, so a long call into a
library delays it, and an exception that is raised while a library is imported can be swallowed or crash the process.
So the command runs in a child process. This process does nothing but wait: at a signal it ends the child, removes the
child's temporary folder, and says so in one line.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from pathlib import Path

_GRACE = 1.0  # seconds in which a child may finish that is moving its bundle into place or writing its report
_ORPHANED = 137  # the exit code of a child whose waiting process was killed; nobody reads it
_notes: list[int] = []  # in the child: where to write what the waiting process must know


def note(kind: str, path: Path | None = None) -> None:
    """Tell the waiting process, if there is one, what would be left or lost if this process were ended now.

    kind: "work" (a temporary folder beside the destination `path`), "made" (a new parent folder), "moving" (the bundle
    is being moved into place), "written" (it is there), "answer" (a model's answer is being written to stdout) or
    "report" (the report is being written).
    """
    for channel in _notes:
        os.write(channel, json.dumps([kind, str(path or "")]).encode() + b"\n")


def run_supervised(command: Callable[[], None], remove_work: Callable[[str], None]) -> None:
    """Run `command` in a child process and exit as it does. Where processes can't fork, run it in this one.

    remove_work: removes what an export to the folder of this name left in its temporary folder.
    """
    if not hasattr(os, "fork"):
        command()
        return
    # A signal that the caller ignores, as nohup and shells' background jobs do, stays ignored.
    asked = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    signal.signal(signal.SIGCHLD, lambda *_: None)  # so that no system drops it while it is blocked
    signal.pthread_sigmask(signal.SIG_BLOCK, [*asked, signal.SIGCHLD])
    reading, writing = os.pipe()
    alive, held = os.pipe()  # `held` closes when this process ends, however it ends
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.close(held)
        _become_child(writing, alive, [*asked, signal.SIGCHLD])
        command()
        return
    os.close(writing)
    os.close(alive)
    status, number = _wait(child, {*asked, signal.SIGCHLD})
    if not number:
        _exit_like(status)
    told = _end(child, reading)
    _clean(told, remove_work)
    kinds = {kind for kind, _ in told}
    fate = (
        "; the bundle had been written" if "written" in kinds else "; no bundle was written" if "work" in kinds else ""
    )
    _say(f"error: interrupted{fate}", keeps_line="answer" in kinds)
    os._exit(128 + number)


def _become_child(notes: int, alive: int, blocked: list[signal.Signals]) -> None:
    """Leave signals to the waiting process, and end with it."""
    _notes.append(notes)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a terminal sends Ctrl-C to both processes
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)

    def watch() -> None:
        os.read(alive, 1)
        os._exit(_ORPHANED)

    threading.Thread(target=watch, daemon=True).start()


def _wait(child: int, signals: set[signal.Signals]) -> tuple[int, int]:
    """(the child's wait status, 0), or (0, the signal that was sent to this process)."""
    while True:
        number = signal.sigwait(signals)
        if number != signal.SIGCHLD:
            return 0, number
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status, 0


def _exit_like(status: int) -> NoReturn:
    """Exit with the child's code; 128 and the signal's number where a signal ended it."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    guess = ": perhaps the machine ran out of memory" if code == -signal.SIGKILL else ""
    _say(f"error: the command was ended by {signal.Signals(-code).name}{guess}")
    os._exit(128 - code)


def _end(child: int, reading: int) -> list[tuple[str, str]]:
    """End the child; returns its notes."""
    told = _read(reading)
    limit = time.monotonic() + (_GRACE if told and told[-1][0] in ("moving", "report") else 0)
    ended = False
    while not ended and time.monotonic() < limit:
        ended = bool(os.waitpid(child, os.WNOHANG)[0])
        time.sleep(0.01)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return told + _read(reading)


def _read(reading: int) -> list[tuple[str, str]]:
    """All notes that were written up to now."""
    raw = b""
    while select.select([reading], [], [], 0)[0] and (read := os.read(reading, 1 << 16)):
        raw += read
    return [(kind, path) for kind, path in map(_parsed, raw.splitlines()) if kind]


def _parsed(line: bytes) -> tuple[str, str]:
    try:
        kind, path = json.loads(line)
    except ValueError:  # cut off when the child was ended
        return "", ""
    return kind, path


def _clean(told: list[tuple[str, str]], remove_work: Callable[[str], None]) -> None:
    """Remove the child's temporary folder, and the parent folders that it made, as far as they are empty."""
    for kind, path in told:
        if kind == "work":
            with contextlib.suppress(OSError):
                remove_work(path)
    if any(kind == "written" for kind, _ in told):
        return
    for kind, path in reversed(told):
        if kind == "made":
            with contextlib.suppress(OSError):  # another process uses it
                os.rmdir(path)


def _say(line: str, *, keeps_line: bool = False) -> None:
    """One line on stderr. On a terminal the cursor is shown again, and the progress in its line is removed, unless
    keeps_line says that it is text to keep.
    """
    start = ("\n" if keeps_line else "\r\x1b[K") + "\x1b[?25h"
    with contextlib.suppress(OSError):
        os.write(2, ((start if os.isatty(2) else "") + line + "\n").encode())
