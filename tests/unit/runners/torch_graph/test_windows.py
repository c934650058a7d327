"""Convolutions and pools with any window over one, two or three axes, drawn by hypothesis, against onnxruntime.

Tolerance 2e-6 of the largest number: at most a hundred products a sum, added in another order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.graphs import parse, run
from support.one_node import in_torch, model_of
from support.op_graphs import run_onnx
from support.torch_cases import case

from exporter.runners.torch_graph.graph import TorchGraph

TOLERANCE = 2e-6
PADDINGS = ("NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class Drawn:
    """A window, a tensor `x` `[2, channels, …]` that it fits in, and the node's attributes."""

    x: np.ndarray
    kernel: tuple[int, ...]
    attributes: dict[str, Any]

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.x.size)


@st.composite
def windows(draw: st.DrawFn, channels: int, *, pool: bool = False, dilated: bool = True) -> Drawn:
    rank = draw(st.integers(1, 3))
    numbers = lambda low, high, count=rank: [draw(st.integers(low, high)) for _ in range(count)]  # noqa: E731
    kernel, sizes, strides = numbers(1, 3), numbers(3, 6), numbers(1, 3)
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    padding = draw(st.sampled_from(PADDINGS))
    if padding == "NOTSET":
        highest = min(kernel) - 1 if pool else 2  # a pool's padding must not hold a whole window
        attributes["pads"] = numbers(0, highest, 2 * rank)
    else:
        attributes["auto_pad"] = padding
    if dilated and not padding.startswith("SAME"):  # which onnxruntime doesn't dilate
        attributes["dilations"] = numbers(1, 2)
    x = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((2, channels, *sizes)).astype(np.float32)
    return Drawn(x, tuple(kernel), attributes)


def fits(drawn: Drawn) -> bool:
    rank = len(drawn.kernel)
    pads = drawn.attributes.get("pads", [0] * 2 * rank)
    dilations = drawn.attributes.get("dilations", [1] * rank)
    rooms = [drawn.x.shape[2 + i] + pads[i] + pads[i + rank] for i in range(rank)]
    return all(room >= d * (k - 1) + 1 for room, d, k in zip(rooms, dilations, drawn.kernel, strict=True))


def covers(drawn: Drawn) -> bool:
    """Whether padding to the same size can't come out negative, which onnxruntime's pools refuse or cut off."""
    strides = drawn.attributes["strides"]
    return "auto_pad" not in drawn.attributes or all(k >= s for k, s in zip(drawn.kernel, strides, strict=True))


def same(op: str, *operands: np.ndarray, **attributes: Any) -> None:
    model, feeds = model_of(case(op, *operands, **attributes))
    expected, found = run_onnx(model, feeds)["c0_0"], in_torch(model, feeds)["c0_0"].numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max(initial=1))


