"""onnxruntime neither writes usage data nor looks up a host in a process that Kogata starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
from onnx import TensorProto, helper, save
from support.paths import ROOT

SESSION = "import onnxruntime, sys; onnxruntime.InferenceSession(sys.argv[1]).run(None, {'x': [1.0]})"
COLLECTS = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 29)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", ports[:1], ports[1:])
    save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def traces(home: Path, model: Path, code: str, *tracer: str) -> list[str]:
    """What a process that runs `code` leaves in a home of its own.

    It inherits `PATH` only: onnxruntime collects nothing where a variable such as `CI` or `GITHUB_ACTIONS` is set.
    """
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([*tracer, sys.executable, "-c", code, str(model)], env=environment, check=True, capture_output=True)
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if "Microsoft" in str(path))


def test_no_usage_data_is_written(tmp_path: Path, model: Path) -> None:
    assert traces(tmp_path / "home", model, f"import exporter; {SESSION}") == []


@pytest.mark.skipif(not COLLECTS, reason="this onnxruntime collects nothing")
def test_without_the_setting_it_would_be(tmp_path: Path, model: Path) -> None:
    """So the test above can fail."""
    assert traces(tmp_path / "home", model, SESSION)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_nothing_is_looked_up(tmp_path: Path, model: Path) -> None:
    """Resolvers are written in C, so the system calls are watched: no socket is opened at all."""
    log = tmp_path / "log"
    tracer = ("strace", "-f", "-qq", "-e", "trace=socket,connect,sendto", "-o", str(log))
    try:
        traces(tmp_path / "home", model, f"import exporter; {SESSION}", *tracer)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"strace can't attach here: {error.stderr[-200:]!r}")
    internet = [line for line in log.read_text().splitlines() if "AF_INET" in line]
    assert internet == []
