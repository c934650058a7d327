"""Compares data-aware palettes with simpler ones on the same layers: seconds, and errors of the outputs.

    python benchmarks/fitting.py [--quick]

A layer is a matrix of Student-t weights (5 degrees of freedom, times 0.02) with correlated inputs: a power-law spectrum
in random directions, channels of different scale, and a mean. Moments are computed from 4 inputs for each column.
Errors are mean squared errors of the outputs for as many other inputs, divided by those of optimal k-means:

diagonal  k-means with each squared error weighted by the mean square of its input, as in SqueezeLLM
search    the same LUTs, with indices from a search along the Cholesky factor (as in GPTQ) and coordinate descent
fit       `fit_palette` as exports use it: search and refitting of LUTs in turns

Seconds are per million weights, for the whole call with its k-means: wall-clock time, and CPU time of all cores, which
is more reliable on shared machines. Both are the best of three.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from kmeans import Case

from exporter.compress import kmeans
from exporter.compress.fit_task import FitOptions
from exporter.compress.fitting import fit_palette
from exporter.graph.moments import Moments
from exporter.graph.palette import Palette

CASES = tuple(
    Case(rows, columns, bits, group_size or rows)
    for rows, columns in ((1024, 256), (704, 704), (512, 2048))
    for bits, group_size in ((4, 16), (3, 1), (4, 0))
)


@dataclass(frozen=True)
class Layer:
    """weight: float32 `[out, in]`. moments: of the inputs to fit to. held_out: other inputs, float32 `[n, in]`."""

    weight: np.ndarray
    moments: Moments
    held_out: np.ndarray

    @classmethod
    def of(cls, case: Case) -> Layer:
        rng = np.random.default_rng(0)
        rows, columns = case.rows, case.columns
        inputs = rng.standard_normal((8 * columns, columns), np.float32)
        inputs *= np.arange(1, columns + 1, dtype=np.float32) ** np.float32(-0.7)
        inputs = inputs @ rng.standard_normal((columns, columns), np.float32)
        inputs *= np.exp(0.5 * rng.standard_normal(columns, np.float32))
        inputs += 0.3 * inputs.std() * rng.standard_normal(columns, np.float32)
        seen, held_out = inputs[::2], inputs[1::2]
        weight = (rng.standard_t(5, (rows, columns)) * 0.02).astype(np.float32)
        return cls(weight, Moments((seen.T @ seen)[None], np.ones((rows, 1), np.float32)), held_out)

    def error(self, palette: Palette) -> float:
        return float((((self.weight - palette.dense()) @ self.held_out.T) ** 2).mean(dtype=np.float64))


def fastest(call: Callable[[], object]) -> tuple[float, float]:
    """The smallest wall-clock seconds and CPU seconds of three calls."""
    seconds, busy = float("inf"), float("inf")
    for _ in range(3):
        start, before = time.perf_counter(), time.process_time()
        call()
        seconds, busy = min(seconds, time.perf_counter() - start), min(busy, time.process_time() - before)
    return seconds, busy


def compare(cases: tuple[Case, ...]) -> None:
    header = ("layer", f"s/M x{kmeans.cores()}", "CPU s/M", "diagonal", "search", "fit")
    print("{:<24}{:>10}{:>10}{:>11}{:>10}{:>10}".format(*header))
    for case in cases:
        layer = Layer.of(case)
        weight, moments, how = layer.weight, layer.moments, (case.bits, case.group_size)
        importance = np.repeat(np.diagonal(moments.bases[0])[None], case.rows, axis=0)
        palettes = (
            kmeans.palettize(weight, *how, importance),
            fit_palette(weight, *how, moments, FitOptions(rounds=0)).palette,
            fit_palette(weight, *how, moments).palette,
        )
        plain = layer.error(kmeans.palettize(weight, *how))
        seconds, busy = (s / weight.size * 1e6 for s in fastest(partial(fit_palette, weight, *how, moments)))
        errors = "".join(f"{layer.error(palette) / plain:>10.4f}" for palette in palettes)
        print(f"{case.label:<24}{seconds:>9.3f}s{busy:>9.3f}s {errors}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="without the widest layers")
    options = parser.parse_args()
    compare(tuple(case for case in CASES if case.columns < 1024 or not options.quick))


if __name__ == "__main__":
    main()
