"""Palettizes a model's open tensors, and records a decision for every tensor."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exporter.compress.choices import Choice, lut_bytes, pays
from exporter.compress.damage import damage, require_undamaged
from exporter.compress.decisions import Candidate, Compression, CompressOptions, TensorDecision
from exporter.compress.kmeans import cluster_rows, cores, fits_float16, weight_problem
from exporter.errors import InputError, KogataError, UnsupportedError
from exporter.graph.bits import RUN
from exporter.graph.palette import Palette
from exporter.graph.spill import InMemory, Spill, Stored
from exporter.progress import Progress

BLOCK_WEIGHTS = 1 << 22  # per thread at once: 16 MB as float32; more for a larger group, since a group is never split
NO_GAIN = "a palette would not pay"
NO_GRID = "integers would not pay"
PLANNED = "kept at 16 bits by the plan"
BLOCKS_AHEAD = 2  # per thread: blocks that are computed before their results are needed


def compress(
    candidates: Sequence[Candidate], options: CompressOptions, progress: Progress, spill: Spill | None = None
) -> Compression:
    """One decision for every candidate, and palettes for those that become smaller.

    spill: the file for the palettes' indices; None keeps them in memory. A few blocks of rows are in memory at a time,
    however large the tensors are. Results don't depend on the number of blocks or threads. Reports the stage
    "palettize" with a step per open tensor (no stage at 16 bits). Raises InputError that names all tensors with NaN or
    infinity, else UnsupportedError that names all tensors beyond float16; OSError if the spill's disk is full.
    """
    repeated = [name for name, count in Counter(c.name for c in candidates).items() if count > 1]
    if repeated:
        raise ValueError(f"candidates that share a name: {repeated}")
    unknown = sorted(set(options.choices) - {candidate.name for candidate in candidates})
    if unknown:
        raise ValueError(f"choices for unknown tensors: {unknown}")
    if options.keeps_all:
        require_undamaged(candidates)
        return Compression({}, tuple(kept(c, "not asked for: 16 bits keep every tensor") for c in candidates))
    progress.stage("palettize", sum(c.open for c in candidates))
    reasons = {candidate.name: reason_to_keep(candidate, options.choice(candidate)) for candidate in candidates}
    palettes: dict[str, Palette] = {}
    decisions: list[TensorDecision] = []
    problems: list[KogataError] = []
    with closing(_clustered([c for c in candidates if reasons[c.name] is None], options, problems)) as results:
        for candidate in candidates:
            reason = reasons[candidate.name]
            if reason is not None:
                decisions.append(kept(candidate, reason))
                if (problem := damage(candidate)) is not None:
                    problems.append(problem)
            elif isinstance(result := _palettize(candidate, options, results, spill), KogataError):
                problems.append(result)
            elif result is not None:
                palettes[candidate.name], decision = result
                decisions.append(decision)
            if candidate.open:
                progress.advance(candidate.name)
    for kind in (InputError, UnsupportedError):
        kind.raise_all([d for problem in problems if isinstance(problem, kind) for d in problem.diagnostics])
    return Compression(palettes, tuple(decisions))


def reason_to_keep(candidate: Candidate, choice: Choice) -> str | None:
    """Why the tensor is kept as it is; None if it is compressed as `choice` says."""
    if not candidate.palettizable:
        return _reason_not_palettizable(candidate)
    if choice.kept:
        return PLANNED
    if not pays(candidate.shape, candidate.stored_bytes, choice):
        float16 = 2 * candidate.parameters
        if choice.block is not None:
            return f"{NO_GRID}: {candidate.bytes_as(choice):,} bytes with its scales against {float16:,} in float16"
        palette, luts = candidate.bytes_as(choice), lut_bytes(candidate.shape, choice)
        return f"{NO_GAIN}: {palette:,} bytes, {luts:,} of them LUTs, against {float16:,} in float16"
    return None


def _reason_not_palettizable(candidate: Candidate) -> str:
    rank = len(candidate.shape)
    if not candidate.open and rank <= 1:
        return "norm or bias: rank 1" if rank else "scalar"
    if not candidate.open:
        return "not a matrix that can be compressed: no linear layer, convolution or embedding alone reads it"
    return "empty" if rank == 2 else f"rank {rank}: only matrices have output rows that share a LUT"


def kept(candidate: Candidate, reason: str) -> TensorDecision:
    """The decision to leave the tensor as it is."""
    return TensorDecision(candidate.name, candidate.shape, None, None, candidate.stored_bytes, reason)


@dataclass(frozen=True)
class _Block:
    """The palette of some rows: LUTs, squared error of each group, largest magnitude of a weight."""

    lut: NDArray[np.float16]
    errors: NDArray[np.float64]
    peak: float


# Packed indices and the rest; or "flawed": can't be stored as float16; or "fine": checked, but not clustered.
_Result = tuple[NDArray[np.uint8], _Block] | Literal["flawed", "fine"]


def _spans(candidate: Candidate, options: CompressOptions) -> list[slice]:
    """Blocks of whole groups; each begins where its packed indices begin on a byte."""
    rows, columns = candidate.shape
    _, group_size = options.choice(candidate).form
    step = math.lcm(group_size, RUN)
    step *= max(1, BLOCK_WEIGHTS // (step * columns))
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]


def _clustered(
    candidates: Sequence[Candidate], options: CompressOptions, problems: Sequence[KogataError]
) -> Generator[_Result]:
    """One result for every block of every candidate, in order; all cores work ahead."""
    waiting: deque[Future[_Result]] = deque()
    threads = cores()
    pool = ThreadPoolExecutor(threads)
    try:
        for candidate in candidates:
            for rows in _spans(candidate, options):
                if len(waiting) == BLOCKS_AHEAD * threads:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(_cluster, candidate, rows, options, problems))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _cluster(candidate: Candidate, rows: slice, options: CompressOptions, problems: Sequence[KogataError]) -> _Result:
    weight = candidate.load(rows)
    if weight.shape != (rows.stop - rows.start, candidate.shape[1]):
        raise ValueError(
            f"{candidate.name!r} has shape {candidate.shape}, but its rows {rows} have shape {weight.shape}"
        )
    if not fits_float16(weight):
        return "flawed"
    if problems:
        return "fine"
    peak = float(max(weight.max(), -weight.min()))
    clusters = cluster_rows(weight, options.choice(candidate).form)
    return clusters.packed, _Block(clusters.lut, clusters.errors, peak)


def _palettize(
    candidate: Candidate, options: CompressOptions, results: Iterator[_Result], spill: Spill | None
) -> tuple[Palette, TensorDecision] | KogataError | None:
    """Collects the candidate's blocks. Returns the error if one is flawed, and None if they were only checked."""
    start = spill.end if spill is not None else 0
    blocks: list[_Block] = []
    packed_blocks: list[NDArray[np.uint8]] = []
    states = set()
    for _ in _spans(candidate, options):
        result = next(results)
        if isinstance(result, str):
            states.add(result)
            continue
        packed, block = result
        blocks.append(block)
        if spill is None:
            packed_blocks.append(packed)
        else:
            spill.append(packed)
    if states:
        return weight_problem(candidate.name, candidate.load(slice(None))) if "flawed" in states else None
    stored: Stored = InMemory(np.concatenate(packed_blocks)) if spill is None else spill.part(start)
    lut = np.concatenate([block.lut for block in blocks])
    bits, group_size = options.choice(candidate).form
    palette = Palette(stored, (candidate.shape[0], candidate.shape[1]), lut, bits, group_size)
    return palette, _decision(candidate, palette, blocks)


def _decision(candidate: Candidate, palette: Palette, blocks: Sequence[_Block]) -> TensorDecision:
    mse = float(np.concatenate([block.errors for block in blocks]).sum()) / candidate.parameters
    peak = max(block.peak for block in blocks)
    luts = len(palette.lut)
    return TensorDecision(
        candidate.name,
        candidate.shape,
        palette.bits,
        palette.group_size,
        palette.stored_bytes,
        f"palettized: {luts:,} LUT{'s' * (luts > 1)} of {2**palette.bits} entries",
        20 * math.log10(peak / math.sqrt(mse)) if mse > 0 else None,
        mse,
    )
