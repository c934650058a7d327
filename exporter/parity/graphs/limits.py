"""Limits on the loss of graphs by compression, each with its reason. `thresholds.py` has the limits of all other rows.

Logits that choose a token are held to the limits of decoders. Every other output is held to its error beside its own
variance, to the decisions that it stands for, and to cosines where it has a direction.
"""

from __future__ import annotations

from collections.abc import Mapping

from exporter.graph.model import GraphSpec
from exporter.parity.graphs.compare import LOGITS
from exporter.parity.thresholds import FINITE, Limit, bits_class, compression_limits

_SAME = "the limit of text embeddings, applied to other outputs"
CHOICE = "apps show the first class; near-ties in the reference count as agreement"

# bits → limits on cosines of any output after compression
COSINES: Mapping[int, tuple[Limit, ...]] = {
    16: (Limit("cosine_mean", 0.9999, "nothing is compressed: float16 arithmetic keeps 0.99999"),),
    8: (Limit("cosine_mean", 0.9995, f"256 values per group of rows; {_SAME}"),),
    6: (Limit("cosine_mean", 0.99, f"64 values per group of rows; {_SAME}"),),
    4: (Limit("cosine_mean", 0.90, f"16 values per group of rows; {_SAME}"),),
    3: (Limit("cosine_mean", 0.80, f"8 values per group of rows; {_SAME}"),),
    2: (Limit("cosine_mean", 0.65, f"4 values per group of rows; {_SAME}"),),
    1: (Limit("cosine_mean", 0.50, f"2 values per group of rows; {_SAME}"),),
}
_HALF = "a model that always says the same has 1, and optimal 1-bit palettes leave 0.36 per layer"

# bits → limit on the error beside the variance of any output of numbers or probabilities
UNEXPLAINED: Mapping[int, Limit] = {
    16: Limit("unexplained", 0.002, "nothing is compressed: float16 arithmetic leaves 55 dB below the peak"),
    8: Limit("unexplained", 0.005, "256 values per group of rows: optimal palettes leave 0.0001 per layer"),
    6: Limit("unexplained", 0.02, "64 values per group of rows: optimal palettes leave 0.001 per layer"),
    4: Limit("unexplained", 0.2, "16 values per group of rows: as much as a cosine of 0.9"),
    3: Limit("unexplained", 0.4, "8 values per group of rows: as much as a cosine of 0.8"),
    2: Limit("unexplained", 0.5, f"half of what the output tells apart: {_HALF}"),
    1: Limit("unexplained", 0.5, f"half of what the output tells apart: {_HALF}"),
}
_FLIPS = "an app acts on it; near-ties aren't held against it, and a flip among fewer than 10 counts as one of 10"

# bits → limit on decisions that stay
DECISIONS: Mapping[int, Limit] = {
    bits: Limit("decisions", share, _FLIPS)
    for bits, share in {16: 0.95, 8: 0.9, 6: 0.85, 4: 0.7, 3: 0.6, 2: 0.5, 1: 0.5}.items()
}
_WHOLE = "whole numbers are decisions too: an index, a class, a count"

# bits → limit on whole numbers that differ
UNEQUAL: Mapping[int, Limit] = {
    bits: Limit("unequal", share, _WHOLE)
    for bits, share in {16: 0.05, 8: 0.1, 6: 0.15, 4: 0.3, 3: 0.4, 2: 0.5, 1: 0.5}.items()
}
# bits → share of samples whose first class must not change; below 4 bits there are too few samples for a limit
CLASSES: Mapping[int, float] = {16: 0.99, 8: 0.98, 6: 0.9, 4: 0.75}


def chooses_tokens(spec: GraphSpec) -> bool:
    """Whether the graph's logits are over a vocabulary, position by position."""
    return LOGITS in spec.outputs and spec.task in (
        "text-generation", "text2text-generation", "automatic-speech-recognition", "fill-mask", "image-to-text",
    )  # fmt: skip


def decides(spec: GraphSpec) -> bool:
    """Whether the graph's logits choose a token or a class."""
    return chooses_tokens(spec) or (LOGITS in spec.outputs and spec.task.endswith("classification"))


def lossy_limits(bits: float, spec: GraphSpec) -> tuple[Limit, ...]:
    """Limits after compression to `bits` per weight."""
    if chooses_tokens(spec):
        return compression_limits(bits, "tokens")
    level = bits_class(bits)
    classes = (Limit("top1_or_tie", CLASSES[level], CHOICE),) if decides(spec) and level in CLASSES else ()
    return (FINITE, *output_limits(level), *classes)


def output_limits(level: int) -> tuple[Limit, ...]:
    """Limits on any output; each counts where an output has the metric. level: a row of the tables."""
    return (*COSINES[level], UNEXPLAINED[level], DECISIONS[level], UNEQUAL[level])
