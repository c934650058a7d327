"""The action for GitHub and the job for GitLab: their shell steps run here as they stand.

Installing is replaced by programs that note how they were called; `kogata` is the real command on a tiny checkpoint.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from support.checkpoints import tiny_bert
from support.paths import PYTHONPATH, ROOT

ACTION = ROOT / "docs" / "ci" / "github-action" / "action.yml"
JOB = ROOT / "docs" / "ci" / "gitlab-ci.yml"
QUICK = ("--calibrate=none", "--to=onnx", "--parity=quick")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("ci") / "check point")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """PATH with `kogata`, and with stand-ins for what installs it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    run = f'PYTHONPATH="{PYTHONPATH}" exec "{sys.executable}" -m exporter "$@"\n'
    note = f'echo "$(basename "$0") $*" >> "{tmp_path}/calls"\n'
    for name, body in {"kogata": run, **dict.fromkeys(("python", "git", "apt-get"), note)}.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def shell(script: str, folder: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """As both systems run a step: bash that stops at the first failure."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)


def steps() -> dict[str, dict[str, Any]]:
    found = yaml.safe_load(ACTION.read_text())["runs"]["steps"]
    return {step["name"]: step for step in found if "run" in step}


def test_versions_are_pinned_and_no_input_is_pasted_into_a_script() -> None:
    action = yaml.safe_load(ACTION.read_text())
    for step in action["runs"]["steps"]:
        assert "${{" not in step.get("run", "")  # an input there could hold commands
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", step["uses"])
    job = yaml.safe_load(JOB.read_text())["kogata"]
    assert re.search(r":\d+\.\d+\.\d+-", job["image"])
    assert job["artifacts"]["reports"]["junit"] in job["artifacts"]["paths"]


@pytest.mark.slow
@pytest.mark.parametrize(("gate", "code", "folder"), [("--bits=8", 0, "out"), ("--bits=1", 1, "out.rejected")])
def test_github_s_steps(
    gate: str, code: int, folder: str, checkpoint: Path, env: dict[str, str], tmp_path: Path
) -> None:
    output, summary = tmp_path / "output", tmp_path / "summary.md"
    env |= {"KOGATA": "/a b", "CHECKPOINT": str(checkpoint), "OUTPUT": "out", "OPTIONS": "\n".join(["", gate, *QUICK])}
    env |= {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
    found = steps()
    assert shell(found["Install"]["run"], tmp_path, env).returncode == 0
    assert (tmp_path / "calls").read_text() == "python -m pip install --constraint /a b/constraints.txt /a b\n"
    done = shell(found["Export"]["run"], tmp_path, env)
    assert done.returncode == code, done.stdout + done.stderr
    assert (tmp_path / folder / "manifest.json").is_file()
    assert output.read_text() == f"bundle={folder}\n"
    assert all(line.startswith("::") for line in done.stdout.splitlines())
    assert f"/{folder}" in summary.read_text().replace("\\", "")
    if code == 0:
        assert shell(found["Require a passed verdict"]["run"], tmp_path, env).returncode == 0
        assert summary.read_text().count("### kogata") == 2
    else:
        assert "parity.onnx" in done.stdout
        assert "next: don't ship the files" in done.stdout


@pytest.mark.slow
def test_gitlab_s_script(checkpoint: Path, env: dict[str, str], tmp_path: Path) -> None:
    job = yaml.safe_load(JOB.read_text())["kogata"]
    env |= {key: str(value) for key, value in job["variables"].items() if "$" not in value}
    env |= {"CHECKPOINT": str(checkpoint), "BITS": "8"}
    assert shell("\n".join(job["before_script"]), tmp_path, env).returncode == 0
    assert "git clone --depth 1 --branch v0.1.0" in (tmp_path / "calls").read_text()
    done = shell("\n".join(job["script"]), tmp_path, env)
    assert done.returncode == 0, done.stdout + done.stderr
    suites = ElementTree.parse(tmp_path / "kogata.xml").getroot()
    assert (suites.get("failures"), suites[0].tag) == ("0", "testsuite")
    assert {suite.get("file") for suite in suites} >= {f"{(tmp_path / 'bundle').resolve()}/onnx/model.onnx"}
