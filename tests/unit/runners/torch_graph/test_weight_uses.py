"""Which nodes of a graph use a matrix, how, and what they multiply it with; plain numpy is the reference for products.

Tolerance 1e-5 of the largest number: sums of up to 56 float32 products in another order.
"""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest
import torch
from support.graph_models import feeds_of, hub_of, random_palette
from support.graphs import normal, parse, run

from exporter.graph.model import GraphSpec, Hub, Weight
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.runners.torch_graph.graph import TorchGraph

FAMILIES = ("llama/plain", "qwen3/plain", "phi3/longrope", "gpt2", "opt", "bert:ForMaskedLM", "modernbert:Model")


@pytest.mark.parametrize("name", FAMILIES)
def test_each_product_is_what_the_use_says(name: str) -> None:
    hub = hub_of(name)
    feeds = feeds_of(hub)
    graph = TorchGraph(hub)
    values = graph.run(feeds, [name for use in graph.uses for name in (use.input, use.output)])
    for use in graph.uses:
        matrix = hub.model.graph.initializers[use.weight].const_value.numpy().astype(np.float64)
        x, y = values[use.input], values[use.output].double().numpy()
        if use.kind == "embedding":
            np.testing.assert_array_equal(y, matrix[x.numpy()])
            with pytest.raises(ValueError, match="is looked up"):
                use.columns(x)
            continue
        product = use.columns(x).double().numpy() @ (matrix.T if use.transposed else matrix)
        np.testing.assert_allclose(product.reshape(y.shape), y, rtol=0, atol=1e-5 * np.abs(y).max())
    roles = {weight.name: set(weight.roles) for weight in hub.weights}
    assert {name: {use.kind for use in graph.uses if use.weight == name} for name in roles} == roles


def test_uses_come_in_the_order_in_which_the_graph_runs() -> None:
    layer = [f"self_attn.{part}_proj" for part in "qkvo"] + [f"mlp.{part}_proj" for part in ("gate", "up", "down")]
    found = TorchGraph(hub_of("llama/plain")).uses
    names = [use.weight for use in found]
    assert names[0] == "model.embed_tokens.weight"
    assert names[-1] == "lm_head.weight"
    for i in range(3):
        assert names[1 + 7 * i : 8 + 7 * i] == [f"model.layers.{i}.{part}.weight" for part in layer]
    assert [use.kind for use in found] == ["embedding"] + ["linear"] * (len(found) - 1)
    tied = [(use.weight, use.kind) for use in TorchGraph(hub_of("qwen3/plain")).uses]
    assert tied[0] == ("model.embed_tokens.weight", "embedding")
    assert tied[-1] == ("model.embed_tokens.weight", "linear")


W = normal(4, 6)
X = normal(3, 6, seed=1)
Y = normal(3, 4, seed=2)

# How a matrix W `[4, 6]` reaches a node, and whether the node then takes its rows for outputs.
KNOWN = {
    "y = MatMul(c, w)": False,
    "t = Transpose<perm = [1, 0]>(w)  y = MatMul(x, t)": True,
    "t = Transpose(w)  y = MatMul(x, t)": True,
    "t = Transpose<perm = [0, 1]>(w)  y = MatMul(c, t)": False,
    "t = Transpose(w)  u = Transpose(t)  y = MatMul(c, u)": False,
    "i = Identity(w)  t = Transpose(i)  y = MatMul(x, t)": True,
    "y = Gemm(c, w)": False,
    "y = Gemm<transB = 1, alpha = 0.5>(x, w)": True,
    "t = Transpose(w)  y = Gemm(x, t, b)": True,
    "t = Transpose(w)  y = Gemm<transB = 1, beta = 0.5>(c, t, e)": False,
    "f = Cast<to = 1>(w)  y = MatMul(c, f)": False,
    "f = Cast<to = 10>(w)  g = Cast<to = 1>(f)  t = Transpose(g)  y = MatMul(x, t)": True,
    "y = Gather(w, ids)": False,
    "y = Gather<axis = 0>(w, ids)": False,
    "k = Reshape(w, kernel)  y = Conv(image, k, b)": True,
}
# Where its numbers go into something else than a product with it as it is: all its nodes read it as any tensor.
UNKNOWN = (
    "y = Add(w, w)",
    "y = MatMul(w, d)",
    "y = Gather<axis = 1>(w, ids)",
    "t = Transpose(w)  y = Gather(t, ids)",
    "y = Gemm<transA = 1>(h, w)",
    "y = Gemm(p, q, w)",
    "f = Cast<to = 7>(w)  g = Cast<to = 1>(f)  y = MatMul(c, g)",
    "r = Reshape(w, flat)  y = Mul(r, r)",
    "t = Transpose(w)  k = Reshape(t, kernel)  y = Conv(image, k, b)",
    "z = MatMul(c, w)  s = ReduceSum(w)  y = Mul(z, s)",
)
CONSTANTS = {
    "w": W, "b": normal(4, seed=3), "e": normal(6, seed=4), "ids": np.array([[1, -1], [3, 0]]),
    "kernel": np.array([4, 2, 3]), "flat": np.array([24]),
}  # fmt: skip
FEEDS = {
    "x": X, "c": Y, "d": normal(6, 2, seed=5), "image": normal(1, 2, 5, seed=6), "h": normal(4, 3, seed=7),
    "p": normal(4, 3, seed=8), "q": normal(3, 6, seed=9),
}  # fmt: skip


