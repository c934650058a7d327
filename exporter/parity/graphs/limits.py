"""Limits on the loss of graphs by compression, each with its reason. `thresholds.py` has the limits of all other rows.

Logits that choose a token have the limits of decoders; classes, embeddings and feature maps have limits on cosines.
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
    return (FINITE, *COSINES[level], *classes)
