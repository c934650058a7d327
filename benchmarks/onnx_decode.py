"""`kogata export` beside onnxruntime-genai's model builder: export, load, memory and speed of a decoder in genai.

    python benchmarks/onnx_decode.py [--shape qwen2.5-0.5b|tiny] [--context 512 --context 3000] [--repeats 5]
        [--threads 2] [--json FILE] [--folder DIR] [--builder-extra KEY=VALUE] [-- OPTIONS OF KOGATA EXPORT]

A random checkpoint of the shape is exported twice: by `kogata export --to onnx --calibrate none --parity none` with the
options behind `--` (such as `--onnx-weights fp16`), and by the builder (`-p int4 -e cpu`), each in its own process.
Then `kogata bench` times both folders in the same onnxruntime-genai, in alternating rounds.

Columns: Kogata's median, the builder's median, and Kogata's divided by the builder's: median and range of the ratios of
the rounds. Memory is the resident set of the process, libraries included; its limit is 1.1 times the own file + 0.3 GB.
Export memory is `ru_maxrss` of wait4. "wanted" are the project's aims on the 0.5B shape with two idle cores. The exit
code says nothing about them.

The builder needs a newer transformers than Kogata. So it gets an environment of its own with the versions in
REQUIREMENTS, in the user's cache folder, which this script makes with pip unless `--peer PYTHON` names one. `--folder`
keeps the checkpoint and both exports; `--shape tiny` takes half a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer_environment import UnavailableError, environment
from scale import SHAPES, Cost, Shape, measure, write_checkpoint

from exporter.report import Report, Table, render

REQUIREMENTS = (  # tried together
    "numpy==2.3.5",
    "onnx==1.23.2",
    "onnx-ir==1.1.0",
    "onnxruntime==1.32.0",
    "onnxruntime-genai==0.18.0",
    "transformers==5.24.0",
)
TINY = Shape("qwen2", 2, 64, 4, 2, 128, 1024, True, True, 4096, (("use_sliding_window", False),))
CONTEXTS = (512, 3000)
FILE_SHARE, LIBRARIES = 1.1, 300_000_000  # memory: at most so many times the file, and bytes beside it


@dataclass(frozen=True)
class Row:
    """ours, theirs: medians. ratio: median, smallest and largest of ours divided by theirs. aim: "<=" or ">=", and the
    limit: of the ratio or, where `own`, of ours.
    """

    measure: str
    ours: float
    theirs: float
    ratio: tuple[float, float, float]
    aim: tuple[str, float] | None = None
    own: bool = False

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        relation, limit = self.aim
        value = self.ours if self.own else self.ratio[0]
        return value >= limit if relation == ">=" else value <= limit


def rows(bench: Mapping[str, Any], label: str, exports: tuple[Cost, Cost]) -> list[Row]:
    """One row for each measure of Kogata's artifact `label`. bench: the result of `kogata bench`. exports: Kogata's and
    the builder's.
    """
    subjects = {subject["label"]: subject for subject in bench["subjects"]}
    pair = next(ratios for ratios in bench["ratios"] if ratios["of"] == label)
    ours, theirs = subjects[label], subjects[pair["to"]]
    found = [_alone("file GB", ours["bytes"] / 1e9, theirs["bytes"] / 1e9)]
    for name, aim, part in (("export s", 0.5, "wall"), ("export processor s", None, "cpu"), ("export GB", 0.5, "peak")):
        costs = [getattr(cost, part) / (1e9 if part == "peak" else 1) for cost in exports]
        found.append(_alone(name, costs[0], costs[1], aim and ("<=", aim)))
    for one, two, ratio in zip(ours["measures"], theirs["measures"], pair["measures"], strict=True):
        assert _key(one) == _key(two) == _key(ratio)
        spread = ratio["median"], ratio["smallest"], ratio["largest"]
        name, scale = one["measure"], 1e9 if "memory" in one["measure"] else 1
        shown = " at ".join([f"{name} GB" if scale > 1 else name, *([str(one["context"])] if one["context"] else [])])
        aim, own = _aim(name, ours["bytes"])
        found.append(Row(shown, one["median"] / scale, two["median"] / scale, spread, aim, own))
    return found


def _alone(name: str, ours: float, theirs: float, aim: tuple[str, float] | None = None) -> Row:
    return Row(name, ours, theirs, (ours / theirs,) * 3, aim)


def _key(measure: Mapping[str, Any]) -> tuple[Any, ...]:
    return measure["measure"], measure["context"], measure["batch"]


def _aim(name: str, size: int) -> tuple[tuple[str, float] | None, bool]:
    """The aim, and whether it is about Kogata's own number."""
    if name in ("memory after load", "peak memory"):
        return ("<=", (FILE_SHARE * size + LIBRARIES) / 1e9), True
    aims = {"decode tokens/s": (">=", 1.0), "prefill tokens/s": (">=", 1.3), "load s": ("<=", 1.0)}
    return aims.get(name), False


