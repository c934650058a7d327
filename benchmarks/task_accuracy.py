"""Task accuracy against size: the home-intents sample exported at several bits, tested on its held-out requests.

    python benchmarks/task_accuracy.py [--bits 16 8 6 4 3 2] [--bpw 3.5 2.5] [--calibrate none]
        [--checkpoint DIR --task FILE]

Each row is one `kogata export` with its parity check. Accuracies are exact match of greedy decoding in the checkpoint
(torch), in the ONNX file (onnxruntime) and in the Core ML program (outside of macOS executed by Kogata's reference
executor with float16 rounding). Nothing is run on a phone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE = Path(__file__).parents[1] / "samples" / "home_intents"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bits", nargs="*", default=["16", "8", "6", "4", "3", "2"])
    parser.add_argument("--bpw", nargs="*", default=["3.5", "2.5"], help="budgets for mixed bits")
    parser.add_argument("--calibrate", help="passed to `kogata export`")
    parser.add_argument("--checkpoint", type=Path, default=SAMPLE / "checkpoint")
    parser.add_argument("--task", type=Path, default=SAMPLE / "test.jsonl")
    options = parser.parse_args()
    print(f"{'bits':>4} {'bpw':>6} {'onnx MB':>8} {'coreml MB':>9} {'checkpoint':>10} {'onnx':>8} {'coreml':>8}"
          f" {'KL onnx':>9} {'KL coreml':>9} {'gate':>7} {'seconds':>7}")  # fmt: skip
    more = ["--calibrate", options.calibrate] if options.calibrate else []
    widths = [("--bits", bits) for bits in options.bits] + [("--bpw", bpw) for bpw in options.bpw]
    for option, value in widths:
        print(row(value, [str(options.checkpoint), option, value, *more], options.task), flush=True)


def row(bits: str, asked: list[str], task: Path) -> str:
    """One export, as a line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "exporter", "export", *asked, "-o", f"{folder}/out"]
        command += ["--task", str(task), "--format", "json", "--quiet"]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
    told = json.loads(done.stdout)
    if told["result"] is None:
        return f"{bits:>4} failed: {told['diagnostics'][0]['message']}"
    manifest, parity = told["result"]["manifest"], told["result"]["parity"]
    size = {a["kind"]: a["bytes"] / 1e6 for a in manifest["artifacts"]}
    tasks = {t["subject"]: 100 * t["correct"] / t["total"] for t in parity["tasks"]}
    accuracy = [
        next((v for k, v in tasks.items() if word in k), float("nan")) for word in ("checkpoint", "ONNX", "Core ML")
    ]
    kl = {r["name"]: r["metrics"].get("kl") for r in parity["rows"]}
    return (
        f"{bits:>4} {manifest['compression']['bpw']:>6.3f} {size['onnx']:>8.2f} {size['coreml']:>9.2f}"
        f" {accuracy[0]:>9.1f}% {accuracy[1]:>7.1f}% {accuracy[2]:>7.1f}%"
        f" {kl['onnx']:>9.5f} {kl['coreml']:>9.5f} {parity['verdict']:>7} {seconds:>7.1f}"
    )


if __name__ == "__main__":
    main()
