"""The error of single weights, as the gate takes it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from exporter.compress import palettize
from exporter.graph.palette import Palette
from exporter.parity.weights import weight_errors


def hubs(weights: dict[str, NDArray[np.float32]], palettes: dict[str, Palette]) -> Any:
    values = {name: SimpleNamespace(const_value=ir.tensor(weight)) for name, weight in weights.items()}
    whole = SimpleNamespace(model=SimpleNamespace(graph=SimpleNamespace(initializers=values)))
    return whole, SimpleNamespace(palettes=palettes)


@pytest.mark.parametrize("value", [0.1, 0.0])
@pytest.mark.parametrize("noise", [0.0, 1e-5])
def test_a_constant_weight_is_measured_by_its_size(value: float, noise: float) -> None:
    """Its variance is rounding: what float16 does to 0.1 is as large, and is no error of the palette's."""
    weight = np.float32(value) * (1 + noise * np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32))
    (error,) = weight_errors(*hubs({"w": weight}, {"w": palettize(weight, 8, 16)}))
    assert error.excess < 1


def test_another_constant_is_an_error() -> None:
    weight = np.full((32, 8), 0.1, np.float32)
    (error,) = weight_errors(*hubs({"w": weight}, {"w": palettize(2 * weight, 4, 16)}))
    assert error.error == pytest.approx(1, rel=1e-3)
    assert error.excess > 1


def test_the_worst_comes_first() -> None:
    weight = np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32)
    palettes = {"fine": palettize(weight, 4, 16), "unrelated": palettize(np.ascontiguousarray(weight[::-1]), 4, 16)}
    worst, other = weight_errors(*hubs(dict.fromkeys(palettes, weight), palettes))
    variance = weight.var()
    assert (worst.name, other.name) == ("unrelated", "fine")
    assert worst.error == pytest.approx(np.square(weight - palettes["unrelated"].dense()).mean() / variance, rel=1e-4)
    assert other.excess < 1 < worst.excess
