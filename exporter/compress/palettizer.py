"""Palettizes a model's open tensors and accounts for every other one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from exporter.compress.decisions import UNCOMPRESSED, Candidate, Compression, CompressOptions, TensorDecision
from exporter.compress.kmeans import cluster, weight_problem
from exporter.errors import InputError, KogataError, UnsupportedError
from exporter.graph.palette import Palette
from exporter.progress import Progress


def compress(candidates: Sequence[Candidate], options: CompressOptions, progress: Progress) -> Compression:
    """One decision for every candidate, and palettes for those that gain by it.

    One tensor is in memory at a time. Reports the stage "palettize", a step per open tensor (none with 16 bits).
    Raises InputError naming all tensors with NaN or infinity, else UnsupportedError naming all that overflow float16.
    """
    twice = [name for name, count in Counter(c.name for c in candidates).items() if count > 1]
    if twice:
        raise ValueError(f"candidates that share a name: {twice}")
    if options.bits == UNCOMPRESSED:
        return Compression({}, tuple(_keep(c, "not asked for: 16 bits keep every tensor") for c in candidates))
    progress.stage("palettize", sum(c.open for c in candidates))
    palettes: dict[str, Palette] = {}
    decisions: list[TensorDecision] = []
    problems: list[KogataError] = []
    for candidate in candidates:
        reason = _reason_to_keep(candidate, options)
        if reason is not None:
            decisions.append(_keep(candidate, reason))
        elif (done := _palettize(candidate, options, problems)) is not None:
            palettes[candidate.name], decision = done
            decisions.append(decision)
        if candidate.open:
            progress.advance(candidate.name)
    for kind in (InputError, UnsupportedError):
        kind.raise_all([d for problem in problems if isinstance(problem, kind) for d in problem.diagnostics])
    return Compression(palettes, tuple(decisions))


def _reason_to_keep(candidate: Candidate, options: CompressOptions) -> str | None:
    rank = len(candidate.shape)
    if not candidate.open and rank <= 1:
        return "norm or bias: rank 1" if rank else "scalar"
    if not candidate.open:
        return "not a matrix of a linear layer or an embedding: a small table of the graph"
    if rank != 2:
        return f"rank {rank}: only matrices have output rows that share a LUT"
    if candidate.parameters == 0:
        return "empty"
    rows, _ = candidate.shape
    luts = -(-rows // options.group_size) * 2**options.bits * 2  # float16 entries
    palette = -(-candidate.parameters * options.bits // 8) + luts
    float16 = 2 * candidate.parameters
    if palette >= min(float16, candidate.stored_bytes):
        return f"a palette would not pay: {palette:,} bytes, {luts:,} of them LUTs, against {float16:,} in float16"
    return None


def _keep(candidate: Candidate, reason: str) -> TensorDecision:
    return TensorDecision(candidate.name, candidate.shape, None, None, candidate.stored_bytes, reason)


def _palettize(
    candidate: Candidate, options: CompressOptions, problems: list[KogataError]
) -> tuple[Palette, TensorDecision] | None:
    """None, with one of `problems` more, where a weight can't be palettized; once there are any, it is only checked."""
    weight = candidate.load()
    if weight.shape != candidate.shape:
        raise ValueError(f"{candidate.name!r} was announced as {candidate.shape} and is {weight.shape}")
    problem = weight_problem(candidate.name, weight)
    if problem is not None:
        problems.append(problem)
    if problems:
        return None
    palette, error = cluster(weight, options.bits, options.group_size, None)
    mse = error / weight.size
    peak = float(max(weight.max(), -weight.min()))
    luts = len(palette.lut)
    decision = TensorDecision(
        candidate.name,
        candidate.shape,
        palette.bits,
        palette.group_size,
        palette.stored_bytes,
        f"palettized: {luts:,} LUT{'s' * (luts > 1)} of {2**palette.bits} entries",
        20 * math.log10(peak / math.sqrt(mse)) if mse > 0 else None,
        mse,
    )
    return palette, decision
