"""Progress with a clock of the test's own: what is said, when, and that nothing is said after the report."""

from __future__ import annotations

import io
import re
import sys
import threading

import pytest
from rich.console import Console

from exporter.cli import progress as module
from exporter.cli.output import Output
from exporter.cli.progress import BarProgress, LineProgress
from exporter.progress import NoProgress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_log_gets_a_line_whenever_half_a_minute_was_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = LineProgress(clock)
    lines.remind()
    lines.stage("import", 1)
    clock.now += 29
    lines.remind()
    assert capsys.readouterr().err == "kogata: import\n"
    clock.now += 1
    lines.remind()
    lines.remind()
    assert capsys.readouterr().err == "kogata: import: 0:00:30 elapsed\n"
    lines.stage("fit palettes", 8)
    clock.now += 90
    lines.remind()
    lines.advance("first")
    lines.advance("second")
    clock.now += 30
    lines.remind()
    assert capsys.readouterr().err == (
        "kogata: fit palettes (8)\n"
        "kogata: fit palettes: 0 of 8, 0:01:30 elapsed\n"
        "kogata: fit palettes: 2 of 8, 0:02:00 elapsed, about 0:06:00 left\n"  # 60 s a step, 6 steps
    )
    lines.close()


def test_nothing_is_said_after_close(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    threads = threading.active_count()
    lines = LineProgress(clock)
    lines.stage("import", 1)
    lines.close()
    assert threading.active_count() == threads
    capsys.readouterr()
    clock.now += 1000
    lines.remind()
    assert capsys.readouterr().err == ""


def test_the_thread_reminds(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    reminded = threading.Event()
    monkeypatch.setattr(module, "TICK", 0.001)
    monkeypatch.setattr(LineProgress, "remind", lambda _: reminded.set())
    lines = LineProgress(clock)
    assert reminded.wait(10)
    lines.close()


def test_a_reader_of_stderr_that_left_stops_no_work(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Left(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Left())
    lines = LineProgress(clock)
    lines.stage("import", 1)
    lines.stage("pack", 1)
    lines.close()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_bar_has_count_and_times_and_interprets_no_markup(width: int, clock: Clock) -> None:
    screen = io.StringIO()
    bars = BarProgress(Console(file=screen, width=width, force_terminal=True, get_time=clock))
    bars.stage("[red]x[/red]\x1b[2J" + (" and more") * 9, 8)
    for _ in range(2):
        clock.now += 60
        bars.advance()
    bars.close()
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "\n", screen.getvalue())
    last = [re.sub(r"\n+", "", line) for line in re.split(r"\r", shown) if "2/8" in line][-1]
    assert "[red]x[/red]\\x1b[2J" in last
    assert "0:02:00" in last
    assert "0:06:00" in last
    assert len(last) <= width


def test_no_progress_where_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROGRESS", raising=False)
    assert isinstance(Output("text", quiet=True).progress(), NoProgress)
    shown = Output("text", quiet=False).progress()
    assert isinstance(shown, LineProgress)
    shown.close()
    monkeypatch.setattr(sys, "stderr", None)
    assert isinstance(Output("text", quiet=False).progress(), NoProgress)
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROGRESS", "1")
    assert isinstance(Output("text", quiet=False).progress(), NoProgress)
