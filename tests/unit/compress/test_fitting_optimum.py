"""Data-aware palettes against optima: all assignments of tiny problems, and weighted k-means where H is diagonal."""

import itertools

import numpy as np
import pytest

from exporter.compress import palettize
from exporter.compress.fit_task import FitOptions, row_costs
from exporter.compress.fitting import fit_palette
from exporter.graph.moments import Moments


def optimum(weight: np.ndarray, curvatures: np.ndarray, entries: int) -> float:
    """The least cost over all assignments, each with its least-squares LUT. weight `[rows, n]`; H `[rows, n, n]`."""
    every = np.array(list(itertools.product(range(entries), repeat=weight.size)))
    return float(least_cost(weight, curvatures, every.reshape(-1, *weight.shape), entries).min())


def least_cost(weight: np.ndarray, curvatures: np.ndarray, every: np.ndarray, entries: int) -> np.ndarray:
    """Of each of the assignments `[n, rows, columns]`, with the entries that serve it best."""
    chosen = (every[..., None] == np.arange(entries)).astype(float)
    images = np.einsum("rij,arjk->arik", curvatures, chosen)
    gram, gradient = np.einsum("arik,aril->akl", chosen, images), np.einsum("arik,ri->ak", images, weight)
    luts = np.einsum("akl,al->ak", np.linalg.pinv(gram, rcond=1e-10, hermitian=True), gradient)
    explained = 2 * np.einsum("ak,ak->a", luts, gradient) - np.einsum("ak,akl,al->a", luts, gram, luts)
    return np.einsum("ri,rij,rj->", weight.astype(np.float64), curvatures, weight) - explained


@pytest.mark.parametrize(("bits", "rows", "columns"), [(1, 1, 6), (1, 2, 5), (1, 2, 6), (2, 1, 6), (2, 1, 5)])
def test_all_assignments(bits: int, rows: int, columns: int) -> None:
    """Alternation ends in a local optimum: of a handful of weights that is most often the best, and seldom a poor one.

    Below the optimum, whose entries are real numbers, nothing can be. Above: a search that fixes one column at a time
    errs by a factor that isn't bounded in general, but inputs that correlate by about 0.2 leave little to err about.
    """
    ratios = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        weight = rng.standard_normal((rows, columns)).astype(np.float32)
        inputs = (rng.standard_normal((24, columns)) + 0.5 * rng.standard_normal((24, 1))).astype(np.float32)
        base = np.einsum("ti,tj->ij", inputs, inputs)
        moments = Moments(base[None], rng.uniform(0.5, 2, (rows, 1)).astype(np.float32))
        fit = fit_palette(weight, bits, rows, moments, FitOptions(damping=0))
        curvatures = moments.coefficients[:, :, None].astype(np.float64) * base.astype(np.float64)
        ratios.append(fit.cost / optimum(weight.astype(np.float64), curvatures, 2**bits))
    assert min(ratios) > 1 - 1e-6
    assert np.median(ratios) < 1.01
    assert np.mean(ratios) < 1.15
    assert max(ratios) < 3


@pytest.mark.parametrize(("bits", "group_size"), [(1, 8), (2, 1), (3, 16), (4, 48), (6, 16)])
def test_a_diagonal_is_weighted_k_means(bits: int, group_size: int) -> None:
    """`palettize` is within a thousandth of the optimum then, so both costs are."""
    rng = np.random.default_rng(bits)
    weight = (rng.standard_t(5, (48, 64)) * 0.02).astype(np.float32)
    diagonals = rng.gamma(0.5, size=(2, 64)).astype(np.float32) + np.float32(1e-3)
    moments = Moments(np.stack([np.diag(d) for d in diagonals]), rng.gamma(1, size=(48, 2)).astype(np.float32))
    fit = fit_palette(weight, bits, group_size, moments, FitOptions(damping=0))
    weighted = palettize(weight, bits, group_size, moments.coefficients @ diagonals)
    assert fit.cost == pytest.approx(row_costs(weight, weighted.dense(), moments).sum(), rel=1e-3)


def test_the_identity_is_plain_k_means() -> None:
    weight = (np.random.default_rng(0).standard_t(5, (32, 64)) * 0.02).astype(np.float32)
    fit = fit_palette(weight, 4, 16, Moments(np.eye(64, dtype=np.float32)[None], np.ones((32, 1), np.float32)))
    assert 0.999 * fit.plain_cost <= fit.cost <= fit.plain_cost
