"""Grids: what they cost, what they promise, and what they refuse."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from exporter.compress import fit_task, grids, kmeans
from exporter.compress.fit_task import FitOptions, row_costs
from exporter.compress.grids import fit_grid, round_grid
from exporter.errors import InputError
from exporter.graph.grid import BLOCKS, Grid, rounded_grid
from exporter.graph.moments import Moments


def student(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return (rng.standard_t(5, shape) * 0.02).astype(np.float32)


def problem(rows: int, columns: int, bases: int = 1, seed: int = 0) -> tuple[NDArray[np.float32], Moments]:
    """A weight, and second moments of correlated inputs."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((bases, 4 * columns, columns)) * np.arange(1, columns + 1) ** -0.7
    inputs = inputs @ np.linalg.qr(rng.standard_normal((columns, columns)))[0]
    moments = np.einsum("kti,ktj->kij", inputs, inputs).astype(np.float32)
    return student(rng, rows, columns), Moments(moments, np.exp(rng.standard_normal((rows, bases))).astype(np.float32))


def costs(weight: NDArray[np.float32], dense: NDArray[np.float32], moments: Moments) -> NDArray[np.float64]:
    """The definition, in float64."""
    errors = weight.astype(np.float64) - dense
    curvatures = np.einsum("ik,kab->iab", moments.coefficients.astype(np.float64), moments.bases.astype(np.float64))
    return np.einsum("ia,iab,ib->i", errors, curvatures, errors)


def squared(weight: NDArray[np.float32], grid: Grid) -> float:
    return float(np.square(weight.astype(np.float64) - grid.dense()).sum())


def least_squared(weight: NDArray[np.float32], half: int) -> float:
    """The least squared error of one block with one scale: levels only change where a weight is half way between two of
    them, so every interval of scales between two such places is tried with the best scale for its levels."""
    w = weight.astype(np.float64)
    best = float((w**2).sum())
    for sign in (1, -1):
        edges = np.unique(np.abs(w)[:, None] / (np.arange(half) + 0.5))
        edges = edges[edges > 0]
        for scale in np.concatenate((edges * (1 + 1e-9), edges * (1 - 1e-9))):
            q = np.clip(np.rint(w / (sign * scale)), -half, half - 1)
            if (q * q).sum():
                s = (q * w).sum() / (q * q).sum()
                best = min(best, float(((w - s * q) ** 2).sum()))
    return best


