"""Timing processes: they answer, fail with a reason, stop in time, and end with the process that asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.gqa_graph import HEAD_DIM, VOCABULARY, write_gqa_folder
from support.paths import ROOT

from exporter.errors import InputError, KogataError, RuntimeMissingError
from exporter.runners.bench import Engine, WorkerCall, measure, runner_name

FACTS = {"kind": "decoder", "threads": 1, "seed": 0, "tokens": 2, "contexts": [3], "shared": True}
SIZES = {"vocabulary": VOCABULARY, "head_dim": HEAD_DIM}
ENDLESS = {"tokens": 40, "contexts": [20] * 100_000}  # minutes


@pytest.fixture(scope="module")
def gqa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gqa_folder(tmp_path_factory.mktemp("gqa") / "folder")


def call(folder: Path, engine: Engine = "onnxruntime", python: Path | None = None, **facts: Any) -> WorkerCall:
    model = folder / "model.onnx" if engine == "onnxruntime" else folder
    return WorkerCall(engine, model, facts.pop("seconds", 30.0), python, {**FACTS, **SIZES, **facts})


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def refused(asked: WorkerCall) -> KogataError:
    with pytest.raises(KogataError) as raised:
        measure(asked)
    return raised.value


def test_both_engines_answer_the_same_tokens(gqa: Path) -> None:
    rows = [measure(call(gqa, engine))["rows"][0] for engine in ("onnxruntime", "genai")]
    assert rows[0]["answer"] == rows[1]["answer"]
    assert [row["tokens"] for row in rows] == [2, 2]


def test_a_process_has_only_its_own_memory(gqa: Path) -> None:
    """Not that of the process that started it, which `ru_maxrss` would count on Linux."""
    held = bytearray(b"x" * 120_000_000)
    assert measure(call(gqa))["memory"]["peak"] < len(held)


def test_the_runner_has_a_version(gqa: Path) -> None:
    import onnxruntime_genai

    assert runner_name(call(gqa, "genai")) == f"onnxruntime-genai {onnxruntime_genai.__version__}, CPU"


def test_a_library_that_is_absent_is_named_with_the_remedy(gqa: Path, tmp_path: Path) -> None:
    bare = script(tmp_path / "python", f'exec {sys._base_executable} -S "$@"')  # type: ignore[attr-defined]
    hidden = script(tmp_path / "hidden", f'exec {sys.executable} -c "$(cat {tmp_path / "hide.py"})" "$@"')
    (tmp_path / "hide.py").write_text(
        "import runpy, sys; sys.modules['onnxruntime_genai'] = None; sys.argv.pop(0); sys.path.insert(0, '');"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    for python, missing in ((bare, "numpy"), (hidden, "onnxruntime_genai")):
        error = refused(call(gqa, "genai", python))
        assert isinstance(error, RuntimeMissingError)
        (found,) = error.diagnostics
        assert (found.code, found.where) == ("bench.runtime", str(python))
        assert missing in found.message
        assert "pip install onnxruntime-genai" in found.hint
        assert "--genai-python" in found.hint


def test_another_environment_sends_no_telemetry_and_gets_no_path_of_this_one(gqa: Path, tmp_path: Path) -> None:
    """What onnxruntime's wheels send is stopped by this variable alone."""
    told = tmp_path / "environment"
    python = script(tmp_path / "python", f'env > {told}; exec {sys.executable} "$@"')
    assert measure(call(gqa, "genai", python))["rows"]
    lines = told.read_text().splitlines()
    assert "ORT_DISABLE_TELEMETRY=1" in lines
    assert not [line for line in lines if line.startswith("PYTHONPATH=")]


def test_an_interpreter_that_is_none_is_named(gqa: Path, tmp_path: Path) -> None:
    silent = script(tmp_path / "silent", "echo no python >&2; exit 3")
    for python, said in ((tmp_path / "nothing", "No such file"), (silent, "exit code 3): no python")):
        error = refused(call(gqa, "genai", python))
        assert isinstance(error, InputError)
        assert error.diagnostics[0].code == "bench.python"
        assert said in error.diagnostics[0].message


def test_an_error_of_the_engine_is_told_with_the_model(gqa: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0b onnx")
    for engine in ("onnxruntime", "genai"):
        (found,) = refused(call(tmp_path, engine)).diagnostics
        assert found.code == "bench.run"
        assert str(tmp_path) in found.where
    (found,) = refused(call(gqa, vocabulary=10**6)).diagnostics  # ids that the table doesn't have
    assert "GatherOp" in found.message or "out of" in found.message


def test_a_process_that_takes_too_long_is_stopped(gqa: Path) -> None:
    begun = time.monotonic()
    (found,) = refused(call(gqa, seconds=0.6, **ENDLESS)).diagnostics
    assert time.monotonic() - begun < 5
    assert found.code == "bench.timeout"
    assert "0.6 seconds" in found.message
    assert "--timeout" in found.hint


def test_a_process_that_is_killed_is_named(gqa: Path, tmp_path: Path) -> None:
    killed = script(tmp_path / "python", "kill -9 $$")
    (found,) = refused(call(gqa, "genai", killed)).diagnostics
    assert (found.code, "SIGKILL" in found.message) == ("bench.killed", True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_ends_with_the_one_that_asked(number: signal.Signals, gqa: Path, tmp_path: Path) -> None:
    noted = script(tmp_path / "python", f'echo $$ > {tmp_path / "pid"}; exec {sys.executable} "$@"')
    program = (
        "from pathlib import Path; from exporter.runners.bench import WorkerCall, measure;"
        f"measure(WorkerCall('onnxruntime', Path({str(gqa / 'model.onnx')!r}), 60.0, Path({str(noted)!r}),"
        f"{ {**FACTS, **SIZES, 'tokens': 40}!r} | {{'contexts': [20] * 100_000}}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)})
    worker = _eventually(lambda: int((tmp_path / "pid").read_text() or "x"))
    time.sleep(0.5)  # until it is inside the engine
    assert parent.poll() is None
    os.kill(worker, 0)
    parent.send_signal(number)
    parent.wait(10)
    _eventually(lambda: _gone(worker))


def _eventually(attempt: Any) -> Any:
    for _ in range(100):
        try:
            return attempt()
        except (OSError, ValueError):
            time.sleep(0.05)
    raise AssertionError("not within five seconds")


def _gone(worker: int) -> None:
    """Raises ValueError while the process runs; a zombie has ended."""
    status = Path(f"/proc/{worker}/stat")
    if status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        raise ValueError("it runs")
