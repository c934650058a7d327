"""SIGINT and SIGTERM at random moments of an export, also while libraries are imported."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.paths import ROOT

RUNS = int(os.environ.get("KOGATA_INTERRUPTS", "20"))  # of each signal; half of them in the first two seconds
LATEST = 12.0  # seconds after the start
STARTED = 0.15  # seconds until Python itself has started, which no program can do anything about
SAMPLE = ROOT / "samples" / "home_intents" / "checkpoint"


def interrupt(number: signal.Signals, moment: float, place: Path, *options: str) -> tuple[int, float, str]:
    """Exit code, seconds from the signal to the end, and stderr."""
    command = [sys.executable, "-m", "exporter", "export", str(SAMPLE), "-o", str(place / "deep" / "out"), "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=_heed_interrupts,  # noqa: PLW1509 - no thread of the tests holds a lock
    )
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    sent = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert out == "" or process.returncode == 0 or "written" in err
    return process.returncode, time.monotonic() - sent, err


def _heed_interrupts() -> None:
    """The tests may run in a background job, whose processes ignore SIGINT; the command would go on ignoring it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the command runs in a child process where processes can fork")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_at_any_moment(number: signal.Signals, tmp_path: Path) -> None:
    """Within two seconds, with the code that shells expect, one line, and nothing left."""
    draw = random.Random(int(number))
    for run in range(RUNS):
        moment = draw.uniform(STARTED, 2.0 if run % 2 else LATEST)
        place = tmp_path / str(run)
        place.mkdir()
        code, seconds, err = interrupt(number, moment, place, "--parity", "quick")
        if code == 0:
            continue  # it was faster
        assert (code, seconds < 2, err.count("\n")) == (128 + number, True, 1), (moment, seconds, err)
        assert err.startswith("error: interrupted")
        if "written" not in err or "no bundle was written" in err:
            assert not list(place.iterdir()), moment


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the command runs in a child process where processes can fork")
def test_a_signal_while_libraries_are_imported(tmp_path: Path) -> None:
    code, seconds, err = interrupt(signal.SIGINT, 0.7, tmp_path)
    assert (code, seconds < 2) == (130, True)
    assert err.removeprefix("error: interrupted") in ("\n", "; no bundle was written\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the command runs in a child process where processes can fork")
def test_the_command_ends_with_the_process_that_waits_for_it(tmp_path: Path) -> None:
    """`kill -9` of the one process that a caller knows."""
    command = [sys.executable, "-m", "exporter", "export", str(SAMPLE), "-o", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        time.sleep(1)
        process.kill()
        process.communicate(timeout=10)  # the child has the same pipes, so this waits for its end
    assert not (tmp_path / "out").exists()
