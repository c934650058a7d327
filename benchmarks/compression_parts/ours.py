"""Kogata's methods: only the clustering, and the whole `kogata export` with its files read back."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peer_environment import UnavailableError

from exporter.compress import Compression, CompressOptions, compress
from exporter.pipeline.parts import candidates
from exporter.progress import NoProgress
from exporter.runners.mil.constants import Array, Constant, decode_palette
from exporter.runners.mil.datatypes import DataType
from exporter.runners.mil.package import read_package
from exporter.runners.mil.program import read_function
from exporter.runners.mil.proto import parse_model

from .parts import Outcome, Setting, Subject, Weights

WHOLE = 1 << 30  # rows of a group that covers any tensor
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes on Linux


def plain_compression(subject: Subject, setting: Setting) -> Compression:
    """The compression of `--bits --group-size` without calibration: optimal k-means."""
    return compress(candidates(subject.hub), CompressOptions(setting.bits, setting.group_size or WHOLE), NoProgress())


class Plain:
    """Optimal k-means, in this process."""

    name = "kogata k-means"
    uniform = True
    trains = False

    def palettize(self, subject: Subject, setting: Setting) -> Outcome:
        start = time.perf_counter()
        done = plain_compression(subject, setting)
        seconds = time.perf_counter() - start
        return Outcome({name: p.dense() for name, p in done.palettes.items()}, done.stored_bytes, seconds)


Arguments = Callable[[Subject, Setting], list[str]]


def uniform(*more: str) -> Arguments:
    """Bits and groups of the setting."""

    def arguments(_subject: Subject, setting: Setting) -> list[str]:
        return ["--bits", str(setting.bits), "--group-size", str(setting.group_size or WHOLE), *more]

    return arguments


def mixed(*more: str) -> Arguments:
    """The bytes of plain palettes at the setting as a budget, for which Kogata chooses bits."""

    def arguments(subject: Subject, setting: Setting) -> list[str]:
        bpw = math.floor(plain_compression(subject, setting).bpw * 1e6) / 1e6
        return ["--bpw", f"{bpw:.6f}", *more]

    return arguments


def no_worse(*more: str) -> Arguments:
    """The loss of plain palettes on the held-out text as a limit; Kogata doesn't see that text."""

    def arguments(subject: Subject, setting: Setting) -> list[str]:
        plain = {name: p.dense() for name, p in plain_compression(subject, setting).palettes.items()}
        return ["--max-kl", f"{subject.score(plain)[subject.metrics[0]]:.6f}", *more]

    return arguments


class Exported:
    """`kogata export` to Core ML without parity in its own process. The weights are read from the files that it wrote.

    Seconds and peak memory are those of the whole process, with import, calibration and writing.
    """

    def __init__(self, name: str, arguments: Arguments, *, uniform: bool, trains: bool = False) -> None:
        self.name, self.uniform, self.trains = name, uniform, trains
        self._arguments = arguments

    def palettize(self, subject: Subject, setting: Setting) -> Outcome:
        with tempfile.TemporaryDirectory() as folder:
            bundle, told = Path(folder) / "bundle", Path(folder) / "told.json"
            command = [sys.executable, "-m", "exporter", "export", str(subject.checkpoint), "-o", str(bundle)]
            command += ["--to", "coreml", "--parity", "none", "--name", "model", "--format", "json", "--quiet"]
            start = time.perf_counter()
            with told.open("wb") as file:
                process = subprocess.Popen(
                    [*command, *self._arguments(subject, setting)], stdout=file, stderr=subprocess.DEVNULL
                )
                _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise UnavailableError(reason(told.read_text("utf-8"), process.returncode))
            stored = json.loads((bundle / "manifest.json").read_text("utf-8"))["compression"]["stored_bytes"]
            weights = shipped_weights(bundle / "coreml/model.mlpackage", subject)
            return Outcome(weights, stored, seconds, usage.ru_maxrss * MAXRSS_UNIT)


def reason(told: str, status: int) -> str:
    try:
        return "; ".join(d["message"] for d in json.loads(told)["diagnostics"] if d["level"] == "error")
    except (ValueError, KeyError):  # it ended before it could write its report
        return f"kogata export ended with {status}"


def shipped_weights(package: Path, subject: Subject) -> Weights:
    """Checkpoint name → palettized matrix of an `.mlpackage`, `[out, in]` without padding."""
    opened = read_package(package)
    function = read_function(parse_model(opened.model_bytes(), package.name).mlProgram, "main", opened, lambda _: True)
    shapes = {re.sub(r"\W", "_", weight.name): (weight.name, weight.shape) for weight in subject.hub.weights}
    found: dict[str, NDArray[np.float32]] = {}
    for operation in function.operations:
        if operation.kind == "constexpr_lut_to_dense":
            name, (rows, columns) = shapes[operation.name]
            operands = {key: stored(values[0]) for key, values in operation.inputs.items()}
            dense = decode_palette(operands, operation.name)
            found[name] = dense.reshape(-1, columns)[:rows].astype(np.float32)
    return found


def stored(operand: Any) -> tuple[Array, DataType]:
    if not isinstance(operand, Constant):
        raise TypeError(f"{operand} isn't a constant")
    return operand.load(), operand.dtype