def table(title: str, found: Sequence[Row]) -> Table:
    cells = []
    for row in found:
        ratio = f"{row.ratio[0]:.2f}"
        if len(set(row.ratio)) > 1:
            ratio += f" ({row.ratio[1]:.2f}–{row.ratio[2]:.2f})"
        relation, limit = row.aim or ("", 0.0)
        sign = {"<=": "≤", ">=": "≥", "": ""}[relation]
        wanted = f"{sign} {limit:.2f}{' GB' if row.own else ''}" if row.aim else ""
        met = {True: "yes", False: "no", None: ""}[row.met]
        cells.append((row.measure, f"{row.ours:.3g}", f"{row.theirs:.3g}", ratio, wanted, met))
    return Table(title, ("measure", "kogata", "builder", "ratio", "wanted", "met"), cells)


def exported(checkpoint: Path, work: Path, python: Path, options: argparse.Namespace) -> tuple[Cost, Cost]:
    """Writes work/kogata and work/builder."""
    ours, theirs = work / "kogata", work / "builder"
    for folder in (ours, theirs):
        shutil.rmtree(folder, ignore_errors=True)
    asked = ["--to", "onnx", "--calibrate", "none", "--parity", "none", "--name", "benchmark", *options.export]
    kogata = [sys.executable, "-m", "exporter", "export", str(checkpoint), "-o", str(ours), *asked]
    extra = ["--extra_options", *options.builder_extra] if options.builder_extra else []
    builder = [str(python), "-m", "onnxruntime_genai.models.builder", "-i", str(checkpoint), "-o", str(theirs)]
    builder += ["-p", "int4", "-e", "cpu", "-c", str(work / "cache"), *extra]
    return measure(kogata, ours), measure(builder, theirs)


def benched(work: Path, python: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The result of `kogata bench` in genai. Exits with its errors if it fails."""
    command = [sys.executable, "-m", "exporter", "bench", str(work / "kogata"), str(work / "builder")]
    command += ["--engine", "genai", "--genai-python", str(python), "--artifact", "onnx", "--format", "json"]
    for name in ("repeats", "threads", "tokens", "seed", "timeout"):
        command += [f"--{name}", str(getattr(options, name))]
    command += [word for context in options.context or CONTEXTS for word in ("--context", str(context))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    envelope = json.loads(done.stdout)
    if done.returncode:
        sys.exit("\n".join(f"error: {d['where']}: {d['message']}\nhint: {d['hint']}" for d in envelope["diagnostics"]))
    return dict(envelope["result"])


def main() -> None:
    options = _options()
    shape = TINY if options.shape == "tiny" else SHAPES[options.shape]
    try:
        python = options.peer or environment("genai-builder", "onnxruntime_genai, transformers", REQUIREMENTS)
    except UnavailableError as error:
        sys.exit(f"error: onnxruntime-genai's builder can't be installed: {error}\n\nhint: name a python with --peer")
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kogata-decode-") as temporary:
        work = (options.folder or Path(temporary)).resolve()
        checkpoint = work / f"qwen2-{options.shape}"
        if not checkpoint.exists():
            shutil.rmtree(work / "partial", ignore_errors=True)
            write_checkpoint(work / "partial", shape)
            (work / "partial").rename(checkpoint)
        exports = exported(checkpoint, work, python, options)
        result = benched(work, python, options)
    written = {}
    for label in (ratios["of"] for ratios in result["ratios"]):
        found = rows(result, label, exports)
        written[label] = [{**vars(row), "met": row.met} for row in found]
        print(render(Report("benchmark", 0, {}, (), (table(_title(label, result, options), found),)), "text"))
    if options.json:
        costs = {name: vars(cost) for name, cost in zip(("kogata", "builder"), exports, strict=True)}
        facts = {"shape": options.shape, "export_options": options.export, "builder_extra": options.builder_extra}
        text = json.dumps({**facts, "exports": costs, "rows": written, "bench": result}, indent=1)
        options.json.write_text(text, encoding="utf-8")


def _title(label: str, result: Mapping[str, Any], options: argparse.Namespace) -> str:
    runner = result["subjects"][0]["runner"]
    rounds = f"{options.threads} threads, {options.repeats} rounds"
    busy = f"{result['machine']['load']:.1f} of {os.cpu_count()} processors busy before"
    return f"{options.shape}, {label.removeprefix('A ')}, {runner}, {rounds}, {busy}"


def _options() -> argparse.Namespace:
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("qwen2.5-0.5b", "tiny"), default="qwen2.5-0.5b")
    parser.add_argument("--context", type=int, action="append", help="tokens of the prompt; default: 512 and 3000")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of `kogata bench`")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64, help="decoded after each prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one process of `kogata bench`")
    parser.add_argument("--json", type=Path, help="also writes all numbers to this file")
    parser.add_argument(
        "--folder", type=Path, help="keeps the checkpoint and both exports, and uses the checkpoint again"
    )
    parser.add_argument("--peer", type=Path, help="interpreter with onnxruntime-genai and what its builder needs")
    parser.add_argument(
        "--builder-extra", action="append", default=[], help="KEY=VALUE for the builder's --extra_options"
    )
    options = parser.parse_args(arguments[:cut])
    options.export = arguments[cut + 1 :]
    return options


if __name__ == "__main__":
    main()
