"""Data-aware palettes: what they cost, what they promise, and what they refuse."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import types
from numba.core import caching

from exporter.compress import fit_task, fitting, kmeans, palettize
from exporter.compress.fit_task import Fit, FitOptions, row_costs
from exporter.compress.fitting import fit_palette
from exporter.compress.kernels import fit_compiled
from exporter.errors import InputError, UnsupportedError
from exporter.graph.moments import Moments
from exporter.graph.palette import PALETTE_BITS


def student(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_t(5, shape) * 0.02).astype(np.float32)


def grams(rng: np.random.Generator, count: int, columns: int, rank: int | None = None) -> np.ndarray:
    """Second moments of correlated inputs, float32 `[count, columns, columns]`."""
    inputs = rng.standard_normal((count, rank or 4 * columns, columns)) * np.arange(1, columns + 1) ** -0.7
    inputs = inputs @ np.linalg.qr(rng.standard_normal((columns, columns)))[0]
    return np.einsum("kti,ktj->kij", inputs, inputs).astype(np.float32)


def problem(rows: int, columns: int, bases: int = 1, seed: int = 0) -> tuple[np.ndarray, Moments]:
    rng = np.random.default_rng(seed)
    shares = np.exp(rng.standard_normal((rows, bases))).astype(np.float32)
    return student(rng, rows, columns), Moments(grams(rng, bases, columns), shares)


def costs(weight: np.ndarray, dense: np.ndarray, moments: Moments) -> np.ndarray:
    """The definition, in float64."""
    errors = weight.astype(np.float64) - dense
    curvatures = np.einsum("ik,kab->iab", moments.coefficients.astype(np.float64), moments.bases.astype(np.float64))
    return np.einsum("ia,iab,ib->i", errors, curvatures, errors)


def same(one: Fit, other: Fit) -> bool:
    """Bit by bit."""
    return (
        one.palette.lut.tobytes() == other.palette.lut.tobytes()
        and one.palette.indices.tobytes() == other.palette.indices.tobytes()
        and one.row_costs.tobytes() == other.row_costs.tobytes()
        and one.plain_cost == other.plain_cost
    )


@pytest.mark.parametrize(("rows", "columns", "bases"), [(1, 1, 1), (3, 7, 2), (33, 40, 1), (70, 131, 3)])
def test_costs_are_those_of_the_definition(rows: int, columns: int, bases: int) -> None:
    weight, moments = problem(rows, columns, bases)
    moments.coefficients[::4] = 0
    for scale in (0.0, 0.9, 1e3):
        expected = costs(weight, weight * np.float32(scale), moments)
        np.testing.assert_allclose(row_costs(weight, weight * np.float32(scale), moments), expected, rtol=1e-9)
    fit = fit_palette(weight, 2, 16, moments)
    np.testing.assert_allclose(fit.row_costs, costs(weight, fit.palette.dense(), moments), rtol=1e-9)
    assert fit.cost == pytest.approx(row_costs(weight, fit.palette.dense(), moments).sum(), rel=1e-12)
    plain = palettize(weight, 2, 16)
    assert fit.plain_cost == pytest.approx(row_costs(weight, plain.dense(), moments).sum(), rel=1e-12)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 70),
    group_size=st.integers(1, 50),
    bits=st.sampled_from([1, 2, 3, 4, 6]),
    bases=st.integers(1, 3),
    scales=st.sampled_from([(0.02, 1.0), (1e-6, 1e-25), (1000.0, 1e25), (0.02, 1e-38)]),
    kind=st.sampled_from(["full", "singular", "no errors count", "dead columns", "sparse coefficients", "dead rows"]),
    damping=st.sampled_from([0.0, 0.01, 1.0]),
    seed=st.integers(0, 1000),
)
def test_never_worse_than_plain(
    rows: int,
    columns: int,
    group_size: int,
    bits: int,
    bases: int,
    scales: tuple[float, float],
    kind: str,
    damping: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    weight = (student(rng, rows, columns) * (scales[0] / 0.02)).clip(-60000, 60000).astype(np.float32)
    moments = Moments(
        grams(rng, bases, columns, 2 if kind == "singular" else None) * np.float32(scales[1]),
        np.exp(3 * rng.standard_normal((rows, bases))).astype(np.float32),
    )
    match kind:
        case "no errors count":
            moments.bases[:] = 0
        case "dead columns":
            moments.bases[:, ::2] = 0
            moments.bases[:, :, ::2] = 0
        case "sparse coefficients":
            moments.coefficients[rng.random((rows, bases)) < 0.6] = 0
        case "dead rows":
            moments.coefficients[rng.random(rows) < 0.6] = 0
    fit = fit_palette(weight, bits, group_size, moments, FitOptions(damping=damping, rounds=2, sweeps=3))
    palette, plain = fit.palette, palettize(weight, bits, group_size)
    assert palette.group_size == min(group_size, rows) == plain.group_size
    assert (palette.shape, palette.bits, palette.lut.dtype) == (weight.shape, bits, np.float16)
    assert np.isfinite(palette.lut).all()
    assert (np.diff(palette.lut.astype(np.float64), axis=1) >= 0).all()
    assert palette.indices.max() < 2**bits
    assert fit.cost <= fit.plain_cost
    starts = np.arange(0, rows, palette.group_size)
    ours, theirs = costs(weight, palette.dense(), moments), costs(weight, plain.dense(), moments)
    assert (np.add.reduceat(ours, starts) <= np.add.reduceat(theirs, starts) * (1 + 1e-6)).all()


@pytest.mark.parametrize(("bits", "group_size"), [(4, 16), (3, 1), (4, 192), (1, 24)])
def test_correlated_inputs_cost_a_fraction(bits: int, group_size: int) -> None:
    weight, moments = problem(192, 128)
    fit = fit_palette(weight, bits, group_size, moments)
    assert fit.cost < 0.25 * fit.plain_cost
    rounds = [fit_palette(weight, bits, group_size, moments, FitOptions(0, rounds)).cost for rounds in (0, 1, 3)]
    assert rounds[2] < rounds[1] < rounds[0]


def test_mixed_curvatures() -> None:
    """Rows that mix two bases each in its own way share a few factors, and no row is much worse off for that."""
    weight, moments = problem(64, 96, 2)
    mixed = fit_palette(weight, 4, 1, moments, FitOptions(0))
    for i in range(0, 64, 8):
        own = np.einsum("k,kab->ab", moments.coefficients[i], moments.bases)[None]
        alone = fit_palette(weight[i : i + 1], 4, 1, Moments(own, np.ones((1, 1), np.float32)), FitOptions(0))
        assert mixed.row_costs[i] < 1.3 * alone.cost


@pytest.mark.parametrize(("bits", "group_size"), [(4, 16), (4, 300), (3, 150)])
def test_large_groups_are_as_good_as_small_ones(bits: int, group_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, moments = problem(300, 64)
    monkeypatch.setattr(fitting, "MAX_GROUP_ROWS_PER_THREAD", 1000)
    small = fit_palette(weight, bits, group_size, moments)
    monkeypatch.setattr(fitting, "MAX_GROUP_ROWS_PER_THREAD", 15)
    large = fit_palette(weight, bits, group_size, moments)
    assert large.cost == pytest.approx(small.cost, rel=5e-3)
    assert large.cost < 0.25 * large.plain_cost


@pytest.mark.parametrize(("bits", "group_size"), [(4, 16), (3, 1), (2, 100), (4, 160)])
def test_thread_counts(bits: int, group_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, moments = problem(160, 300, 2)  # more columns than a thread's share of a factor, and two bases
    expected = fit_palette(weight, bits, group_size, moments, FitOptions(rounds=1))
    for threads in (1, 2, 3, 40):
        for module in (kmeans, fitting, fit_task):
            monkeypatch.setattr(module, "cores", lambda threads=threads: threads)
        assert same(fit_palette(weight, bits, group_size, moments, FitOptions(rounds=1)), expected)


def test_few_distinct_values_are_kept_exactly() -> None:
    _, moments = problem(20, 30)
    weight = np.random.default_rng(1).choice(np.float32([-0.5, -0.125, 0.25, 1.0]), (20, 30))
    fit = fit_palette(weight, 2, 16, moments)
    np.testing.assert_array_equal(fit.palette.dense(), weight)
    assert fit.cost == 0


@pytest.mark.parametrize("bits", PALETTE_BITS)
def test_all_bits(bits: int) -> None:
    weight, moments = problem(32, 48)
    fit = fit_palette(weight, bits, 16, moments, FitOptions(rounds=1))
    assert fit.palette.lut.shape == (2, 2**bits)
    assert fit.cost <= fit.plain_cost


def test_arrays_of_any_layout_and_read_only() -> None:
    weight, moments = problem(24, 40, 2)
    expected = fit_palette(weight, 3, 8, moments)
    other = Moments(np.asfortranarray(moments.bases), np.asfortranarray(moments.coefficients))
    for array in (frozen := np.asfortranarray(weight), other.bases, other.coefficients):
        array.setflags(write=False)
    assert same(fit_palette(frozen, 3, 8, other), expected)


def test_wrong_moments() -> None:
    weight, moments = problem(6, 5, 2)
    bases, shares = moments.bases, moments.coefficients
    changed = bases.copy()
    changed[1, 2, 2] = -1
    endless = bases.copy()
    endless[0, 1, 2] = np.inf
    for wrong, message in (
        (Moments(bases[:, :4, :4], shares), "of a weight"),
        (Moments(bases, shares[:5]), "of a weight"),
        (Moments(bases, -shares), "negative coefficients"),
        (Moments(bases, shares * np.float32("nan")), "not finite"),
        (Moments(endless, shares), "not finite"),
        (Moments(changed, shares), "negative diagonal"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_palette(weight, 4, 16, wrong)


def test_refuses_what_palettize_refuses() -> None:
    weight, moments = problem(6, 5)
    for bits, group_size in ((5, 16), (4, 0)):
        with pytest.raises(ValueError, match="palettize takes"):
            fit_palette(weight, bits, group_size, moments)
    with pytest.raises(ValueError, match="takes a matrix"):
        fit_palette(weight[0], 4, 16, moments)
    for value, error in ((np.nan, InputError), (1e6, UnsupportedError)):
        weight[3, 2] = value
        with pytest.raises(error):
            fit_palette(weight, 4, 16, moments)


@pytest.mark.parametrize("size", [1, 8, 31, 33, 64, 300])
def test_factors(size: int) -> None:
    """UᵀU is the matrix; pivots grow as far as a smallest-first order makes them."""
    matrix = grams(np.random.default_rng(size), 1, size)[0].astype(np.float64) + 0.01 * np.eye(size)
    factor = matrix.copy()
    with ThreadPoolExecutor(2) as pool:
        order = fit_compiled.factorize(pool, factor)
    upper = np.triu(factor)
    assert sorted(order) == list(range(size))
    assert order[0] == np.diagonal(matrix).argmin()
    np.testing.assert_allclose(upper.T @ upper, matrix[np.ix_(order, order)], atol=1e-12 * np.abs(matrix).max())


@pytest.mark.parametrize("shift", [0.0, -0.5])
def test_factors_of_matrices_that_have_none(shift: float) -> None:
    """A singular matrix, and one that is not even semidefinite, yield finite proposals."""
    matrix = grams(np.random.default_rng(0), 1, 40, rank=3)[0].astype(np.float64) + shift * np.eye(40)
    with ThreadPoolExecutor(2) as pool:
        fit_compiled.factorize(pool, matrix)
    assert np.abs(np.triu(matrix)).max() < 1e3
    assert (matrix.diagonal() > 0).all()


def test_a_basis_of_few_inputs() -> None:
    """Half as many inputs as columns: there are errors that cost nothing, and the search finds its way to them."""
    rng = np.random.default_rng(0)
    weight, moments = student(rng, 48, 128), Moments(grams(rng, 1, 128, rank=64), np.ones((48, 1), np.float32))
    assert (
        fit_palette(weight, 4, 16, moments, FitOptions(damping=0)).cost
        < 0.05 * fit_palette(weight, 4, 16, moments).plain_cost
    )


def test_memory() -> None:
    """A few times the weight and the bases, whatever the number of rows."""
    weight, moments = problem(2048, 128)
    fit_palette(weight[:64], 4, 16, Moments(moments.bases, moments.coefficients[:64]))  # compiled by now
    tracemalloc.start()
    try:
        fit_palette(weight, 4, 16, moments, FitOptions(rounds=1))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * (weight.nbytes + moments.bases.nbytes)


def test_without_a_writable_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # what numba finds where no folder is writable

    def double(x: float) -> float:
        return 2 * x

    assert fit_compiled.compiled(double, types.float64(types.float64))(1.5) == 3.0
