"""What a user sees when the disk runs full in the middle of an export, wherever that happens."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

CHECKPOINT = Path(__file__).parents[2] / "samples" / "home_intents" / "checkpoint"  # 2.2 million weights


def export(out: Path, limit: int, *options: str) -> subprocess.CompletedProcess[str]:
    """No file can have more than `limit` bytes: the system answers EFBIG, which means no more than ENOSPC does."""
    command = [sys.executable, "-m", "exporter", "export", str(CHECKPOINT), "-o", str(out), "--parity", "none", "-q"]
    command += ["--calibrate", "none"]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = {**os.environ, "NO_PROGRESS": "1"}
    return subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, env=environment, preexec_fn=limited
    )


@pytest.mark.parametrize(
    ("limit", "options"),
    [
        (500_000, ("--bits", "8")),  # the palettes between compression and lowering: 2.2 MB
        (1_000_000, ("--bits", "16", "--to", "coreml")),  # weight.bin: 4.5 MB
        (1_000_000, ("--bits", "16", "--to", "onnx")),  # model.onnx: 9 MB
    ],
)
def test_an_export_that_runs_out_of_room_says_so_and_leaves_nothing(
    tmp_path: Path, limit: int, options: tuple[str, ...]
) -> None:
    done = export(tmp_path / "out", limit, *options)
    assert done.returncode == 2, done.stderr
    assert "error: " in done.stderr
    assert "can't be written: File too large" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())
