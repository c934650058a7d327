"""Compares other ways to store weights in Core ML with palettes of float16 scalars, at equal bytes.

    python benchmarks/variants.py [home-intents prose] [--tokens 8192]

The measure is that of `compression.py`: KL to the uncompressed model on held-out text, with the decoded matrices in the
transformers model. Each two lines take about the same bytes; the first of them is Kogata's way.

int8 LUTs: entries rounded to int8 with a float16 scale per LUT; the saved bytes allow smaller groups. Both use
    Kogata's fit.
int8 embeddings: only the embedding, as linear int8 with a scale per row, compared with an 8-bit palette of one LUT.
outliers: the largest 0.5 % of a matrix as float16, besides a 3-bit palette. Core ML's sparse weights need a mask of one
    bit per weight, so that 4-bit palettes are smaller.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from compression_parts.subjects import Decoder
from compression_parts.texts import DECODERS, token_windows
from numpy.typing import NDArray

from exporter.calibration.session import FitRequest, Session
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.compress import palettize
from exporter.compress.fitting import fit_palette
from exporter.importers.routes import open_model
from exporter.pipeline.fit import open_session
from exporter.progress import NoProgress
from exporter.report import Report, Table, render

OUTLIERS = 0.005
Dense = NDArray[np.float32]
Made = tuple[Dense, float]  # the decoded weight, and its bytes


def plain(weight: Dense, bits: int, group: int) -> Made:
    palette = palettize(weight, bits, group)
    return palette.dense(), palette.stored_bytes


def fitted(weight: Dense, moments: Any, bits: int, group: int) -> Made:
    palette = fit_palette(weight, bits, group, moments).palette
    return palette.dense(), palette.stored_bytes


def int8_luts(weight: Dense, moments: Any, bits: int, group: int) -> Made:
    """The fitted palette with its entries rounded to int8."""
    palette = fit_palette(weight, bits, group, moments).palette
    lut = palette.lut.astype(np.float32)
    scale = (np.abs(lut).max(axis=1, keepdims=True) / 127).astype(np.float16).astype(np.float32)
    rounded = np.clip(np.round(lut / np.maximum(scale, 1e-12)), -127, 127) * scale
    groups = np.arange(len(weight)) // palette.group_size
    return rounded[groups[:, None], palette.indices], weight.size * bits / 8 + len(lut) * (2**bits + 2)


def int8_rows(weight: Dense) -> Made:
    scale = np.abs(weight).max(axis=1, keepdims=True).astype(np.float16).astype(np.float32) / 127
    return np.round(weight / np.maximum(scale, 1e-12)) * scale, weight.size + 2 * len(weight)


def outliers(weight: Dense, bits: int, group: int) -> Made:
    """A palette without the outliers, which are stored separately."""
    count = max(1, int(OUTLIERS * weight.size))
    limit = np.partition(np.abs(weight).reshape(-1), -count)[-count]
    large = np.abs(weight) >= limit
    palette = palettize(weight, bits, group, np.where(large, 0, 1).astype(np.float32))
    dense = np.where(large, weight.astype(np.float16).astype(np.float32), palette.dense())
    return dense, palette.stored_bytes + weight.size / 8 + 2 * count


def measured(
    subject: Decoder, weights: dict[str, Dense], make: Callable[[str, Dense], Made | None]
) -> tuple[float, float]:
    """Bits per weight of the matrices that were changed, and the KL."""
    made = {name: found for name, weight in weights.items() if (found := make(name, weight)) is not None}
    stored = sum(size for _, size in made.values())
    count = sum(weights[name].size for name in made)
    return 8 * stored / count, subject.score({name: dense for name, (dense, _) in made.items()})["KL"]


def table(name: str, tokens: int) -> Table:
    checkpoint, held_out = DECODERS[name]
    subject = Decoder(name, checkpoint)
    subject.held_out = token_windows(held_out, subject.tokenizer, subject.model.config.max_position_embeddings, tokens)
    session = open_session(subject.hub, load_tokenizer(open_model(str(checkpoint))), "builtin", NoProgress())
    assert isinstance(session, Session)
    moments: dict[str, Any] = {}
    weights: dict[str, Dense] = {}

    def meet(request: FitRequest) -> None:
        moments[request.name], weights[request.name] = request.moments, request.weight

    session.visit(meet, sequential=False)
    embedding = next(w.name for w in subject.hub.weights if "embedding" in w.roles)
    lines: list[tuple[str, Callable[[str, Dense], Made | None]]] = [
        ("4 bits g16, float16 LUTs", lambda n, w: fitted(w, moments[n], 4, 16)),
        ("4 bits g8, int8 LUTs", lambda n, w: int8_luts(w, moments[n], 4, 8)),
        ("embedding: 8-bit palette", lambda n, w: plain(w, 8, len(w)) if n == embedding else None),
        ("embedding: int8 per row", lambda n, w: int8_rows(w) if n == embedding else None),
        ("4 bits g16, k-means", lambda _, w: plain(w, 4, 16)),
        ("3 bits g16, k-means, with outliers", lambda _, w: outliers(w, 3, 16)),
    ]
    rows = []
    for label, make in lines:
        bpw, kl = measured(subject, weights, make)
        rows.append((label, f"{bpw:.3f}", f"{kl:.5f}"))
    return Table(name, ("stored as", "bits per weight", "KL"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=list(DECODERS), metavar="MODEL")
    parser.add_argument("--tokens", type=int, default=8192, help="number of held-out tokens")
    options = parser.parse_args()
    sections = [table(name, options.tokens) for name in options.models]
    print(render(Report("benchmark", 0, {}, (), sections), "text"), end="")


if __name__ == "__main__":
    main()
