"""The squared error against the exact optimum: a straightforward dynamic program, a formula, and two other libraries.

"Optimum" is the least squared error with real-valued entries. A LUT holds float16, so the bound is
1.001 · optimum + Σ mass · (entry - float16(entry))²: what rounding the optimum's own entries costs. Near zero that is
nothing; at 8 bits or far from zero (float16 has 11 bits) it is most of the error, and no palette avoids it.
"""

import itertools

import numpy as np
import pytest

from exporter.compress import palettize
from exporter.graph.palette import PALETTE_BITS, Palette


def exact_kmeans(values: np.ndarray, masses: np.ndarray, clusters: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Least weighted squared error of 1-D k-means, the centres and their masses: O(clusters · n²), nothing clever."""
    order = np.argsort(values)
    x, w = values[order].astype(np.float64), masses[order].astype(np.float64)
    x, w = x[w > 0], w[w > 0]
    n = x.size
    shift = (w * x).sum() / w.sum()
    zero, one, two = (np.concatenate([[0.0], np.cumsum(w * (x - shift) ** power)]) for power in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        mass = zero[None, :] - zero[:, None]
        cost = (two[None, :] - two[:, None]) - (one[None, :] - one[:, None]) ** 2 / mass
    cost[np.tril_indices(n + 1)] = np.inf  # cost[i, j]: values i … j-1 in one cluster
    best = cost[0].copy()
    origins = []
    for _ in range(clusters - 1):
        candidates = best[:, None] + cost
        origins.append(candidates.argmin(0))
        best = candidates[origins[-1], np.arange(n + 1)]
    cuts = [n]
    for origin in reversed(origins):
        cuts.append(int(origin[cuts[-1]]))
    cuts = np.array([0, *cuts[::-1]])
    cells = [slice(a, b) for a, b in itertools.pairwise(cuts) if b > a]
    cell_masses = np.array([w[cell].sum() for cell in cells])
    centres = np.array([np.average(x[cell], weights=w[cell]) for cell in cells])
    error = sum((w[cell] * (x[cell] - centre) ** 2).sum() for cell, centre in zip(cells, centres, strict=True))
    return float(error), centres, cell_masses


def bound(values: np.ndarray, masses: np.ndarray, clusters: int) -> float:
    optimum, centres, cell_masses = exact_kmeans(values, masses, clusters)
    rounded = centres.astype(np.float16).astype(np.float64)
    return 1.001 * optimum + float((cell_masses * (centres - rounded) ** 2).sum())


def error_of(palette: Palette, weight: np.ndarray, importance: np.ndarray | None = None) -> float:
    squares = (palette.dense().astype(np.float64) - weight) ** 2
    return float((squares if importance is None else squares * importance).sum())


def sample(kind: str, n: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    drawn = {
        "student": lambda: rng.standard_t(5, n) * 0.02,
        "heavy": lambda: rng.standard_t(2, n) * 0.02,
        "normal": lambda: rng.standard_normal(n) * 0.05,
        "uniform": lambda: rng.uniform(-0.1, 0.1, n),
        "outliers": lambda: np.where(rng.random(n) < 0.02, 2.0, 0.02) * rng.standard_normal(n),
        "skewed": lambda: np.exp(2 * rng.standard_normal(n)) * 0.01,
        "two islands": lambda: rng.choice([-1.0, 0.5], n) + 0.02 * rng.standard_normal(n),
        "float16": lambda: (rng.standard_normal(n) * 0.05).astype(np.float16),
        "large": lambda: rng.standard_normal(n) * 8000,
        "tiny": lambda: rng.standard_normal(n) * 3e-5,
        "half zeros": lambda: rng.standard_normal(n) * 0.05 * (rng.random(n) < 0.5),
    }
    return drawn[kind]().astype(np.float32)[None, :]


KINDS = (
    "student",
    "heavy",
    "normal",
    "uniform",
    "outliers",
    "skewed",
    "two islands",
    "float16",
    "large",
    "tiny",
    "half zeros",
)


@pytest.mark.parametrize("kind", KINDS)
def test_within_a_thousandth_of_the_exact_optimum(kind: str) -> None:
    for bits, n in ((1, 700), (2, 700), (3, 700), (4, 900), (6, 700), (8, 500)):
        weight = sample(kind, n)
        allowed = bound(weight[0], np.ones(n), 2**bits)
        assert error_of(palettize(weight, bits, 1), weight) <= allowed, bits


@pytest.mark.parametrize("kind", KINDS)
def test_importance_weighted_optimum(kind: str) -> None:
    n = 600
    weight = sample(kind, n)
    importance = np.random.default_rng(3).gamma(0.3, size=(1, n)).astype(np.float32)
    importance[0, ::7] = 0
    for bits in (1, 3, 4, 6):
        allowed = bound(weight[0], importance[0], 2**bits)
        assert error_of(palettize(weight, bits, 1, importance), weight, importance) <= allowed, bits


@pytest.mark.parametrize("bits", PALETTE_BITS)
def test_many_weights_against_an_exact_library(bits: int) -> None:
    """16,384 Student-t weights (a group of 16 rows of 1024) against coremltools' own exact k-means (SMAWK)."""
    from coremltools._deps import kmeans1d

    weight = sample("student", 16384)
    result = kmeans1d.cluster(weight[0].astype(np.float64), 2**bits)
    centres, cells = np.array(result.centroids), np.array(result.clusters)
    optimum = ((weight[0] - centres[cells]) ** 2).sum(dtype=np.float64)
    rounding = ((centres - centres.astype(np.float16)) ** 2)[cells].sum()
    assert error_of(palettize(weight, bits, 1), weight) <= 1.001 * optimum + rounding


def test_never_worse_than_scikit_learn() -> None:
    from sklearn.cluster import KMeans

    weight = sample("student", 2000)
    for bits in (2, 4):
        model = KMeans(2**bits, n_init=5, random_state=0, tol=0).fit(weight.T.astype(np.float64))
        assert error_of(palettize(weight, bits, 1), weight) <= 1.0005 * model.inertia_


@pytest.mark.parametrize("bits", [4, 6])
def test_never_worse_than_coremltools(bits: int) -> None:
    from coremltools.optimize.coreml import _quantization_passes as passes

    weight = sample("student", 64 * 256).reshape(64, 256).astype(np.float16)
    theirs = passes.palettize_weights.blockwise_compress(weight, "KMEANS", bits, [16, 0])
    decoded = passes.palettize_weights.decompress(theirs).astype(np.float64)
    ours = palettize(weight.astype(np.float32), bits, 16)
    assert error_of(ours, weight) <= 1.001 * ((decoded - weight) ** 2).sum()


@pytest.mark.parametrize(("bits", "n"), [(8, 1000), (8, 400), (6, 500), (4, 503), (3, 100), (1, 37)])
def test_evenly_spaced_values_where_many_clusterings_tie(bits: int, n: int) -> None:
    """Integers 0 … n-1: the optimum cuts them into runs whose lengths differ by at most one, each (s³ - s) / 12.

    No penalty per cluster singles out most cluster counts here, so this is the case for splicing two paths.
    """
    weight = np.arange(n, dtype=np.float32)[None, :]  # runs' centres are halves: exact in float16 below 1024
    short, longer = divmod(n, 2**bits)
    optimum = ((2**bits - longer) * (short**3 - short) + longer * ((short + 1) ** 3 - (short + 1))) / 12
    assert optimum * (1 - 1e-9) <= error_of(palettize(weight, bits, 1), weight) <= 1.001 * optimum


def test_offset_weights_are_as_good_as_float16_allows() -> None:
    """Around 1.0 float16 steps are 2⁻¹⁰: half a step per weight is what rounding may add to the real-valued optimum."""
    weight = 1 + sample("normal", 900)
    for bits in (2, 4, 6, 8):
        optimum, _, _ = exact_kmeans(weight[0], np.ones(900), 2**bits)
        assert error_of(palettize(weight, bits, 1), weight) <= 1.001 * optimum + 900 * 2.0**-22


@pytest.mark.parametrize(("outlier", "factor"), [(60.0, 1.001), (-600.0, 1.001), (60000.0, 2)])
def test_an_outlier_takes_one_entry_and_spares_the_rest(outlier: float, factor: float) -> None:
    """The rest is of the order 10⁻³. Beside 60000² its squares drown in double precision: half a bit may be lost."""
    rest = np.random.default_rng(1).standard_normal(500).astype(np.float32) * np.float32(1e-3)
    weight = np.append(rest, np.float32(outlier))[None, :]
    palette = palettize(weight, 4, 1)
    assert palette.dense()[0, -1] == np.float16(outlier)
    optimum, _, _ = exact_kmeans(rest, np.ones(500), 15)
    lost = float(weight[0, -1]) - float(np.float16(outlier))
    assert error_of(palette, weight) <= factor * optimum + lost**2


@pytest.mark.parametrize(("coarse_values", "bits"), [(130, 8), (100, 8), (10, 4)])
def test_values_on_two_scales(coarse_values: int, bits: int) -> None:
    """600 of the finest float16 steps and a few values 480 apart: 10²⁰ between their squares.

    Fewer entries than coarse values: the coarse values decide. More of them: the coarse values are exact, and the rest
    of the entries cut the fine steps, although those errors drown in double precision: at most twice their optimum.
    """
    fine, coarse = np.arange(1, 601) * 2.0**-24, np.arange(1, coarse_values + 1) * 480.0
    weight = np.concatenate([fine, coarse]).astype(np.float32)[None, :]
    masses = np.ones(weight.size)
    for fewer in (1, 2, 3):
        assert error_of(palettize(weight, fewer, 1), weight) <= bound(weight[0], masses, 2**fewer), fewer
    palette = palettize(weight, bits, 1)
    np.testing.assert_array_equal(palette.dense()[0, 600:], coarse)
    run = 600 / (2**bits - coarse_values)
    assert error_of(palette, weight) <= 2 * (600 * run**2 / 12) * 2.0**-48


def test_importances_of_any_scale() -> None:
    weight = sample("student", 3000).reshape(6, 500)
    importance = np.random.default_rng(4).gamma(0.5, size=weight.shape).astype(np.float32)
    plain = palettize(weight, 4, 2, importance)
    for scale in (2.0**-90, 2.0**90):
        scaled = palettize(weight, 4, 2, importance * np.float32(scale))
        np.testing.assert_array_equal(scaled.indices, plain.indices)
        np.testing.assert_array_equal(scaled.lut, plain.lut)


def test_importances_of_extreme_range() -> None:
    """A weight 10³⁰ times as important as the rest gets an entry of its own; the rest is clustered all the same."""
    weight = sample("student", 500)
    importance = np.full_like(weight, 1e-15)
    importance[0, 250] = 1e15
    palette = palettize(weight, 4, 1, importance)
    assert palette.dense()[0, 250] == np.float16(weight[0, 250])
    optimum, _, _ = exact_kmeans(weight[0], np.ones(500), 15)
    assert error_of(palette, weight) <= 1.1 * optimum


def test_equal_importances_change_nothing_and_zero_ones_do_not_matter() -> None:
    weight = sample("student", 4000).reshape(8, 500)
    plain = palettize(weight, 3, 2)
    for value in (1.0, 0.25, 0.0):  # a group without any importance falls back to equal ones
        same = palettize(weight, 3, 2, np.full_like(weight, value))
        np.testing.assert_array_equal(same.lut, plain.lut)
        np.testing.assert_array_equal(same.indices, plain.indices)
    ignored = np.ones_like(weight)
    ignored[:, 400:] = 0
    seen = palettize(np.ascontiguousarray(weight[:, :400]), 3, 2)
    np.testing.assert_array_equal(palettize(weight, 3, 2, ignored).lut, seen.lut)
