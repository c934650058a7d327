"""Products with palettes whose LUTs learn. The reference is torch's own autograd through the dense, gathered matrix.

In float64 both differ by the order of sums: 1e-12 of the largest gradient.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.graph_models import feeds_of, hub_of, random_palette
from support.graphs import normal, parse
from torch import Tensor

from exporter.graph.model import GraphSpec, Hub, Weight
from exporter.graph.palette import Palette
from exporter.runners.torch_graph import matrices
from exporter.runners.torch_graph.graph import TorchGraph
from exporter.runners.torch_graph.matrices import Lookup, runs

ROWS, COLUMNS = 6, 6
NODES = {
    "rows make outputs": "t = Transpose(w)  y = MatMul(x, t)",
    "rows are inputs": "y = MatMul(c, w)",
    "Gemm": "y = Gemm<transB = 1, alpha = 0.5, beta = 2.0>(x, w, b)",
    "Gemm, turned": "t = Transpose(w)  y = Gemm<transB = 1, alpha = -2.0>(c, t, e)",
    "lookup": "y = Gather(w, ids)",
    "Conv": "k = Reshape(w, kernel)  y = Conv<pads = [2, 1], strides = [2]>(image, k, b)",
    "Conv in groups": "k = Reshape(v, wide)  y = Conv<group = 2, dilations = [2]>(image, k)",
    "used twice": "t = Transpose(w)  p = MatMul(x, t)  g = Gather(w, ids)  s = ReduceSum(g)  y = Mul(p, s)",
    "in an unknown way": "z = Mul(w, w)  y = MatMul(c, z)",
}
CONSTANTS = {
    "w": normal(ROWS, COLUMNS), "v": normal(4, 6), "b": normal(ROWS, seed=3), "e": normal(COLUMNS, seed=4),
    "ids": np.array([[1, -1], [3, 0], [1, 5]]), "kernel": np.array([ROWS, 2, 3]), "wide": np.array([4, 1, 6]),
}  # fmt: skip
FEEDS = {"x": normal(3, COLUMNS, seed=1), "c": normal(3, ROWS, seed=2), "image": normal(2, 2, 14, seed=6)}


def drawn(nodes: str, products: torch.dtype | None = None, dtype: torch.dtype = torch.float64) -> TorchGraph:
    rank = 3 if re.search("y = (Gather|Conv)", nodes) else 2
    words = set(re.findall(r"\w+", nodes))
    inputs = ", ".join(f"float[{', '.join(map(str, FEEDS[n].shape))}] {n}" for n in FEEDS if n in words or n == "x")
    model = parse(f"g ({inputs}) => (float[{', '.join('ABC'[:rank])}] y) {{ {nodes} }}", CONSTANTS, 23)
    weights = tuple(Weight(n, CONSTANTS[n].shape, ("linear",)) for n in ("w", "v") if n in words)
    return TorchGraph(Hub(model, "test", GraphSpec("other", (), ("y",)), weights), dtype=dtype, products=products)


def gathered(palette: Palette, lut: Tensor) -> Tensor:
    """The dense matrix, differentiable in the LUT."""
    groups = torch.arange(palette.shape[0]) // palette.group_size
    return lut[groups[:, None], torch.from_numpy(palette.indices).long()]


def gradients(
    graph: TorchGraph, feeds: dict[str, np.ndarray], output: str, palettes: dict[str, Palette], dense: bool
) -> list[Tensor]:
    """Of a random function of the output, for each LUT and each float that is fed; the output itself comes first."""
    dtype = torch.float64 if graph.dtype == torch.float64 else torch.float32
    luts = {n: torch.from_numpy(p.lut.astype(np.float64)).to(dtype).requires_grad_() for n, p in palettes.items()}
    make: Callable[[str], Tensor | Lookup] = lambda name: (  # noqa: E731
        gathered(palettes[name], luts[name]) if dense else Lookup(palettes[name], luts[name])
    )
    given = {name: make(name) for name in palettes}
    fed = {n: torch.from_numpy(a) for n, a in feeds.items()}
    fed = {n: t.to(dtype).requires_grad_() if t.is_floating_point() and t.numel() else t for n, t in fed.items()}
    y = graph.run(fed, [output], weights=given.get)[output]
    weights = torch.from_numpy(np.random.default_rng(1).standard_normal(y.shape))
    (y.double() * weights).sum().backward()
    found = [y.detach(), *(lut.grad for lut in luts.values())]
    return [t for t in [*found, *(t.grad for t in fed.values() if t.requires_grad)] if t is not None]


def close(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * float(b.abs().max()))


@pytest.mark.parametrize(("bits", "group_size"), [(1, 1), (2, 2), (3, 5), (4, 3)])
@pytest.mark.parametrize("case", NODES)
def test_gradients_are_those_of_the_gathered_matrix(case: str, bits: int, group_size: int) -> None:
    graph = drawn(NODES[case])
    name = "v" if "groups" in case else "w"
    palettes = {name: random_palette(CONSTANTS[name].shape, bits, group_size, 7)}
    feeds = {n: FEEDS[n] for n in graph.inputs}
    ours, theirs = (gradients(graph, feeds, "y", palettes, dense) for dense in (False, True))
    assert len(ours) == 2 + sum(name in re.findall(r"\w+", NODES[case]) for name in feeds)
    close(ours, theirs, 1e-12)


@pytest.mark.parametrize("name", ["llama/plain", "qwen3/plain", "gpt2", "bert:ForMaskedLM"])
def test_whole_models(name: str) -> None:
    """All weights at once; qwen3's embedding is tied, gpt2's matrices have inputs as rows."""
    hub = hub_of(name)
    palettes = {w.name: random_palette(w.shape, 3, 7, i) for i, w in enumerate(hub.weights)}
    graph = TorchGraph(hub, dtype=torch.float64)
    ours, theirs = (gradients(graph, feeds_of(hub), "logits", palettes, dense) for dense in (False, True))
    assert len(ours) >= 1 + len(palettes)
    close(ours, theirs, 1e-11)  # a few layers deep


def test_products_in_bfloat16() -> None:
    """What autograd rounds to bfloat16 on the way, eight bits, so that half a percent of the largest is a lot."""
    for case in ("rows make outputs", "rows are inputs", "Conv", "lookup"):
        graph = drawn(NODES[case], torch.bfloat16, torch.float32)
        palettes = {"w": random_palette((ROWS, COLUMNS), 2, 2, 7)}
        feeds = {n: FEEDS[n] for n in graph.inputs}
        ours, theirs = (gradients(graph, feeds, "y", palettes, dense) for dense in (False, True))
        close(ours, theirs, 1e-2)


def test_large_matrices_are_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two rows, which is less than a group, as many, or more."""
    monkeypatch.setattr(matrices, "BLOCK", 2 * COLUMNS)
    for group_size in (1, 2, 3, 5):
        for case in ("rows make outputs", "rows are inputs", "in an unknown way"):
            graph = drawn(NODES[case])
            palettes = {"w": random_palette((ROWS, COLUMNS), 2, group_size, 7)}
            feeds = {n: FEEDS[n] for n in graph.inputs}
            ours, theirs = (gradients(graph, feeds, "y", palettes, dense) for dense in (False, True))
            close(ours, theirs, 1e-12)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 12), st.integers(1, 90))
