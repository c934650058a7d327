"""Slices, broadcasting and transpositions of any shape, many to a program; drawn by hypothesis."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.coreml_cases import Case, Known, case
from support.graphs import normal, parse, shape
from support.op_graphs import Arrays, as_hub, graph_of, run_coreml, run_onnx

from exporter.lower.coreml import unsupported_nodes
from exporter.runners.mil import load_mlpackage


def together(cases: list[Case]) -> tuple[Arrays, Arrays]:
    """onnxruntime's results and the program's, in float32."""
    model, feeds = graph_of(cases)
    with tempfile.TemporaryDirectory() as folder:
        ours = run_coreml(as_hub(model), feeds, Path(folder) / "m.mlpackage", rounding=False)
    return run_onnx(model, feeds), ours


transpositions = st.integers(6, 7).flatmap(
    lambda rank: st.tuples(
        st.lists(st.integers(1, 3), min_size=rank, max_size=rank), st.permutations(range(rank)).map(tuple)
    )
)


@settings(max_examples=4, deadline=None)
@given(st.lists(transpositions, min_size=8, max_size=8))
def test_transpositions_of_many_axes(drawn: list[tuple[list[int], tuple[int, ...]]]) -> None:
    """Reshape to six or seven axes, transpose, reshape back, as window attention does: no tensor has more than five."""
    lines, feeds, constants = [], {}, {"whole": shape(-1)}
    for i, (sizes, perm) in enumerate(drawn):
        feeds[f"x{i}"], constants[f"s{i}"] = np.arange(np.prod(sizes), dtype=np.float32), shape(*sizes)
        lines.append(
            f"a{i} = Reshape(x{i}, s{i}) t{i} = Transpose<perm = {list(perm)}>(a{i}) y{i} = Reshape(t{i}, whole)"
        )
    inputs = ", ".join(f"float[{array.size}] {name}" for name, array in feeds.items())
    outputs = ", ".join(f"float[{feeds[f'x{i}'].size}] y{i}" for i in range(len(drawn)))
    model = parse(f"g ({inputs}) => ({outputs}) {{ {' '.join(lines)} }}", constants, opset=23)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.mlpackage"
        ours = run_coreml(as_hub(model), feeds, path)
        operations = load_mlpackage(path).function.operations
    for i, (sizes, perm) in enumerate(drawn):
        np.testing.assert_array_equal(ours[f"y{i}"], feeds[f"x{i}"].reshape(sizes).transpose(perm).reshape(-1))
    assert all(len(output.type.shape or ()) <= 5 for op in operations for output in op.outputs)


bounds = st.integers(-8, 8) | st.sampled_from([2**62, -(2**62)])
slices = st.lists(st.integers(1, 6), min_size=1, max_size=3).flatmap(
    lambda sizes: st.tuples(
        st.just(sizes), st.integers(-len(sizes), len(sizes) - 1), bounds, bounds, st.sampled_from([1, 2, 3, -1, -2])
    )
)


@settings(max_examples=5, deadline=None)
@given(st.lists(slices, min_size=10, max_size=10))
def test_slices_of_any_bounds(drawn: list[tuple[list[int], int, int, int, int]]) -> None:
    """Those that leave nothing are refused; the others agree with onnxruntime, whose clamping isn't numpy's."""
    cases = []
    for sizes, axis, start, end, step in drawn:
        x = np.arange(np.prod(sizes), dtype=np.float32).reshape(sizes)
        item = case("Slice", x, *[Known(shape(value)) for value in (start, end, axis, step)])
        model, feeds = graph_of([item])
        if run_onnx(model, feeds)["c0_0"].size:
            cases.append(item)
        else:
            assert "empty tensor" in unsupported_nodes(as_hub(model))[0].message
    if cases:
        expected, ours = together(cases)
        for name, value in expected.items():
            np.testing.assert_array_equal(ours[name], value)


def cut(sizes: list[int], kept: list[bool], first: int, seed: int) -> np.ndarray:
    """Numbers of a shape that broadcasts to `sizes`: some axes of size 1, the first ones left out."""
    own = [size if keep else 1 for size, keep in zip(sizes, kept, strict=True)]
    return normal(*own[min(first, len(own) - 1) :], seed=seed).astype(np.float16).astype(np.float32)


operands = st.tuples(st.lists(st.booleans(), min_size=4, max_size=4), st.integers(0, 3))


@settings(max_examples=5, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(1, 4), min_size=4, max_size=4), operands, operands), min_size=6))
def test_broadcasting(drawn: list[tuple[list[int], tuple[list[bool], int], tuple[list[bool], int]]]) -> None:
    """Sums, selections and expansions of shapes that numpy broadcasts."""
    cases, wanted = [], []
    for sizes, first, second in drawn:
        a, b = cut(sizes, *first, seed=1), cut(sizes, *second, seed=2)
        cases += [case("Add", a, b), case("Where", a > 0, a, b), case("Expand", a, Known(shape(*sizes)))]
        wanted += [a + b, np.where(a > 0, a, b), np.broadcast_to(a, np.broadcast_shapes(a.shape, sizes))]
    _, ours = together(cases)
    for i, value in enumerate(wanted):
        np.testing.assert_allclose(ours[f"c{i}_0"], value, rtol=1e-6)
