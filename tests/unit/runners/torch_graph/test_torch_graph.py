"""What a graph in torch lets one see and change: inner values, weights, gradients.

Other weights are compared with onnxruntime on a graph that stores them; gradients with central differences in float64.
The step is 1e-5 of the weights: the difference is off by its square, some 1e-10, and by rounding, 1e-16 / 1e-5, of the
loss, so that 1e-6 of the gradient is a safe limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
import torch
from support.decoder_references import observed_in_hub
from support.graph_models import agree, feeds_of, hub_of, in_onnxruntime
from support.graphs import normal, parse, run

from exporter.graph.model import Hub
from exporter.runners.torch_graph.graph import TorchGraph

TOLERANCE = 5e-5  # as in test_models.py

MLP = """g (float[N, 6] x) => (float[N, 4] y, float[N, 8] h) {
    h = MatMul(x, up)
    a = Tanh(h)
    scaled = Mul(a, scale)
    y = Gemm<transB = 1, alpha = 0.5, beta = 2.0>(scaled, down, bias)
}"""
STORED = {"up": normal(6, 8), "scale": normal(8, seed=1), "down": normal(4, 8, seed=2), "bias": normal(4, seed=3)}
X = normal(5, 6, seed=4)


def mlp(**other: np.ndarray) -> ir.Model:
    return parse(MLP, STORED | other, 23)


def with_tensor(hub: Hub, name: str, array: np.ndarray) -> Hub:
    model = hub.model.clone()
    model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    return replace(hub, model=model)


def test_any_inner_value_can_be_asked_for() -> None:
    hub = hub_of("llama/plain")
    feeds = feeds_of(hub)
    graph = TorchGraph(hub)
    names = [use.input for use in graph.uses] + [use.output for use in graph.uses] + ["mask"]
    names = [name for name in dict.fromkeys(names) if name not in graph.inputs]
    expected = observed_in_hub(hub, names, feeds["input_ids"], feeds["attention_mask"])
    agree(graph.run(feeds, names), expected, TOLERANCE)


def test_only_what_is_wanted_is_computed_and_asks_for_feeds() -> None:
    graph = TorchGraph(mlp())
    made: list[str] = []
    taps = {name: lambda _, name=name: made.append(name) for name in ("h", "a", "scaled", "y")}
    result = graph.run({"x": X}, ["a"], taps=taps)
    assert list(result) == ["a"]
    assert made == ["h", "a"]
    hub = hub_of("llama/plain")
    feeds = feeds_of(hub)
    first = TorchGraph(hub).uses[0]
    found = TorchGraph(hub).run({"input_ids": feeds["input_ids"]}, [first.output, "input_ids"])
    assert found[first.output].shape == (2, 12, 32)
    np.testing.assert_array_equal(found["input_ids"].numpy(), feeds["input_ids"])


@pytest.mark.parametrize("as_function", [False, True])
@pytest.mark.parametrize("name", ["llama/plain", "qwen3/plain", "gpt2", "bert:Model"])
def test_another_matrix_takes_a_stored_ones_place(name: str, as_function: bool) -> None:
    hub = hub_of(name)
    feeds = feeds_of(hub)
    graph = TorchGraph(hub)
    for weight in (hub.weights[0], hub.weights[2], hub.weights[-1]):
        other = normal(*weight.shape, seed=9)
        given = {weight.name: torch.from_numpy(other)}
        expected = in_onnxruntime(with_tensor(hub, weight.name, other), feeds)
        agree(graph.run(feeds, weights=given.get if as_function else given), expected, TOLERANCE)


def test_any_stored_tensor_can_be_replaced() -> None:
    graph = TorchGraph(mlp())
    for name, array in STORED.items():
        other = normal(*array.shape, seed=7)
        expected = run(mlp(**{name: other}), {"x": X})
        found = graph.run({"x": X}, weights={name: torch.from_numpy(other)})
        agree(found, dict(zip(("y", "h"), expected, strict=True)), 2e-6)
    agree(graph.run({"x": X}), dict(zip(("y", "h"), run(mlp(), {"x": X}), strict=True)), 2e-6)  # and nothing stays


def test_a_function_is_asked_each_time_that_a_weight_is_used() -> None:
    hub = hub_of("qwen3/plain")
    graph = TorchGraph(hub)
    asked: list[str] = []
    graph.run(feeds_of(hub), weights=asked.append)
    assert asked == [use.weight for use in graph.uses]


def test_a_tap_sees_a_value_and_may_replace_it() -> None:
    graph = TorchGraph(mlp())
    seen: list[torch.Tensor] = []
    plain = graph.run({"x": X})
    same = graph.run({"x": X}, taps={"a": seen.append})
    agree(same, {name: value.numpy() for name, value in plain.items()}, 0)
    np.testing.assert_allclose(seen[0].numpy(), np.tanh(X @ STORED["up"]), rtol=0, atol=1e-6)
    doubled = graph.run({"x": X}, taps={"a": lambda a: 2 * a, "y": lambda y: -y})
    expected = -(np.tanh(X @ STORED["up"]) * STORED["scale"] @ STORED["down"].T + 2 * STORED["bias"])
    np.testing.assert_allclose(doubled["y"].numpy(), expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    np.testing.assert_array_equal(doubled["h"].numpy(), plain["h"].numpy())
    zeroed = graph.run({"x": X}, taps={"x": torch.zeros_like})
    np.testing.assert_array_equal(zeroed["h"].numpy(), np.zeros((5, 8)))


def directional(loss: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> None:
    """The gradient of a loss, along three random directions, against differences of the loss itself."""
    at = at.double()
    leaf = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        way = torch.randn(at.shape, generator=generator, dtype=torch.float64)
        step = 1e-5 * float(at.norm() / way.norm())
        with torch.no_grad():
            difference = float((loss(at + step * way) - loss(at - step * way)) / (2 * step))
        assert difference == pytest.approx(float((gradient * way).sum()), rel=1e-6, abs=1e-6 * float(gradient.norm()))
    assert float(gradient.norm()) > 0


@pytest.mark.parametrize("name", ["qwen3/plain", "gemma2/soft caps", "gpt2", "mpnet:Model"])
def test_gradients_of_weights(name: str) -> None:
    """Of the embedding (which qwen3's head uses, too), of a matrix early in the model, and of the last one."""
    hub = hub_of(name)
    feeds = feeds_of(hub, 7, padding=0)
    graph = TorchGraph(hub, dtype=torch.float64)
    for weight in (hub.weights[0].name, hub.weights[3].name, hub.weights[-1].name):

        def loss(matrix: torch.Tensor, weight: str = weight) -> torch.Tensor:
            return graph.run(feeds, graph.outputs[:1], weights={weight: matrix})[graph.outputs[0]].square().mean()

        directional(loss, graph.weight(weight))


def test_gradients_of_other_tensors_and_of_values() -> None:
    graph = TorchGraph(mlp(), dtype=torch.float64)
    feeds = {"x": X}
    for name in STORED:
        directional(
            lambda t, name=name: graph.run(feeds, ["y"], weights={name: t})["y"].exp().sum(), graph.weight(name)
        )
    directional(lambda x: graph.run({"x": x}, ["y"])["y"].exp().sum(), torch.from_numpy(X))
    h = graph.run(feeds, ["h"])["h"]
    directional(lambda t: graph.run(feeds, ["y"], taps={"h": lambda _: t})["y"].exp().sum(), h)


def test_gradients_keep_no_matrix_in_memory() -> None:
    """What autograd saves on the way is no weight, nor as large as one; those that learn are theirs who gave them."""
    hub = hub_of("llama/plain")
    feeds = feeds_of(hub, 5)
    graph = TorchGraph(hub)
    shapes = {weight.shape for weight in hub.weights} | {weight.shape[::-1] for weight in hub.weights}
    saved: list[torch.Size] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        scale = graph.weight("model.norm.weight").requires_grad_()
        first = graph.weight("model.layers.0.input_layernorm.weight").requires_grad_()
        given = {"model.norm.weight": scale, "model.layers.0.input_layernorm.weight": first}
        loss = graph.run(feeds, ["logits"], weights=given)["logits"].square().mean()
    assert len(saved) > 20
    assert not shapes & {tuple(shape) for shape in saved}
    loss.backward()
    assert scale.grad is not None
    assert first.grad is not None


def test_wrong_names_and_shapes_are_told() -> None:
    graph = TorchGraph(mlp())
    x, matrix = torch.from_numpy(X), torch.zeros(8, 6)
    with pytest.raises(ValueError, match="no feed for x"):
        graph.run({})
    with pytest.raises(ValueError, match="no input 'z', but x"):
        graph.run({"x": x, "z": x})
    with pytest.raises(ValueError, match="has no value 'nothing'"):
        graph.run({"x": x}, ["nothing"])
    with pytest.raises(ValueError, match="has no value 'nothing'"):
        graph.run({"x": x}, taps={"nothing": lambda _: None})
    with pytest.raises(ValueError, match="stores no tensor 'nothing'"):
        graph.run({"x": x}, weights={"nothing": matrix})
    for given in ({"up": matrix}, {"up": matrix}.get):
        with pytest.raises(ValueError, match=r"up has shape \(6, 8\), its replacement \(8, 6\)"):
            graph.run({"x": x}, weights=given)
    with pytest.raises(ValueError, match=r"bias has shape \(4,\), its replacement \(1,\)"):
        graph.run({"x": x}, weights={"bias": torch.zeros(1)})
    with pytest.raises(KeyError):
        graph.weight("nothing")