def test_runs_are_whole_groups_or_parts_of_one(rows: int, columns: int, group_size: int, block: int) -> None:
    palette = random_palette((rows, columns), 1, group_size, 0)
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrices, "BLOCK", block)
        for part, groups in runs(palette):
            own = range(part.start, part.stop)
            assert 0 < len(own) * columns <= max(block, columns)
            assert {i // group_size for i in own} == set(range(groups.start, groups.stop))
            each = [sum(i // group_size == g for i in own) for g in range(groups.start, groups.stop)]
            assert len(set(each)) == 1
            seen += own
    assert seen == list(range(rows))


def kept_matrices(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many dense matrices a forward pass under autograd makes, and how many of them it keeps."""
    alive: list[weakref.ref[Tensor]] = []
    decoded = Lookup.decoded

    def watched(lookup: Lookup, dtype: torch.dtype) -> Tensor:
        dense = decoded(lookup, dtype)
        alive.append(weakref.ref(dense))
        return dense

    monkeypatch.setattr(Lookup, "decoded", watched)
    palettes = {w.name: random_palette(w.shape, 2, 8, 0) for w in hub.weights}
    learning = {n: Lookup(p, torch.from_numpy(p.lut.astype(np.float32)).requires_grad_()) for n, p in palettes.items()}
    outputs = TorchGraph(hub).run(feeds_of(hub), ["logits"], weights=learning.get)
    assert outputs["logits"].requires_grad
    return len(alive), sum(ref() is not None for ref in alive)


def test_no_matrix_is_kept_for_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = hub_of("qwen3/plain")
    assert kept_matrices(hub, monkeypatch) == (len(hub.weights), 0)  # the head; the lookup takes rows


def test_without_gradients_a_lookup_is_its_matrix() -> None:
    palette = random_palette((ROWS, COLUMNS), 3, 2, 7)
    for lut in (palette.lut, palette.lut.astype(np.float32)):
        lookup = Lookup(palette, torch.from_numpy(lut))
        np.testing.assert_array_equal(lookup.read(torch.float32).numpy(), palette.dense())
        for case, nodes in NODES.items():
            if "groups" not in case:
                graph = drawn(nodes, dtype=torch.float32)
                feeds = {n: FEEDS[n] for n in graph.inputs}
                found = graph.run(feeds, weights={"w": lookup}.get)["y"]
                expected = graph.run(feeds, weights={"w": torch.from_numpy(palette.dense())})["y"]
                torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_an_input_gets_its_gradient_from_a_lookup_that_doesnt_learn() -> None:
    graph, palette = drawn(NODES["rows make outputs"]), random_palette((ROWS, COLUMNS), 2, 2, 7)
    x = torch.from_numpy(FEEDS["x"]).double().requires_grad_()
    given = {"w": Lookup(palette, torch.from_numpy(palette.lut))}
    graph.run({"x": x}, weights=given.get)["y"].sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.tile(palette.dense().astype(float).sum(0), (3, 1)), atol=1e-12)


def test_wrong_shapes_are_refused() -> None:
    palette = random_palette((ROWS, COLUMNS), 2, 2, 7)
    with pytest.raises(ValueError, match=r"LUT has shape \(3, 8\), the palette's has \(3, 4\)"):
        Lookup(palette, torch.zeros(3, 8))
    other = random_palette((ROWS + 1, COLUMNS), 2, 2, 7)
    graph = drawn(NODES["rows make outputs"])
    with pytest.raises(ValueError, match=r"w has shape \(6, 6\), its replacement \(7, 6\)"):
        graph.run({"x": FEEDS["x"]}, weights=lambda _: Lookup(other, torch.from_numpy(other.lut)))
