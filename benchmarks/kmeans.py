"""Compares Kogata's k-means palettes with coremltools' and with the exact optimum, on the same weights in one run.

    python benchmarks/kmeans.py [--quick] [--model FOLDER]

"theirs" is `palettize_weights.blockwise_compress`, which coremltools' pass calls for each constant (mode KMEANS, one
worker, the default), with float16 weights as in a converted ML Program. It uses an exact 1-D k-means for groups of at
least 10,000 weights and scikit-learn's KMeans for smaller ones; one call is timed. The optimum is the exact 1-D k-means
(C++, `coremltools._deps.kmeans1d`) of every group's distinct values, with centres rounded to float16. All weights are
rounded to float16 first, so that all methods cluster the same numbers. "ours" runs on all available cores (first column
of seconds) or on one (second); best of five calls. Errors are errors of the decoded weights. `--model` also measures
the total time for a checkpoint's matrices at 4 bits in groups of 16 rows.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporter.compress import kmeans

Outcome = tuple[float, float]  # seconds, mean squared error


@dataclass(frozen=True)
class Case:
    """A weight of `[rows, columns]` at some bits and rows per LUT."""

    rows: int
    columns: int
    bits: int
    group_size: int
    quick: bool = False  # part of --quick: coremltools takes at most a few seconds

    @property
    def label(self) -> str:
        return f"{self.rows}x{self.columns} {self.bits} bit g{self.group_size}"


CASES = (
    Case(1024, 1024, 4, 16, quick=True),
    Case(1024, 1024, 3, 16),
    Case(1024, 1024, 6, 16),
    Case(1024, 1024, 8, 16),
    Case(256, 1024, 6, 16, quick=True),
    Case(128, 1024, 8, 16, quick=True),
    Case(256, 1024, 4, 1, quick=True),
    Case(1024, 1024, 4, 1),
    Case(1536, 384, 4, 16, quick=True),
    Case(384, 1536, 4, 16),
    Case(1024, 1024, 4, 1024),
)


def student(case: Case) -> np.ndarray:
    """Student-t with 5 degrees of freedom, times 0.02: similar to the weights of a trained linear layer."""
    drawn = np.random.default_rng(0).standard_t(5, (case.rows, case.columns)) * 0.02
    return drawn.astype(np.float16).astype(np.float32)


def ours(weight: np.ndarray, case: Case, threads: int) -> Outcome:
    available, kmeans.cores = kmeans.cores, lambda: threads
    seconds, error = float("inf"), 0.0
    for _ in range(5):
        start = time.perf_counter()
        _, error = kmeans.cluster(weight, case.bits, case.group_size, None)
        seconds = min(seconds, time.perf_counter() - start)
    kmeans.cores = available
    return seconds, error / weight.size


def theirs(weight: np.ndarray, case: Case) -> Outcome:
    from coremltools.optimize.coreml._quantization_passes import palettize_weights

    half = weight.astype(np.float16)
    start = time.perf_counter()
    palette = palettize_weights.blockwise_compress(half, "KMEANS", case.bits, [case.group_size, 0])
    seconds = time.perf_counter() - start
    return seconds, float(((palettize_weights.decompress(palette).astype(np.float64) - weight) ** 2).mean())


def optimum(weight: np.ndarray, case: Case) -> float:
    """Mean squared error of the exact optimum with its centres rounded to float16."""
    from coremltools._deps import kmeans1d

    total = 0.0
    for start in range(0, case.rows, case.group_size):
        values, counts = np.unique(weight[start : start + case.group_size].astype(np.float64), return_counts=True)
        result = kmeans1d.cluster(values, min(2**case.bits, values.size), weights=counts)
        centres = np.array(result.centroids).astype(np.float16).astype(np.float64)
        nearest = centres[np.searchsorted((centres[1:] + centres[:-1]) / 2, values)]
        total += float((counts * (values - nearest) ** 2).sum())
    return total / weight.size


def compare(cases: tuple[Case, ...]) -> None:
    cores = kmeans.cores()
    header = ("weight", f"ours x{cores}", "ours x1", "theirs", "faster", "MSE ours", "/theirs", "/optimum")
    print("{:<26}{:>10}{:>10}{:>10}{:>9}{:>12}{:>10}{:>10}".format(*header))
    for case in cases:
        weight = student(case)
        seconds, error = ours(weight, case, cores)
        single, _ = ours(weight, case, 1)
        their_seconds, their_error = theirs(weight, case)
        print(
            f"{case.label:<26}{seconds:>9.4f}s{single:>9.4f}s{their_seconds:>9.3f}s{their_seconds / seconds:>8.0f}x"
            f"{error:>12.4e}{error / their_error:>10.5f}{error / optimum(weight, case):>10.5f}",
            flush=True,
        )


FIRST_CALL = """
import time
import numpy as np
from exporter.compress import palettize
start, busy = time.perf_counter(), time.process_time()
palettize(np.ones((1, 1), np.float32), 4, 1)
print(f"{time.perf_counter() - start:.2f} s ({time.process_time() - busy:.2f} s of CPU)")
"""


def first_calls() -> None:
    """Prints the latency of the first palette in a new process, with numba's import, without and with its cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        for state in ("compiling", "from numba's cache"):
            done = subprocess.run(
                [sys.executable, "-c", FIRST_CALL], env=environment, capture_output=True, text=True, check=True
            )
            print(f"first call in a new process, {state}: {done.stdout.strip()}")


def whole_model(folder: Path) -> None:
    """Measures all matrices of `folder/model.safetensors`, without reading them."""
    from safetensors.numpy import load_file

    tensors = {n: t.astype(np.float32) for n, t in load_file(folder / "model.safetensors").items() if t.ndim == 2}
    start, busy = time.perf_counter(), time.process_time()
    for tensor in tensors.values():
        kmeans.palettize(tensor, 4, 16)
    seconds, cpu = time.perf_counter() - start, time.process_time() - busy
    weights = sum(t.size for t in tensors.values())
    print(f"{len(tensors)} matrices, {weights:,} weights, 4 bits g16: {seconds:.2f} s ({cpu:.2f} s of CPU)")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and smaller weights: under half a minute")
    parser.add_argument("--model", type=Path, help="a checkpoint folder with model.safetensors")
    options = parser.parse_args()
    with contextlib.redirect_stderr(
        io.StringIO()
    ):  # coremltools prints warnings when it is imported on other systems than macOS
        import coremltools  # noqa: F401
    first_calls()
    kmeans.palettize(np.ones((1, 1), np.float32), 4, 1)
    compare(tuple(c for c in CASES if c.quick or not options.quick))
    if options.model:
        whole_model(options.model)


if __name__ == "__main__":
    main()
