"""A case: one op on given operands, and where its expected result comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

RNG = np.random.default_rng(20)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return (RNG.random(shape) * 3 + 0.1).astype(np.float32)


def unit(*shape: int) -> np.ndarray:
    return (RNG.random(shape) * 1.8 - 0.9).astype(np.float32)


def ints(low: int, high: int, *shape: int) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(np.int32)


def bools(*shape: int) -> np.ndarray:
    return RNG.random(shape) < 0.5


@dataclass(frozen=True)
class Case:
    """One op. given: operands that become program inputs; rest: constant operands; expect: instead of coremltools."""

    op: str
    given: dict[str, Any]
    rest: dict[str, Any] = field(default_factory=dict)
    expect: Callable[..., Any] | None = None


def unary(op: str, x: np.ndarray, expect: Callable[..., Any] | None = None, **rest: Any) -> Case:
    return Case(op, {"x": x}, rest, expect)


def binary(op: str, x: np.ndarray, y: np.ndarray, expect: Callable[..., Any] | None = None) -> Case:
    return Case(op, {"x": x, "y": y}, {}, expect)