def drawn(nodes: str) -> tuple[TorchGraph, dict[str, np.ndarray], np.ndarray]:
    """The graph, its feeds, and onnxruntime's result."""
    words = set(re.findall(r"\w+", nodes))
    feeds = {name: array for name, array in FEEDS.items() if name in words} or {"x": X}
    inputs = ", ".join(f"float[{', '.join(map(str, array.shape))}] {name}" for name, array in feeds.items())
    rank = next((count for word, count in {"Gather": 3, "Conv": 3, "flat": 1}.items() if word in words), 2)
    sizes = ", ".join("ABC"[:rank])
    model = parse(f"g ({inputs}) => (float[{sizes}] y) {{ {nodes} }}", CONSTANTS, 23)
    return TorchGraph(model), feeds, run(model, feeds)[0]


@pytest.mark.parametrize("nodes", KNOWN)
def test_a_matrix_is_followed_to_the_node_that_computes_with_it(nodes: str) -> None:
    graph, feeds, expected = drawn(nodes)
    (use,) = graph.uses
    assert (use.weight, use.transposed) == ("w", KNOWN[nodes])
    assert use.kind == ("embedding" if "Gather" in nodes else "linear")
    tolerance = 0.02 if "to = 10" in nodes else 1e-6  # float16 in between isn't done here
    found = graph.run(feeds)["y"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance * np.abs(expected).max())
    assert torch.equal(graph.run(feeds, weights={"w": torch.from_numpy(W)})["y"], found)


@pytest.mark.parametrize("nodes", UNKNOWN)
def test_a_matrix_that_is_used_otherwise_is_a_tensor_like_others(nodes: str) -> None:
    graph, feeds, expected = drawn(nodes)
    assert graph.uses == ()
    found = graph.run(feeds)["y"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    other = torch.from_numpy(normal(*W.shape, seed=9))
    assert not torch.equal(graph.run(feeds, weights={"w": other})["y"], found)


def test_an_open_weight_that_is_used_otherwise_is_read_all_the_same() -> None:
    """Dense from its file, as a palette by the graph's own lookup."""
    text = "g (float[3, 4] c) => (float[3, 6] y) { z = MatMul(c, w)  s = ReduceSum(w)  y = Mul(z, s) }"
    spec = GraphSpec("other", (), ("y",))
    hub = Hub(parse(text, {"w": W}, 23), "test", spec, (Weight("w", (4, 6), ("linear",)),))
    for other in (hub, apply_palettes(hub, {"w": random_palette((4, 6), 3, 3, 0)})):
        graph = TorchGraph(other)
        assert graph.uses == ()
        (expected,) = run(other.model, {"c": Y})
        found = graph.run({"c": Y})["y"].numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_a_matrix_that_is_an_output_is_no_weight() -> None:
    model = parse("g (float[3, 4] c) => (float[3, 6] y, float[4, 6] w) { y = MatMul(c, w) }", {"w": W}, 23)
    graph = TorchGraph(model)
    assert graph.uses == ()
    np.testing.assert_array_equal(graph.run({"c": Y})["w"].numpy(), W)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_matrix_is_read_in_the_dtype_of_its_product(dtype: type) -> None:
    """Given or stored, bfloat16 products round what they multiply, and nothing else."""
    model = parse(
        "g (float[3, 4] c) => (float[3, 6] y) { f = Cast<to = 1>(w)  y = MatMul(c, f) }", {"w": W.astype(dtype)}, 23
    )
    graph = TorchGraph(model, products=torch.bfloat16)
    rounded = [torch.from_numpy(array.astype(np.float32)).bfloat16() for array in (Y, W.astype(dtype))]
    expected = torch.matmul(*rounded).float()
    torch.testing.assert_close(graph.run({"c": Y})["y"], expected, rtol=0, atol=0)
    given = torch.from_numpy(W.astype(dtype).astype(np.float32))
    torch.testing.assert_close(graph.run({"c": Y}, weights={"w": given})["y"], expected, rtol=0, atol=0)