def gptq(weight: NDArray[np.float32], scales: NDArray[np.float32], block: int, curvature: NDArray[np.float64]):
    """GPTQ (arXiv 2210.17323) written plainly, without blocks of columns: rounds one column after the other, and moves
    each error to the columns that are still open by a row of the inverse's Cholesky factor."""
    damped = curvature + 0.01 * np.diag(curvature).mean() * np.eye(len(curvature))
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    open_, out = weight.astype(np.float64).copy(), np.zeros(weight.shape)
    for c in range(weight.shape[1]):
        scale = scales[:, c // block]
        out[:, c] = np.clip(np.rint(open_[:, c] / scale), -8, 7) * scale
        open_[:, c:] -= np.outer((open_[:, c] - out[:, c]) / upper[c, c], upper[c, c:])
    return out.astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_rounding_is_within_a_hundredth_of_the_least_error(seed: int) -> None:
    """Summed over blocks; the least error is found by trying all scales at which any level changes."""
    rng = np.random.default_rng(seed)
    weight = student(rng, 24, 32)
    least = sum(least_squared(row, 8) for row in weight)
    found = squared(weight, round_grid(weight, 4, 32))
    assert least * (1 - 1e-6) <= found <= 1.01 * least


@given(st.integers(1, 5), st.integers(1, 140), st.sampled_from(BLOCKS), st.sampled_from((4, 8)), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_rounding_is_never_worse_than_scaling_the_peak(rows: int, columns: int, block: int, bits, seed: int) -> None:
    weight = student(np.random.default_rng(seed), rows, columns)
    grid = round_grid(weight, bits, block)
    assert (grid.shape, grid.bits, grid.block) == (weight.shape, bits, block)
    plain = squared(weight, rounded_grid(weight, bits, block))
    assert squared(weight, grid) <= plain * (1 + 1e-5) + 1e-12 * np.square(weight, dtype=np.float64).sum()


@pytest.mark.parametrize("magnitude", [1e-38, 1e-20, 1.0, 1e20, 1e38])
def test_magnitudes(magnitude: float) -> None:
    """The same levels whatever the unit, up to powers of two."""
    weight, moments = problem(5, 40)
    unit = np.float32(2.0 ** np.round(np.log2(magnitude)))
    for make in (lambda w: round_grid(w, 4, 32), lambda w: fit_grid(w, 4, 32, moments).grid):
        plain, scaled = make(weight), make(weight * unit)
        rounded = np.isclose(scaled.dense(), plain.dense() * unit, rtol=1e-2, atol=np.float32(1e-44))
        assert rounded.all()


def test_zeros_stay_zeros() -> None:
    weight, moments = problem(6, 96)
    weight[2] = 0
    weight[:, 32:64] = 0
    grid = round_grid(weight, 4, 32)
    assert not grid.dense()[2].any()
    assert not grid.dense()[:, 32:64].any()
    assert np.isfinite(fit_grid(weight, 4, 32, moments).grid.dense()).all()
    nothing = np.zeros((3, 33), np.float32)
    assert not round_grid(nothing, 8, 32).dense().any()
    assert not fit_grid(nothing, 4, 32, problem(3, 33)[1]).grid.dense().any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite(value: float) -> None:
    weight, moments = problem(3, 40)
    weight[1, 5] = value
    for make in (lambda: round_grid(weight, 4, 32), lambda: fit_grid(weight, 4, 32, moments)):
        with pytest.raises(InputError, match=r"at \[1, 5\]; 1 such value"):
            make()


def test_refuses_moments_of_another_shape() -> None:
    with pytest.raises(ValueError, match="moments"):
        fit_grid(student(np.random.default_rng(0), 3, 40), 4, 32, problem(3, 41)[1])


@pytest.mark.parametrize(
    ("rows", "columns", "bases", "block"), [(1, 1, 1, 32), (1, 64, 1, 32), (33, 40, 2, 32), (5, 131, 3, 128)]
)
def test_costs_are_those_of_the_definition(rows: int, columns: int, bases: int, block: int) -> None:
    weight, moments = problem(rows, columns, bases)
    moments.coefficients[::4] *= 0
    fit = fit_grid(weight, 4, block, moments)
    np.testing.assert_allclose(fit.row_costs, costs(weight, fit.grid.dense(), moments), rtol=1e-6, atol=1e-15)
    rounded = round_grid(weight, 4, block).dense()
    assert fit.plain_cost == pytest.approx(row_costs(weight, rounded, moments).sum(), rel=1e-6)


@given(st.integers(1, 40), st.integers(1, 100), st.integers(1, 3), st.sampled_from((4, 8)), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_fit_never_costs_more_than_rounding(rows: int, columns: int, bases: int, bits, seed: int) -> None:
    weight, moments = problem(rows, columns, bases, seed)
    fit = fit_grid(weight, bits, 32, moments)
    rounded = costs(weight, round_grid(weight, bits, 32).dense(), moments)
    assert (costs(weight, fit.grid.dense(), moments) <= rounded * (1 + 1e-5) + 1e-12).all()


@pytest.mark.parametrize("block", BLOCKS)
def test_a_fit_costs_less_than_gptq(block: int) -> None:
    """With the scales of plain rounding, as GPTQ has them, and with those that leave the smallest squared error."""
    weight, moments = problem(40, 256, seed=3)
    curvature = moments.bases[0].astype(np.float64)
    cost = fit_grid(weight, 4, block, moments).cost
    for start in (rounded_grid(weight, 4, block), round_grid(weight, 4, block)):
        reference = gptq(weight, start.scales, block, curvature)
        assert cost < 0.85 * costs(weight, reference, moments).sum()


def test_tiny_problems_are_near_the_optimum() -> None:
    """All levels of four columns are tried, each with the best scale."""
    ratios = []
    levels = np.array(list(itertools.product(range(-8, 8), repeat=4)), np.float64)
    for seed in range(12):
        weight, moments = problem(1, 4, seed=seed)
        h, w = moments.coefficients[0, 0] * moments.bases[0].astype(np.float64), weight[0].astype(np.float64)
        products, squares = levels @ h @ w, np.einsum("na,ab,nb->n", levels, h, levels)
        least = w @ h @ w - np.max(np.square(products)[squares > 0] / squares[squares > 0])
        ratios.append(fit_grid(weight, 4, 32, moments, FitOptions(damping=1e-6)).cost / (w @ h @ w))
        assert ratios[-1] >= least / (w @ h @ w) * (1 - 1e-4)
    assert np.median(ratios) < 0.01


def test_scales_are_the_least_squares_for_the_levels() -> None:
    """Of one row with one block, where the last refit is exact: the cost doesn't fall when the scale moves."""
    weight, moments = problem(20, 32, seed=5)
    grid = fit_grid(weight, 4, 32, moments, FitOptions(rounds=30, damping=0.0)).grid
    dense = grid.dense()
    base = costs(weight, dense, moments)
    for factor in (0.995, 1.005):
        assert (costs(weight, dense * np.float32(factor), moments) >= base * (1 - 1e-3)).all()


def test_the_same_bits_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, moments = problem(150, 96, 2)

    def made() -> list[bytes]:
        found = [fit_grid(weight, 4, 32, moments).grid, round_grid(weight, 4, 64)]
        return [g.packed.read(0, g.packed.size).tobytes() + g.scales.tobytes() for g in found]

    expected = made()
    for threads in (1, 3, 16):
        for module in (kmeans, grids, fit_task):
            monkeypatch.setattr(module, "cores", lambda threads=threads: threads)
        assert made() == expected


def test_rows_don_t_depend_on_each_other() -> None:
    """A row's fit is the same alone and among others."""
    weight, moments = problem(70, 64)
    moments = Moments(moments.bases, np.ones_like(moments.coefficients))
    whole, alone = (
        fit_grid(weight, 4, 32, moments),
        fit_grid(weight[33:34], 4, 32, Moments(moments.bases, np.ones((1, 1), np.float32))),
    )
    scale = np.abs(weight).max()
    np.testing.assert_allclose(whole.grid.dense()[33], alone.grid.dense()[0], atol=1e-5 * scale)


@pytest.mark.parametrize(("bits", "block"), [(4, 32), (4, 64), (4, 128), (8, 128)])
def test_onnxruntime_decodes_the_same_numbers(bits, block: int) -> None:
    """Negative scales included. `MatMulNBits` at accuracy level 1 doesn't round its inputs."""
    weight, moments = problem(24, 256)
    grid = fit_grid(weight, bits, block, moments).grid
    assert bits == 8 or (grid.scales < 0).any()
    x = np.random.default_rng(1).standard_normal((3, 256)).astype(np.float32)
    product, rows = run_stored(grid, x, np.array([0, 7, 23]))
    np.testing.assert_array_equal(rows, grid.dense()[[0, 7, 23]])
    expected = x.astype(np.float64) @ grid.dense().T.astype(np.float64)
    np.testing.assert_allclose(product, expected, atol=1e-5 * np.abs(expected).max())


def run_stored(grid: Grid, x: NDArray[np.float32], ids: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    """The product with the matrix, and some of its rows, by onnxruntime's ops on the stored bytes."""
    (count, columns), packed = grid.shape, grid.packed.read(0, grid.packed.size)
    tensors = {
        "integers": packed.reshape(count, grid.blocks, -1),
        "rows": packed.reshape(count, -1),
        "scales": grid.scales,
    }
    sizes = {"bits": grid.bits, "block_size": grid.block}
    nodes = [
        helper.make_node(
            "MatMulNBits", ["x", "integers", "scales"], ["y"], domain="com.microsoft",
            K=columns, N=count, accuracy_level=1, **sizes,
        ),
        helper.make_node(
            "GatherBlockQuantized", ["rows", "ids", "scales"], ["z"], domain="com.microsoft",
            gather_axis=0, quantize_axis=1, **sizes,
        ),
    ]  # fmt: skip
    ports = [
        helper.make_tensor_value_info(n, t, s)
        for n, t, s in (("x", 1, ["n", columns]), ("ids", TensorProto.INT64, ["i"]))
    ]
    results = [helper.make_tensor_value_info(n, 1, [None, None]) for n in ("y", "z")]
    initializers = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    graph = helper.make_graph(nodes, "stored", ports, results, initializers)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    made = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x, "ids": ids})
    return [np.asarray(array) for array in made]
