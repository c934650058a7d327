"""What else Core ML could store, at equal bytes: does it lose less than palettes of float16 scalars?

    python benchmarks/variants.py [home-intents prose] [--tokens 8192]

Judged like `compression.py`: KL to the uncompressed model on held-out text, the matrices decoded into the transformers
model. Pairs of lines take about the same bytes; the first of each is what Kogata does or would do with them.

vectors: entries are pairs of values of two neighbouring output rows (`cluster_dim` 2), 2^(2b) of them for b bits a
    weight. Both by the same alternation on the layer's output error (indices by a search through the Cholesky factor
    and coordinate descent, entries by least squares), and beside them Kogata's own fit, which has no form for vectors.
int8 LUTs: entries rounded to int8 with a float16 scale per LUT, which pays for smaller groups. Both by Kogata's fit.
int8 embeddings: the embedding alone, linear int8 with a scale per row, against an 8-bit palette of one LUT.
outliers: the largest 0.5 % of a matrix kept as float16 beside a 3-bit palette. Core ML's sparse weights take a mask of
    one bit a weight, so that palettes of 4 bits are smaller.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from compression_parts.subjects import Decoder
from compression_parts.texts import DECODERS, token_windows
from numpy.typing import NDArray

from exporter.calibrating import open_session
from exporter.calibration.session import Session, Weighed
from exporter.checkpoint.tokenizer import load_tokenizer
from exporter.compress import fit_compiled, palettize
from exporter.compress.fitting import fit_palette
from exporter.importers.routes import open_model
from exporter.progress import NoProgress
from exporter.report import Report, Table, render

ROUNDS = 4
OUTLIERS = 0.005
Dense = NDArray[np.float32]
Made = tuple[Dense, float]  # the decoded weight, and its bytes


@numba.njit(nogil=True)
def descend(weight: Any, h: Any, shares: Any, lut: Any, indices: Any, lanes: int) -> None:
    """One sweep over the columns: `lanes` neighbouring rows share an index. lut: `[entries, lanes]`."""
    rows, columns = weight.shape
    for first in range(0, rows, lanes):
        errors = np.empty((lanes, columns))
        for a in range(lanes):
            for c in range(columns):
                errors[a, c] = weight[first + a, c] - lut[indices[first // lanes, c], a]
        residuals = errors @ h
        for j in range(columns):
            best, lowest, old = 0, np.inf, indices[first // lanes, j]
            for k in range(lut.shape[0]):
                cost = 0.0
                for a in range(lanes):
                    target = lut[old, a] + residuals[a, j] / h[j, j]
                    cost += shares[first + a] * (target - lut[k, a]) ** 2
                if cost < lowest:
                    best, lowest = k, cost
            if best != old:
                for a in range(lanes):
                    residuals[a] += (lut[old, a] - lut[best, a]) * h[j]
                indices[first // lanes, j] = best


@numba.njit(nogil=True)
def search(weight: Any, factor: Any, order: Any, shares: Any, lut: Any, lanes: int) -> Any:
    """Indices column by column through a Cholesky factor: each choice passes its error on to those still open."""
    rows, columns = weight.shape
    indices = np.empty((rows // lanes, columns), np.int64)
    for first in range(0, rows, lanes):
        sums = np.zeros((lanes, columns))
        for j in range(columns - 1, -1, -1):
            c = order[j]
            best, lowest = 0, np.inf
            for k in range(lut.shape[0]):
                cost = 0.0
                for a in range(lanes):
                    target = weight[first + a, c] + sums[a, j] / factor[j, j]
                    cost += shares[first + a] * (target - lut[k, a]) ** 2
                if cost < lowest:
                    best, lowest = k, cost
            indices[first // lanes, c] = best
            for a in range(lanes):
                sums[a, :j] += (weight[first + a, c] - lut[best, a]) * factor[j, :j]
    return indices


def costs(weight: Dense, h: NDArray[np.float64], shares: NDArray[np.float64], lut: Any, indices: Any) -> Any:
    """Of each run of rows that share indices."""
    errors = weight - lut[indices].transpose(0, 2, 1).reshape(weight.shape)
    return (((errors @ h) * errors).sum(1) * shares).reshape(len(indices), -1).sum(1)


def refit(
    weight: Dense, h: NDArray[np.float64], shares: NDArray[np.float64], indices: Any, lut: Any, lanes: int
) -> None:
    """Least-squares entries for the indices, lane by lane."""
    entries = len(lut)
    for a in range(lanes):
        gram, right = np.zeros((entries, entries)), np.zeros(entries)
        for i, row in enumerate(range(a, len(weight), lanes)):
            hot = np.eye(entries)[indices[i]]
            gram += shares[row] * hot.T @ h @ hot
            right += shares[row] * hot.T @ (h @ weight[row].astype(np.float64))
        gram += 1e-6 * np.trace(gram) / entries * np.eye(entries)
        lut[:, a] = np.linalg.solve(gram, right + 1e-6 * np.trace(gram) / entries * lut[:, a])


def vectors(weight: Dense, moments: Any, bits: int, lanes: int, group: int) -> Made:
    """The layer's output error by Kogata's two steps in turn; a start from k-means, weighted by the diagonal."""
    from sklearn.cluster import MiniBatchKMeans

    each = moments.coefficients.mean(axis=0)
    h = np.tensordot(each.astype(np.float64), moments.bases, 1)  # of a tied embedding's two uses together
    shares = moments.coefficients @ np.trace(moments.bases, axis1=1, axis2=2) / np.trace(h)
    h += 0.01 * np.diagonal(h).mean() * np.eye(len(h))
    factored = h.copy()
    with ThreadPoolExecutor() as pool:
        order = fit_compiled.factorize(pool, factored)
    factor = np.tril(factored.T)
    out = np.empty_like(weight)
    for start in range(0, len(weight) // lanes * lanes, group):
        rows = weight[start : start + group]
        points = rows.reshape(-1, lanes, rows.shape[1]).transpose(0, 2, 1).reshape(-1, lanes)
        mass = np.broadcast_to(np.diagonal(h), (len(rows) // lanes, len(h))).reshape(-1)
        found = MiniBatchKMeans(2 ** (bits * lanes), n_init=1, random_state=0).fit(points, sample_weight=mass)
        lut = found.cluster_centers_.astype(np.float64)
        problem = rows.astype(np.float64), h, shares[start : start + group]
        indices = found.labels_.reshape(-1, rows.shape[1]).astype(np.int64)
        for turn in range(ROUNDS + 1):
            again = search(problem[0], factor, order, problem[2], lut, lanes)
            for own in (indices, again):
                descend(*problem, lut, own, lanes)
            better = costs(*problem, lut, again) < costs(*problem, lut, indices)
            indices[better] = again[better]
            if turn < ROUNDS:
                refit(rows, *problem[1:], indices, lut, lanes)
        out[start : start + group] = lut[indices].transpose(0, 2, 1).reshape(rows.shape)
    luts = -(-len(weight) // group) * 2 ** (bits * lanes) * lanes * 2
    return out.astype(np.float16).astype(np.float32), weight.size * bits / 8 + luts


def plain(weight: Dense, bits: int, group: int) -> Made:
    palette = palettize(weight, bits, group)
    return palette.dense(), palette.stored_bytes


def fitted(weight: Dense, moments: Any, bits: int, group: int) -> Made:
    palette = fit_palette(weight, bits, group, moments).palette
    return palette.dense(), palette.stored_bytes


def int8_luts(weight: Dense, moments: Any, bits: int, group: int) -> Made:
    """The fit's indices, its entries rounded."""
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
    """Outliers leave a hole in their group: the palette needn't reach them."""
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

    def meet(weighed: Weighed) -> None:
        moments[weighed.name], weights[weighed.name] = weighed.moments, weighed.weight

    session.visit(meet, sequential=False)
    embedding = next(w.name for w in subject.hub.weights if "embedding" in w.roles)
    lines: list[tuple[str, Callable[[str, Dense], Made | None]]] = [
        ("2 bits g16, scalars", lambda n, w: vectors(w, moments[n], 2, 1, 16)),
        ("2 bits g64, pairs", lambda n, w: vectors(w, moments[n], 2, 2, 64)),
        ("2 bits g16, Kogata's fit", lambda n, w: fitted(w, moments[n], 2, 16)),
        ("3 bits g16, scalars", lambda n, w: vectors(w, moments[n], 3, 1, 16)),
        ("3 bits g128, pairs", lambda n, w: vectors(w, moments[n], 3, 2, 128)),
        ("3 bits g16, Kogata's fit", lambda n, w: fitted(w, moments[n], 3, 16)),
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
    parser.add_argument("--tokens", type=int, default=8192, help="of held-out text")
    options = parser.parse_args()
    sections = [table(name, options.tokens) for name in options.models]
    print(render(Report("benchmark", 0, {}, (), sections), "text"), end="")


if __name__ == "__main__":
    main()