@settings(max_examples=40, deadline=None)
@given(windows(4), st.sampled_from([1, 2, 4]), st.booleans())
def test_convolutions(drawn: Drawn, groups: int, biased: bool) -> None:
    assume(fits(drawn))
    kernel = drawn.rng.standard_normal((4, 4 // groups, *drawn.kernel)).astype(np.float32)
    bias = [drawn.rng.standard_normal(4).astype(np.float32)] if biased else []
    same("Conv", drawn.x, kernel, *bias, group=groups, **drawn.attributes)


@settings(max_examples=40, deadline=None)
@given(windows(4), st.sampled_from([1, 2]), st.booleans(), st.data())
def test_transposed_convolutions(drawn: Drawn, groups: int, biased: bool, data: st.DataObject) -> None:
    attributes = {key: value for key, value in drawn.attributes.items() if key != "auto_pad"}
    rank = len(drawn.kernel)
    extra = [data.draw(st.integers(0, stride - 1)) for stride in attributes["strides"]]
    pads, dilations = attributes.get("pads", [0] * 2 * rank), attributes.get("dilations", [1] * rank)
    sizes = [
        (drawn.x.shape[2 + i] - 1) * attributes["strides"][i] + dilations[i] * (drawn.kernel[i] - 1) + 1 + extra[i]
        - pads[i] - pads[i + rank] for i in range(rank)
    ]  # fmt: skip
    assume(min(sizes) > 0)
    kernel = drawn.rng.standard_normal((4, 3, *drawn.kernel)).astype(np.float32)
    bias = [drawn.rng.standard_normal(3 * groups).astype(np.float32)] if biased else []
    same("ConvTranspose", drawn.x, kernel, *bias, group=groups, output_padding=extra, **attributes)


@settings(max_examples=40, deadline=None)
@given(windows(2, pool=True), st.booleans(), st.sampled_from(["MaxPool", "plain", "padding counts"]))
def test_pools(drawn: Drawn, ceil: bool, kind: str) -> None:
    assume(fits(drawn) and covers(drawn))
    attributes = drawn.attributes if "auto_pad" in drawn.attributes else {**drawn.attributes, "ceil_mode": int(ceil)}
    if kind == "MaxPool":
        same("MaxPool", drawn.x, **attributes)
    else:
        same("AveragePool", drawn.x, count_include_pad=int(kind == "padding counts"), **attributes)


def _matrix_as_kernel(drawn: Drawn, groups: int) -> tuple[ir.Model, np.ndarray]:
    """A graph that stores the kernel as a matrix `[out, in · places]`, as hubs do, and the matrix."""
    shape = (6, 4 // groups, *drawn.kernel)
    matrix = drawn.rng.standard_normal((6, int(np.prod(shape[1:])))).astype(np.float32)
    listed = {key: f'"{value}"' if key == "auto_pad" else value for key, value in drawn.attributes.items()}
    attributes = ", ".join(f"{key} = {value}" for key, value in {**listed, "group": groups}.items())
    sizes = ", ".join(str(size) for size in drawn.x.shape)
    open_sizes = ", ".join("ABCDE"[: len(shape)])
    nodes = f"k = Reshape(w, s)  y = Conv<{attributes}>(x, k, b)"
    text = f"g (float[{sizes}] x) => (float[{open_sizes}] y) {{ {nodes} }}"
    bias = drawn.rng.standard_normal(6).astype(np.float32)
    return parse(text, {"w": matrix, "s": np.array(shape), "b": bias}, 23), matrix


@settings(max_examples=40, deadline=None)
@given(windows(4), st.sampled_from([1, 2]))
def test_a_matrix_that_is_a_kernel_is_used_as_one(drawn: Drawn, groups: int) -> None:
    """Its products, what it is multiplied with, and the gradients of both, against torch's own through the op."""
    assume(fits(drawn))
    model, matrix = _matrix_as_kernel(drawn, groups)
    (expected,) = run(model, {"x": drawn.x})
    graph = TorchGraph(model)
    (use,) = graph.uses
    assert (use.weight, use.op, use.input, use.transposed) == ("w", "Conv", "x", True)
    x = torch.from_numpy(drawn.x).requires_grad_()
    y = graph.run({"x": x})["y"]
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=0, atol=TOLERANCE * scale)
    if groups == 1:
        columns = use.columns(torch.from_numpy(drawn.x))
        bias = model.graph.initializers["b"].const_value.numpy()
        rows = (columns @ torch.from_numpy(matrix).T).numpy() + bias
        np.testing.assert_allclose(rows, np.moveaxis(expected, 1, -1).reshape(-1, 6), rtol=0, atol=TOLERANCE * scale)
    weights = torch.from_numpy(matrix).requires_grad_()
    direct = graph.run({"x": x}, weights={"w": weights})["y"]
    (reread,) = torch.autograd.grad(y.square().sum(), x)
    kept, of_weights = torch.autograd.grad(direct.square().sum(), (x, weights))
    torch.testing.assert_close(reread, kept, rtol=1e-5, atol=1e-5 * float(kept.abs().max()))
    assert of_weights.abs().max() > 0
